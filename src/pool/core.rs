//! One pool's accounting: who is idle, who waits, what may be opened and what must be closed. Pure.
//!
//! A server connection is in exactly one place: *connecting* (a task works on it), *in use* (a client has it, or it
//! is being checked), or *idle* (here, in the list). While anyone waits, nobody is idle. Every command says what is to be
//! done as its result; the shell does it. Opening is asked for with [`Core::wants_connect`] after every command that
//! may have made room, because limits shared with other pools are the shell's business.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The worker thread whose runtime a socket is registered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Home(pub usize);

/// Names one waiter; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u32);

/// What a waiter wants when the node cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// To wait until it can, up to `checkout_timeout`: for what only this node can do.
    Wait,
    /// To hear of the first failure at once: for what another node can do as well.
    FailFast,
}

/// The part of the settings that the accounting needs; meanings as in [`Settings`](super::Settings).
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Limits {
    pub size: usize,
    pub min: usize,
    pub reserve: usize,
    pub reserve_after: Duration,
    pub checkout_timeout: Duration,
    pub idle_timeout: Duration,
    pub check_after_idle: Duration,
}

/// What the accounting knows of one server connection; travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    generation: u64,
    /// When it is to be closed at the latest; `None` while connecting.
    expires_at: Option<Instant>,
    /// Worker it belongs to.
    pub home: Home,
}

impl Lease {
    /// Sets the end of the connection's life.
    pub fn until(self, expires_at: Option<Instant>) -> Self {
        Lease { expires_at, ..self }
    }
}

/// Answer to [`Core::take`].
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<S> {
    /// A server used a short while ago.
    Fresh(S, Lease),
    /// A server idle for so long that it must be asked first whether it still answers. It counts as in use.
    Check(S, Lease),
    /// None is idle, or others wait already: [`Core::enqueue`].
    Wait,
}

/// Answer to [`Core::put`] and [`Core::connected`].
#[derive(Debug, PartialEq, Eq)]
pub enum Put<S> {
    /// It went to the idle list.
    Idle,
    /// It is the first waiter's now.
    HandTo(Ticket, S, Lease),
    /// Close it; it is no longer counted.
    Close(S),
}

/// Why a server is closed by [`Core::tick`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its lifetime is over.
    Expired,
    /// Nobody needed it for long.
    Idle,
    /// The pool holds more than its size, and has not needed it for `reserve_after`.
    Excess,
}

/// What is due by the clock.
#[derive(Debug, PartialEq, Eq)]
pub struct Due<S> {
    /// Servers to close; they are no longer counted.
    pub close: Vec<(S, CloseReason)>,
    /// Waiters whose time is over; they wait no longer.
    pub timed_out: Vec<Ticket>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub idle: usize,
    pub in_use: usize,
    pub connecting: usize,
    pub waiting: usize,
}

/// One pool's accounting; `S` is the connection itself, which is never looked at.
#[derive(Debug)]
pub struct Core<S> {
    limits: Limits,
    /// Grows with [`retire_all`](Core::retire_all); leases of an older one end at their release.
    generation: u64,
    /// The one released last stands last.
    idle: Vec<Idle<S>>,
    waiters: VecDeque<Waiter>,
    connecting: usize,
    in_use: usize,
    failures: u32,
    /// No connection is opened before this.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Idle<S> {
    server: S,
    lease: Lease,
    since: Instant,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    since: Instant,
    home: Home,
    patience: Patience,
}

impl<S> Core<S> {
    /// Starts an empty pool.
    pub fn new(limits: Limits) -> Self {
        Core {
            idle: Vec::with_capacity((limits.size + limits.reserve).min(64)),
            limits,
            generation: 0,
            waiters: VecDeque::new(),
            connecting: 0,
            in_use: 0,
            failures: 0,
            retry_at: None,
        }
    }

    /// Changes the limits; what is over them goes with the next ticks and releases.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes an idle server, the last released of worker `home` or else of any. With `fresh_only`, one that would
    /// need a check first is left where it is.
    pub fn take(&mut self, home: Home, now: Instant, fresh_only: bool) -> Taken<S> {
        if self.waiters.is_empty()
            && let Some(last) = self.idle.len().checked_sub(1)
        {
            let index = self.idle.iter().rposition(|idle| idle.lease.home == home).unwrap_or(last);
            let fresh = now.saturating_duration_since(self.idle[index].since) < self.limits.check_after_idle;
            if fresh || !fresh_only {
                let Idle { server, lease, .. } = self.idle.remove(index);
                self.in_use += 1;
                return if fresh { Taken::Fresh(server, lease) } else { Taken::Check(server, lease) };
            }
        }
        Taken::Wait
    }

    /// Takes the idle server that `wanted` names, if it was used a short while ago.
    pub fn take_this(&mut self, now: Instant, wanted: impl Fn(&S) -> bool) -> Option<S> {
        let index = self.idle.iter().rposition(|idle| wanted(&idle.server))?;
        let fresh = now.saturating_duration_since(self.idle[index].since) < self.limits.check_after_idle;
        if !fresh {
            return None;
        }
        self.in_use += 1;
        Some(self.idle.remove(index).server)
    }

    /// Adds a waiter at the end of the queue.
    pub fn enqueue(&mut self, ticket: Ticket, home: Home, patience: Patience, now: Instant) {
        self.waiters.push_back(Waiter { ticket, since: now, home, patience });
    }

    /// Removes a waiter that went away; nothing happens when it waits no longer.
    pub fn forget(&mut self, ticket: Ticket) {
        if let Some(index) = self.waiters.iter().position(|waiter| waiter.ticket == ticket) {
            self.waiters.remove(index);
        }
    }

    /// Takes back a server that was in use, clean and ready for the next client.
    pub fn put(&mut self, server: S, lease: Lease, now: Instant) -> Put<S> {
        let expired = lease.expires_at.is_some_and(|end| now >= end);
        if lease.generation != self.generation || expired {
            self.in_use -= 1;
            return Put::Close(server);
        }
        if let Some(waiter) = self.waiters.pop_front() {
            return Put::HandTo(waiter.ticket, server, lease);
        }
        self.in_use -= 1;
        self.idle.push(Idle { server, lease, since: now });
        Put::Idle
    }

    /// Takes note that a server in use was closed.
    pub fn closed(&mut self) {
        self.in_use -= 1;
    }

    /// Counts a connection attempt for a socket on worker `home`. It ends in [`connected`](Core::connected) or
    /// [`connect_failed`](Core::connect_failed).
    pub fn begin_connect(&mut self, home: Home) -> Lease {
        self.connecting += 1;
        Lease { generation: self.generation, expires_at: None, home }
    }

    /// Takes in a new server.
    pub fn connected(&mut self, server: S, lease: Lease, now: Instant) -> Put<S> {
        self.connecting -= 1;
        self.in_use += 1;
        self.failures = 0;
        self.retry_at = None;
        self.put(server, lease, now)
    }

    /// Takes note that an attempt failed, and returns the waiters that are to hear of it; they wait no longer.
    ///
    /// A `permanent` failure (of the login, not of the node) goes to all of them and the next client may try at
    /// once. Otherwise there is a pause before the next attempt, [`retry_at`](Core::retry_at).
    pub fn connect_failed(&mut self, permanent: bool, now: Instant) -> Vec<Ticket> {
        self.connecting -= 1;
        if permanent {
            return self.waiters.drain(..).map(|waiter| waiter.ticket).collect();
        }
        // Attempts that were under way together count as one failure.
        if self.retry_at.is_none_or(|at| now >= at) {
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(now + backoff(self.failures));
        }
        self.fail_where(|waiter| waiter.patience == Patience::FailFast)
    }

    /// Closes every idle server and lets the others end at their release: they were opened under other credentials,
    /// or to a node that has changed. A pause after failures ends too.
    pub fn retire_all(&mut self) -> Vec<S> {
        self.generation += 1;
        self.failures = 0;
        self.retry_at = None;
        self.idle.drain(..).map(|idle| idle.server).collect()
    }

    /// Removes the idle servers that would need a check: one of their age has just failed it.
    pub fn drop_unchecked(&mut self, now: Instant) -> Vec<S> {
        let age = self.limits.check_after_idle;
        let stale = |idle: &mut Idle<S>| now.saturating_duration_since(idle.since) >= age;
        self.idle.extract_if(.., stale).map(|idle| idle.server).collect()
    }

    /// Removes the idle servers for which `broken` is true.
    pub fn drop_idle_where(&mut self, mut broken: impl FnMut(&mut S) -> bool) -> Vec<S> {
        self.idle.extract_if(.., |idle| broken(&mut idle.server)).map(|idle| idle.server).collect()
    }

    /// Removes the server idle for longest, to make room for another pool under a shared limit.
    pub fn evict(&mut self) -> Option<S> {
        (!self.idle.is_empty()).then(|| self.idle.remove(0).server)
    }

    /// Ends the wait of everyone, such as when the node is gone.
    pub fn fail_all(&mut self) -> Vec<Ticket> {
        self.fail_where(|_| true)
    }

    /// Does what is due by the clock.
    pub fn tick(&mut self, now: Instant) -> Due<S> {
        let patience = self.limits.checkout_timeout;
        let timed_out = self.fail_where(|waiter| now.saturating_duration_since(waiter.since) >= patience);
        let limits = self.limits;
        let mut total = self.total();
        let mut close = Vec::new();
        // From the front: those are idle for longest.
        let due = self.idle.extract_if(.., |idle| {
            let idle_for = now.saturating_duration_since(idle.since);
            let reason = if idle.lease.expires_at.is_some_and(|end| now >= end) {
                CloseReason::Expired
            } else if total > limits.size && idle_for >= limits.reserve_after {
                CloseReason::Excess
            } else if idle_for >= limits.idle_timeout && total > limits.min {
                CloseReason::Idle
            } else {
                return false;
            };
            total -= 1;
            close.push(reason);
            true
        });
        let servers: Vec<S> = due.map(|idle| idle.server).collect();
        Due { close: servers.into_iter().zip(close).collect(), timed_out }
    }

    /// Returns the worker for which a connection should be opened now because somebody waits for it.
    ///
    /// After a failure one attempt at a time is made, until one succeeds.
    pub fn wants_connect(&self, now: Instant) -> Option<Home> {
        if self.is_pausing(now) || (self.failures > 0 && self.connecting > 0) {
            return None;
        }
        // Every attempt under way will serve one of those before.
        let waiter = self.waiters.get(self.connecting)?;
        let long = now.saturating_duration_since(waiter.since) >= self.limits.reserve_after;
        let limit = self.limits.size + if long { self.limits.reserve } else { 0 };
        (self.total() < limit).then_some(waiter.home)
    }

    /// Tells whether a connection should be opened now because the pool has fewer than its minimum.
    pub fn wants_upkeep(&self, now: Instant) -> bool {
        self.total() < self.limits.min.min(self.limits.size)
            && !self.is_pausing(now)
            && (self.failures == 0 || self.connecting == 0)
    }

    /// Returns when the pause after a failure ends; `None` without one.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tells whether this is the pause after a failure, in which no connection is opened.
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }

    /// Returns since when the first waiter has waited.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.waiters.front().map(|waiter| waiter.since)
    }

    /// Returns how many of what there are.
    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.idle.len(),
            in_use: self.in_use,
            connecting: self.connecting,
            waiting: self.waiters.len(),
        }
    }

    fn total(&self) -> usize {
        self.idle.len() + self.in_use + self.connecting
    }

    fn fail_where(&mut self, mut over: impl FnMut(&Waiter) -> bool) -> Vec<Ticket> {
        let mut failed = Vec::new();
        self.waiters.retain(|waiter| {
            let fails = over(waiter);
            if fails {
                failed.push(waiter.ticket);
            }
            !fails
        });
        failed
    }
}

/// Returns the pause after so many failures in a row: short at first, because a server that restarts is back soon.
fn backoff(failures: u32) -> Duration {
    let doubled = Duration::from_millis(50).saturating_mul(1 << (failures - 1).min(10));
    doubled.min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
