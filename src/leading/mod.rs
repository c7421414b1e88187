//! What an operator can have from a proxy of a cluster that Bellwether leads.
//!
//! Wishes become requests in the store; the active coordinator, here or in another proxy, takes them up. What comes of
//! them is read there too, so it makes no difference which proxy is asked.

mod answers;
mod plan;
mod requests;
mod schedule;

pub use schedule::Schedule;

use tokio::sync::mpsc;

use bellwether::api::{
    End, Explanation, Later, NodeFacts, Operations, Outcome, Overview, Past, Progress, Requester, Wish,
};
use bellwether::cluster::{Asked, Config, Durability, Mode, Request};
use bellwether::coordinator::lead::Lead;
use bellwether::topology::NodeId;

use crate::observing::Observing;

/// The operations of a proxy with an agreement store.
pub struct Leading {
    /// What the proxies agreed on.
    pub lead: Lead,
    /// What is seen here, and reads moved here.
    pub observing: Observing,
    /// How far the coordinators go on their own.
    pub mode: Mode,
    /// Members of etcd that are configured; `None` when the agreement stands in memory.
    pub store_members: Option<usize>,
    /// The switchover that waits for its time, here.
    pub scheduled: Schedule,
}

impl Operations for Leading {
    fn request(&self, wish: Wish, by: Requester) -> mpsc::Receiver<Progress> {
        match wish {
            Wish::Drain(_) | Wish::Undrain(_) => self.observing.request(wish, by),
            Wish::Switchover { to, at, upon } => match self.plan_switchover(to.as_ref(), upon) {
                Err(end) => end.at_once(),
                Ok(plan) if upon.dry_run => plan.told(),
                Ok(_) => match at {
                    Some(at) => self.schedule(to, at, by),
                    None => self.submit(Request::Switchover { to, asked: asked(&by) }, by),
                },
            },
            Wish::CancelSwitchover => self.cancel(by),
            Wish::Failover { to, allow_data_loss, upon } => {
                match self.plan_failover(to.as_ref(), allow_data_loss, upon) {
                    Err(end) => end.at_once(),
                    Ok(plan) if upon.dry_run => plan.told(),
                    Ok(_) => {
                        let accept_loss = allow_data_loss.is_some_and(|bytes| bytes > 0);
                        self.submit(Request::Failover { to, accept_loss, asked: asked(&by) }, by)
                    }
                }
            }
            Wish::Pause => self.pause(true, by),
            Wish::Resume => self.pause(false, by),
            Wish::Add { node, url } => self.add(node, &url, by),
            Wish::Remove(node) => self.submit(Request::Remove { node }, by),
            Wish::Set { node, settings } => self.set(node, &settings, by),
            Wish::Preflight => self.preflight(),
            Wish::Adopt { dry_run } => self.adopt(dry_run),
        }
    }

    fn overview(&self) -> Overview {
        self.overview_now()
    }

    fn node(&self, node: NodeId) -> NodeFacts {
        self.facts_of(node)
    }

    fn history(&self) -> Later<Vec<Past>> {
        answers::history(self.lead.store())
    }

    fn explain(&self) -> Explanation {
        self.explain_now()
    }
}

impl Leading {
    fn pause(&self, paused: bool, by: Requester) -> mpsc::Receiver<Progress> {
        let state = self.lead.state();
        let Some(config) = state.view.as_ref().and_then(|view| view.config().cloned()) else {
            return not_read().at_once();
        };
        if config.paused == paused {
            let word = if paused { "paused" } else { "not paused" };
            return End::new(Outcome::Done, format!("the cluster was {word} already")).at_once();
        }
        self.submit(Request::Configure(Config { paused, ..config }), by)
    }

    /// The word of the configuration for who promotes.
    fn mode_word(&self) -> &'static str {
        match self.mode {
            Mode::Automatic => "automatic",
            Mode::Manual => "manual",
        }
    }
}

/// Who wants it, for the history.
fn asked(by: &Requester) -> Asked {
    Asked { by: by.by.clone(), why: by.reason.clone() }
}

/// What is said while nothing is known of what the proxies agreed on.
fn not_read() -> End {
    End::new(Outcome::Unreachable, "what the proxies have agreed on is not known here")
        .cause("etcd has not answered yet, or the cluster has not been taken in")
        .hint("bellwether explain tells what is waited for")
}

fn durability_word(durability: Durability) -> String {
    match durability {
        Durability::Async => "commits wait for no standby".to_owned(),
        Durability::Sync { k, strict: true } => format!("commits wait for {k} standbys"),
        Durability::Sync { k, strict: false } => {
            format!("commits wait for {k} standbys while there are as many")
        }
    }
}
