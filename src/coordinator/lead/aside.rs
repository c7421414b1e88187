//! Carries out on one node what needs no ownership and may take long, so that nothing waits behind it: checkpoints.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout;

use super::Reach;
use crate::cluster::Done;
use crate::coordinator::session::Session;
use crate::topology::Node;

/// The one who does it. Clones share a session, which is kept: what a switchover prepares while clients still run opens
/// it for what it needs while they wait.
#[derive(Clone)]
pub(super) struct Aside {
    node: Arc<Node>,
    reach: Arc<Reach>,
    spare: Arc<Mutex<Option<Session>>>,
}

impl Aside {
    pub(super) fn new(node: Arc<Node>, reach: Arc<Reach>) -> Self {
        Aside { node, reach, spare: Arc::default() }
    }

    /// Has the node do a checkpoint; on a standby, a restartpoint.
    pub(super) async fn checkpoint(&self) -> Done {
        let spare = self.spare().take().filter(|session| !session.is_closed());
        let work = async {
            let session = match spare {
                Some(session) => session,
                None => self.reach.session(&self.node, "bellwether checkpoint").await?,
            };
            session.run("CHECKPOINT").await.map(|()| session)
        };
        match timeout(super::CHECKPOINT_WITHIN, work).await {
            Ok(Ok(session)) => {
                *self.spare() = Some(session);
                Done::Well
            }
            Ok(Err(trouble)) if trouble.is_lost() => Done::Unknown,
            Ok(Err(trouble)) => Done::Failed(trouble.to_string()),
            Err(_) => Done::Unknown,
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
