//! Which members of the store answer, for operators: whatever asks for more asks one of them, and goes to the next.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Reach;
use super::agreed::State;
use crate::store::Attendance;

/// Pause between two roll calls.
const EVERY: Duration = Duration::from_secs(2);
/// So many roll calls in a row must be missed: an election silences all members for a second.
const MISSES: u32 = 2;

/// Calls the roll again and again, and shows what came of it.
pub(super) async fn call(reach: &Reach, state: &watch::Sender<State>) {
    let mut missed: Vec<u32> = Vec::new();
    loop {
        let mut members = reach.store.roll_call().await;
        missed.resize(members.len(), 0);
        for (member, missed) in members.iter_mut().zip(&mut missed) {
            *missed = if member.answers { 0 } else { missed.saturating_add(1) };
            member.answers = *missed < MISSES;
        }
        if let Some(counts) = reach.counts() {
            let answering = members.iter().filter(|member| member.answers).count();
            counts.set_store_members(answering, members.len());
        }
        publish(state, members);
        sleep(EVERY).await;
    }
}

fn publish(state: &watch::Sender<State>, members: Vec<Attendance>) {
    state.send_if_modified(|known| {
        let differs = known.members != members;
        known.members = members;
        differs
    });
}
