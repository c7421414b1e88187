//! Where waiting clients leave their waker and find what they waited for. Memory is reused, so that a wait in the
//! steady state allocates nothing.

use std::task::{Context, Poll, Waker};

use super::core::Ticket;

/// The waiting clients of one pool.
#[derive(Debug)]
pub(super) struct Desk<T> {
    slots: Vec<Slot<T>>,
    free: Vec<Ticket>,
}

#[derive(Debug)]
struct Slot<T> {
    waker: Option<Waker>,
    outcome: Option<T>,
}

impl<T> Desk<T> {
    pub fn new() -> Self {
        Desk { slots: Vec::new(), free: Vec::new() }
    }

    /// Opens a slot.
    pub fn open(&mut self) -> Ticket {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { waker: None, outcome: None });
            Ticket((self.slots.len() - 1) as u32)
        })
    }

    /// Leaves what the client waits for; the waker returned is to be woken once no lock is held.
    pub fn deliver(&mut self, ticket: Ticket, outcome: T) -> Option<Waker> {
        let slot = &mut self.slots[ticket.0 as usize];
        slot.outcome = Some(outcome);
        slot.waker.take()
    }

    /// Picks up what was delivered, which closes the slot, or leaves a waker.
    pub fn poll(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<T> {
        let slot = &mut self.slots[ticket.0 as usize];
        if let Some(outcome) = slot.outcome.take() {
            self.free.push(ticket);
            return Poll::Ready(outcome);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Closes a slot that nothing was picked up from, and returns what was delivered and never picked up.
    pub fn close(&mut self, ticket: Ticket) -> Option<T> {
        let slot = &mut self.slots[ticket.0 as usize];
        slot.waker = None;
        self.free.push(ticket);
        slot.outcome.take()
    }
}
