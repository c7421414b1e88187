//! A switchover that waits for its time, in the proxy that was asked for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use bellwether::api::{End, Outcome, Progress, Requester, Scheduled};
use bellwether::cluster::Request;
use bellwether::topology::NodeName;

use super::requests::Following;
use super::{Leading, asked};

/// At most one switchover, and the task that waits for its time. It is lost when the proxy stops, which whoever asked
/// is told.
#[derive(Default)]
pub struct Schedule(Arc<Mutex<Option<Waiting>>>);

struct Waiting {
    what: Scheduled,
    task: JoinHandle<()>,
}

impl Schedule {
    /// Returns what waits.
    pub(super) fn waiting(&self) -> Option<Scheduled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|waiting| waiting.what.clone())
    }
}

impl Leading {
    /// Hands a switchover over at a later time, if this proxy still runs then.
    pub(super) fn schedule(
        &self,
        to: Option<NodeName>,
        at: SystemTime,
        by: Requester,
    ) -> mpsc::Receiver<Progress> {
        let Ok(pause) = at.duration_since(SystemTime::now()) else {
            return End::new(Outcome::Invalid, "that time has passed").at_once();
        };
        let mut scheduled = self.scheduled.0.lock().unwrap_or_else(PoisonError::into_inner);
        if scheduled.is_some() {
            return End::new(Outcome::Refused, "a switchover waits for its time already")
                .instead("give that one up", "bellwether switchover --cancel")
                .at_once();
        }
        let (sender, unheard) = mpsc::channel(1);
        drop(unheard);
        let following = Following::new(&self.lead, sender);
        let what = Scheduled { at, to: to.as_ref().map(ToString::to_string), by: by.by.clone() };
        let slot = self.scheduled.0.clone();
        let task = tokio::spawn(async move {
            sleep(pause).await;
            slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            let end = following.carry_out(Request::Switchover { to, asked: asked(&by) }, &by).await;
            tracing::info!(event = "scheduled", outcome = ?end.outcome, "{}", end.message);
        });
        *scheduled = Some(Waiting { what, task });
        End::new(Outcome::Accepted, format!("it begins in {} s", pause.as_secs()))
            .hint("this proxy keeps it in mind: when the proxy stops before, nothing happens")
            .at_once()
    }

    /// Gives a switchover up: the one that waits for its time, or the one that waits for transactions to end.
    pub(super) fn cancel(&self, by: Requester) -> mpsc::Receiver<Progress> {
        let waiting = self.scheduled.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match waiting {
            Some(waiting) => {
                waiting.task.abort();
                End::new(Outcome::Done, "the switchover is cancelled").at_once()
            }
            None => self.submit(Request::Cancel, by),
        }
    }
}
