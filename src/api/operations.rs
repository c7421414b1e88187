//! What can be asked of the cluster, and what is told while it happens. `main` wires who carries it out.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::topology::{NodeId, NodeName};

/// Whoever knows how the cluster is led and can change it: the coordinator's shell, or a proxy that only observes.
///
/// Questions are answered from what is known already, and never wait; the history may be asked of the store.
pub trait Operations: Send + Sync {
    /// Begins to carry a wish out and returns what happens on the way. The last event is always an
    /// [`Progress::End`]; a channel that closes without one means that the outcome is unknown.
    ///
    /// The receiver may be dropped at any time, when whoever asked went away: the work goes on.
    fn request(&self, wish: Wish, by: Requester) -> mpsc::Receiver<Progress>;

    /// Returns how the cluster is led, as far as known here.
    fn overview(&self) -> Overview;

    /// Returns what is known of one node beyond the snapshot.
    fn node(&self, node: NodeId) -> NodeFacts;

    /// Returns past changes of the primary, newest first.
    fn history(&self) -> Later<Vec<Past>>;

    /// Returns why things stand as they stand: who may lead, who may not and why, what is waited for.
    fn explain(&self) -> Explanation;
}

/// An answer that takes a while, or the reason why there is none.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T, End>> + Send>>;

/// Something an operator wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// A planned move of the primary, without loss.
    Switchover {
        /// The node to lead; `None` for the best one.
        to: Option<NodeName>,
        /// When to begin; `None` for now.
        at: Option<SystemTime>,
        /// What the wish was made upon.
        upon: Upon,
    },
    /// Nothing more of a switchover that waits for its time.
    CancelSwitchover,
    /// A promotion although the primary cannot agree to it.
    Failover {
        /// The node to lead; `None` for the best one.
        to: Option<NodeName>,
        /// Bytes of WAL that may be lost; `None` for what the settings allow, `u64::MAX` for any number.
        allow_data_loss: Option<u64>,
        /// What the wish was made upon.
        upon: Upon,
    },
    /// No promotion by itself from now on.
    Pause,
    /// Promotions by itself again.
    Resume,
    /// No new work for a node.
    Drain(NodeName),
    /// Work for it again.
    Undrain(NodeName),
    /// Another server.
    Add {
        /// The name it gets.
        node: NodeName,
        /// Where it is: `postgres://host:port`.
        url: String,
    },
    /// A server is no longer part of the cluster.
    Remove(NodeName),
    /// Settings of a node, by the names they have in the configuration, such as `weight`.
    Set {
        /// Whose.
        node: NodeName,
        /// Name and new value of each.
        settings: Vec<(String, String)>,
    },
    /// What is missing before Bellwether may lead the servers it sees.
    Preflight,
    /// Lead them from now on.
    Adopt {
        /// Only say what would be done.
        dry_run: bool,
    },
}

/// What a wish was made upon, so that it is not carried out on a cluster that has changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upon {
    /// Only say what would be done: a [`Progress::Plan`], or why not.
    pub dry_run: bool,
    /// The term the plan was made in; the wish is [stale](Outcome::Stale) in any other.
    pub term: Option<u64>,
}

/// Who asked, as they say themselves; goes into the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requester {
    /// Such as `ops@bastion`; of whoever does not say, where the request came from.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// One event on the way to the end of a wish; a line of JSON for whoever asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// What would be done, in answer to a dry run.
    Plan {
        /// The term it holds in; hand it back in [`Upon::term`].
        term: u64,
        /// What is done one after the other.
        steps: Vec<Step>,
        /// What clients will notice, in a sentence.
        expected: Option<String>,
    },
    /// A step is behind us.
    Step {
        /// Seconds since the wish came.
        seconds: f64,
        /// What was done.
        #[serde(flatten)]
        step: Step,
    },
    /// Something a preflight looked at.
    Check {
        /// On which node; `None` for the cluster as a whole.
        node: Option<NodeNameText>,
        /// What was looked at.
        what: String,
        /// Whether it is as it must be; `None` when that could not be found out.
        good: Option<bool>,
        /// The SQL or the line of configuration that mends it.
        fix: Option<String>,
    },
    /// How it ended.
    End(End),
}

/// A node's name as it goes over the wire.
pub type NodeNameText = String;

/// A step, planned or done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is done, such as `b promoted`.
    pub what: String,
    /// The figure that belongs to it, such as `timeline 8`.
    pub note: Option<String>,
}

/// How a wish ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct End {
    /// What kind of end.
    pub outcome: Outcome,
    /// What happened or what went wrong, in a sentence; with numbers where a rule refused.
    pub message: String,
    /// What it comes from.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other ways, each with the command that goes it, such as the one that overrides a refusal.
    pub instead: Vec<Instead>,
}

/// Another way to what the operator wants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Instead {
    /// Such as `planned move`.
    pub what: String,
    /// The command line.
    pub command: String,
}

impl End {
    /// An end with nothing but a sentence.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        End { outcome, message: message.into(), cause: None, hint: None, instead: Vec::new() }
    }

    /// Adds what it comes from.
    pub fn cause(self, cause: impl Into<String>) -> Self {
        End { cause: Some(cause.into()), ..self }
    }

    /// Adds what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        End { hint: Some(hint.into()), ..self }
    }

    /// Adds another way and its command.
    pub fn instead(mut self, what: &str, command: impl Into<String>) -> Self {
        self.instead.push(Instead { what: what.to_owned(), command: command.into() });
        self
    }

    /// Returns a channel in which this is all there is to hear.
    pub fn at_once(self) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(1);
        // There is room for one, and the receiver is here.
        let _ = sender.try_send(Progress::End(self));
        receiver
    }
}

/// Kinds of ends. Each has a status over HTTP; the command line has an exit code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carried out.
    Done,
    /// Taken up, and carried out later: a scheduled switchover.
    Accepted,
    /// Something went wrong, and the cluster is as it was, or as the message says.
    Failed,
    /// The request makes no sense, such as a switchover to the primary.
    Invalid,
    /// There is no such node.
    NotFound,
    /// With this configuration it cannot be done.
    Unsupported,
    /// There is no primary, and the wish needs one.
    NoPrimary,
    /// A safety rule forbids it; the message has the numbers.
    Refused,
    /// The cluster has changed since the plan was made.
    Stale,
    /// etcd, or whoever else is needed, cannot be reached.
    Unreachable,
    /// It was begun, and how it ended is not known.
    Unknown,
}

impl Outcome {
    /// Returns the status of an answer that is nothing but this end.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Outcome::Done => StatusCode::OK,
            Outcome::Accepted => StatusCode::ACCEPTED,
            Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Outcome::Invalid => StatusCode::BAD_REQUEST,
            Outcome::NotFound => StatusCode::NOT_FOUND,
            Outcome::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Outcome::NoPrimary | Outcome::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Outcome::Refused => StatusCode::CONFLICT,
            Outcome::Stale => StatusCode::PRECONDITION_FAILED,
            Outcome::Unknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// How the cluster is led, as far as known here.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// Who promotes, in the words of the key `failover`.
    pub failover: &'static str,
    /// Whether an operator has paused promotions.
    pub paused: bool,
    /// Since when the present primary leads; `None` when there is none, or it is not known.
    #[serde(skip)]
    pub primary_since: Option<SystemTime>,
    /// The agreement store; `None` when none is configured.
    pub store: Option<StoreHealth>,
    /// Proxies that are up; `None` when that is not known.
    pub proxies: Option<usize>,
    /// The operation that is going on, in a sentence.
    pub operation: Option<String>,
    /// The switchover that waits for its time.
    pub scheduled: Option<Scheduled>,
    /// What an operator should look into, beyond single nodes.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A switchover that waits for its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scheduled {
    /// When it begins.
    #[serde(serialize_with = "as_text")]
    pub at: SystemTime,
    /// The node that is to lead; `None` for the best one.
    pub to: Option<NodeNameText>,
    /// Who asked for it.
    pub by: Option<String>,
}

fn as_text<S: serde::Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&crate::config::display_time(*at))
}

/// How many members of the agreement store answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// Such as `etcd`.
    pub kind: &'static str,
    /// Members that answer.
    pub reachable: usize,
    /// Members there are.
    pub members: usize,
    /// Those that do not answer while others do, such as `etcd http://10.0.0.9:2379`.
    pub silent: Vec<String>,
}

/// What is known of one node beyond the snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// How long ago the last probe of it ended; `None` before the first.
    pub checked: Option<Duration>,
    /// Whether an operator has drained it.
    pub drained: bool,
    /// Why it takes no reads; `None` when it does, or for a primary.
    pub no_reads: Option<String>,
    /// Whether commits wait for it.
    pub synchronous: bool,
    /// What an operator should look into.
    pub warnings: Vec<String>,
}

/// A change of the primary.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// When it was complete.
    pub at: SystemTime,
    /// `switchover`, `failover`, or `observed` when somebody else did it.
    pub kind: &'static str,
    /// Who led before.
    pub from: Option<NodeName>,
    /// Who has led since; `None` when the primary was lost.
    pub to: Option<NodeName>,
    /// The timeline from then on.
    pub timeline: Option<u32>,
    /// The term from then on.
    pub term: u64,
    /// How long no writes were taken.
    pub down: Option<Duration>,
    /// How long each step took, as far as that is known: `hold`, `freeze`, `promote`.
    pub steps: Vec<(&'static str, Duration)>,
    /// Bytes of WAL that were lost with the old primary.
    pub lost_bytes: Option<u64>,
    /// Why.
    pub reason: String,
    /// Who asked for it, such as `ops@bastion`, or `automatic`; `None` when that is not known.
    pub by: Option<String>,
}

/// Why things stand as they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// The state in a sentence.
    pub verdict: String,
    /// What is being waited for, each in a sentence; empty when nothing is.
    pub waits_for: Vec<String>,
    /// Every node, and whether it could lead.
    pub nodes: Vec<Candidate>,
}

/// Whether a node could be promoted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub name: NodeNameText,
    /// Whether it could be promoted now; `None` when it leads, or it is not known.
    pub may_lead: Option<bool>,
    /// Why, or why not.
    pub reason: String,
}
