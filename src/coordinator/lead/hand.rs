//! Carries the orders to one node out, one after the other, on a session that owns the node (rule C3).

use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::commands::{self, Refusal};
use super::{Reach, STEP};
use crate::cluster::{Command, Done, Key, Order, Selector};
use crate::coordinator::session::{Flag, Session, Trouble};
use crate::store::records;
use crate::topology::Node;

/// The one who commands one node.
pub(super) struct Hand {
    node: Arc<Node>,
    reach: Arc<Reach>,
    owned: Option<Owned>,
}

/// A session that holds the node's advisory lock, and the epoch that was the active one after it was taken.
struct Owned {
    session: Session,
    epoch: u64,
}

impl Hand {
    pub(super) fn new(node: Arc<Node>, reach: Arc<Reach>) -> Self {
        Hand { node, reach, owned: None }
    }

    /// Carries an order out, within the time every order has.
    ///
    /// One that is given up loses its session. Its backend still holds the lock, so the next order cannot begin before
    /// that backend is ended: whatever it was doing is over by then.
    pub(super) async fn carry_out(&mut self, order: &Order) -> Done {
        let done = timeout(self.reach.timings.command, self.try_carry_out(order)).await;
        done.unwrap_or_else(|_| {
            self.owned = None;
            Done::Unknown
        })
    }

    async fn try_carry_out(&mut self, order: &Order) -> Done {
        let owned = match self
            .owned
            .take()
            .filter(|owned| owned.epoch == order.epoch && !owned.session.is_closed())
        {
            Some(owned) => owned,
            None => match self.own(order.epoch).await {
                Ok(owned) => owned,
                Err(done) => return done,
            },
        };
        let result = commands::run(&owned.session, &self.node.name, &order.command, &self.reach).await;
        match result {
            Ok(()) => {
                self.owned = Some(owned);
                Done::Well
            }
            Err(Refusal::Not(why)) => {
                self.owned = Some(owned);
                Done::Failed(why)
            }
            Err(Refusal::Lost) => Done::Unknown,
        }
    }

    /// Takes the node over from whoever has it, then makes sure that we still are who may.
    async fn own(&mut self, epoch: u64) -> Result<Owned, Done> {
        let failed = |trouble: &Trouble| Done::Failed(trouble.to_string());
        let session = self.reach.session(&self.node, "bellwether coordinator").await;
        let session = session.map_err(|trouble| failed(&trouble))?;
        self.take_lock(&session).await.map_err(|trouble| failed(&trouble))?;
        // Only now: whoever reads an epoch first and takes the lock then may be a coordinator of yesterday.
        let view = records::read(self.reach.store.as_ref(), &[Selector::One(Key::Epoch)]).await;
        let view = view.map_err(|error| Done::Failed(error.to_string()))?;
        match view.epoch() {
            Some(active) if active.number == epoch => Ok(Owned { session, epoch }),
            _ => Err(Done::Deposed),
        }
    }

    async fn take_lock(&self, session: &Session) -> Result<(), Trouble> {
        let (class, key) = self.reach.lock;
        let take = format!("SELECT pg_try_advisory_lock({class}, {key}) AS taken");
        let evict = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
             AND classid = '{}'::oid AND objid = '{}'::oid AND pid <> pg_backend_pid() \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            class.cast_unsigned(),
            key.cast_unsigned()
        );
        while !session.row(&take).await?.needed::<Flag>("taken")?.0 {
            session.run(&evict).await?;
            sleep(STEP).await;
        }
        Ok(())
    }
}

/// Whether the order is one for [`Aside`](super::aside::Aside).
pub(super) fn needs_no_owner(order: &Order) -> bool {
    order.command == Command::Checkpoint
}
