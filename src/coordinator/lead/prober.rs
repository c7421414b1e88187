//! Asks one node for its facts, over one lasting session, as often as it is told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Reach;
use super::aside::Aside;
use super::question::{self, Answer, KnownLineage};
use crate::cluster::{Done, Facts, Report, SyncNames};
use crate::coordinator::session::{Session, Trouble};
use crate::pg::SqlState;
use crate::topology::Node;

/// The one who asks one node.
pub(super) struct Prober {
    node: Arc<Node>,
    reach: Arc<Reach>,
    kept: Kept,
    /// A question under way, also one that was not waited for any longer.
    asking: Option<JoinHandle<(Kept, Result<Answer, Trouble>)>>,
    names: InForce,
    aside: Aside,
}

/// What is kept from one question to the next.
#[derive(Default)]
struct Kept {
    session: Option<Session>,
    lineage: Option<KnownLineage>,
}

impl Prober {
    pub(super) fn new(node: Arc<Node>, reach: Arc<Reach>, aside: Aside) -> Self {
        Prober { node, reach, kept: Kept::default(), asking: None, names: InForce::default(), aside }
    }

    /// Asks once, never longer than `within`.
    ///
    /// What takes longer goes on, and the next question comes after it, over the same session. Otherwise a busy server,
    /// which takes longer to log somebody in than we wait for an answer, would never be seen again once a session was
    /// lost.
    pub(super) async fn ask(&mut self, within: Duration) -> Report {
        match timeout(within, self.try_ask()).await {
            Ok(Ok(answer)) => Report::Answered(Box::new(self.facts(answer))),
            Ok(Err(trouble)) => {
                tracing::debug!(node = %self.node.name, "probe: {trouble}");
                report(&trouble)
            }
            Err(_) => Report::Silent,
        }
    }

    async fn try_ask(&mut self) -> Result<Answer, Trouble> {
        // Its answer is older than this question.
        let _ = self.asked().await;
        let (node, reach, kept) = (self.node.clone(), self.reach.clone(), std::mem::take(&mut self.kept));
        self.asking = Some(tokio::spawn(kept.ask(node, reach)));
        self.asked().await.expect("it was just begun")
    }

    /// Waits for the end of the question under way. May be dropped at any point.
    async fn asked(&mut self) -> Option<Result<Answer, Trouble>> {
        let ended = self.asking.as_mut()?.await;
        self.asking = None;
        let (kept, answer) = ended.unwrap_or_else(|_| (Kept::default(), Err(Trouble::Silent)));
        self.kept = kept;
        Some(answer)
    }

    fn facts(&mut self, answer: Answer) -> Facts {
        let sync_names = self.names.judge(answer.shown_names, answer.started, || {
            let (node, aside) = (self.node.name.clone(), self.aside.clone());
            async move {
                match aside.checkpoint().await {
                    Done::Well => true,
                    other => {
                        tracing::warn!(%node, "synchronous_standby_names cannot be verified: {other:?}");
                        false
                    }
                }
            }
        });
        Facts {
            system_identifier: answer.system_identifier,
            started: answer.started,
            lineage: answer.lineage,
            standing: answer.standing,
            sync_names,
            slots: answer.slots,
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

impl Kept {
    /// Asks, for as long as a command may take. The session is kept only after a whole answer.
    async fn ask(mut self, node: Arc<Node>, reach: Arc<Reach>) -> (Self, Result<Answer, Trouble>) {
        let answer = timeout(reach.timings.command, self.try_ask(&node, &reach)).await;
        (self, answer.unwrap_or(Err(Trouble::Silent)))
    }

    async fn try_ask(&mut self, node: &Node, reach: &Reach) -> Result<Answer, Trouble> {
        if let Some(session) = self.session.take() {
            // That a session ended says little: someone may have terminated just this one. How the server takes a
            // new one tells.
            if let Ok(answer) = question::ask(&session, &mut self.lineage).await {
                self.session = Some(session);
                return Ok(answer);
            }
        }
        let session = reach.session(node, "bellwether probe").await?;
        let answer = question::ask(&session, &mut self.lineage).await?;
        self.session = Some(session);
        Ok(answer)
    }
}

/// What an unsuccessful question says about the node.
fn report(trouble: &Trouble) -> Report {
    match trouble {
        _ if trouble.is_hard() => Report::Gone,
        _ if trouble.is_lost() => Report::Silent,
        // It talks to us, if not as we wish.
        _ => Report::of_error(trouble.code().unwrap_or(SqlState::INTERNAL_ERROR)),
    }
}

/// Tells the value of `synchronous_standby_names` in force from the one that a session shows.
///
/// Whether commits wait at all is decided by a flag in shared memory that only the checkpointer sets, when it gets to
/// reading the changed configuration; and it may be busy. So a value is in force once a `CHECKPOINT` was done that
/// began after the value was seen.
#[derive(Default)]
struct InForce {
    /// The value in force, and the run of the server it was found out in.
    proven: Option<(u64, SyncNames)>,
    pending: Option<RoundTrip>,
}

/// A checkpoint under way.
struct RoundTrip {
    /// The run and the value it is for.
    of: (u64, SyncNames),
    /// Whether it was done, once it has ended.
    done: Arc<Mutex<Option<bool>>>,
}

impl InForce {
    /// Takes the value shown and returns the one in force. `round_trip` is begun when it is needed to know.
    fn judge<F>(&mut self, shown: SyncNames, started: u64, round_trip: impl FnOnce() -> F) -> SyncNames
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.settle();
        let known = self.proven.as_ref().filter(|(run, _)| *run == started).map(|(_, names)| names.clone());
        // In a run just met, a server that waits for nobody needs no proof: nothing is promised upon it.
        if known.as_ref() == Some(&shown) || (known.is_none() && shown == SyncNames::Nobody) {
            self.proven = Some((started, shown.clone()));
            return shown;
        }
        if self.pending.is_none() {
            let done = Arc::new(Mutex::new(None));
            self.pending = Some(RoundTrip { of: (started, shown.clone()), done: done.clone() });
            let trip = round_trip();
            tokio::spawn(async move {
                let well = trip.await;
                *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(well);
            });
        }
        known.unwrap_or_else(|| SyncNames::Foreign(format!("{shown}, not yet known to be in force")))
    }

    fn settle(&mut self) {
        let Some(RoundTrip { of, done }) = &self.pending else { return };
        match *done.lock().unwrap_or_else(PoisonError::into_inner) {
            None => return,
            Some(true) => self.proven = Some(of.clone()),
            Some(false) => {}
        }
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_in_force_after_a_round_trip_only() {
        let mut names = InForce::default();
        let nobody = || async { panic!("no round trip is needed") };
        assert_eq!(names.judge(SyncNames::Nobody, 1, nobody), SyncNames::Nobody);

        assert_eq!(names.judge(SyncNames::Fence, 1, || async { false }), SyncNames::Nobody);
        tokio::task::yield_now().await;
        assert_eq!(names.judge(SyncNames::Fence, 1, || async { true }), SyncNames::Nobody, "it failed");
        tokio::task::yield_now().await;
        assert_eq!(names.judge(SyncNames::Fence, 1, nobody), SyncNames::Fence);

        // Another run has read its configuration anew, and its checkpointer may not have yet.
        let unsure = names.judge(SyncNames::Fence, 2, || async { true });
        assert!(matches!(unsure, SyncNames::Foreign(_)), "{unsure:?}");
        tokio::task::yield_now().await;
        assert_eq!(names.judge(SyncNames::Fence, 2, nobody), SyncNames::Fence);
    }
}
