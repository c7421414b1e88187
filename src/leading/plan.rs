//! What would be done, before it is done, and the refusals that need no coordinator.

use tokio::sync::mpsc;

use bellwether::api::{End, Outcome, Progress, Requester, Step, Upon};
use bellwether::cluster::{Member, Phase, Record, Request, Term, View};
use bellwether::pg::{Address, ConnInfo};
use bellwether::topology::{NodeName, NodeView, Role, Snapshot};

use super::{Leading, durability_word, not_read};

/// A plan, and the term it holds in.
pub(super) struct Plan {
    term: u64,
    steps: Vec<Step>,
    expected: String,
}

impl Plan {
    /// Tells the plan to whoever asked for it, and nothing else.
    pub(super) fn told(self) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(2);
        let Plan { term, steps, expected } = self;
        // There is room for both, and the receiver is here.
        let _ = sender.try_send(Progress::Plan { term, steps, expected: Some(expected) });
        let _ = sender.try_send(Progress::End(End::new(Outcome::Done, "nothing was done: a dry run")));
        receiver
    }
}

impl Leading {
    /// Plans a planned move, or says why there can be none.
    pub(super) fn plan_switchover(&self, to: Option<&NodeName>, upon: Upon) -> Result<Plan, End> {
        let state = self.lead.state();
        let view = state.view.as_deref().ok_or_else(not_read)?;
        let snapshot = self.observing.topology.snapshot();
        let term = settled(view, upon)?;
        let to = target(view, term, &snapshot, to)?;
        if snapshot.primary.is_none() {
            let end = End::new(Outcome::NoPrimary, "there is no primary that could agree to it");
            let instead = format!("bellwether failover{}", option(to));
            return Err(end.instead("a failover, which does without it", instead));
        }
        let (from, new) =
            (&term.leader, to.map_or_else(|| "the best standby".to_owned(), ToString::to_string));
        Ok(Plan {
            term: term.number,
            steps: vec![
                step("checkpoints are written", Some("while clients go on".to_owned())),
                step("clients are held", Some("running transactions may end".to_owned())),
                step(&format!("{from} takes no more commits"), None),
                step(&format!("{new} replays all that {from} has"), lag(&snapshot, to)),
                step(&format!("{new} is promoted"), Some(format!("term {}", term.number + 1))),
                step("clients go on", None),
                step(
                    "the other standbys follow",
                    Some(format!("{from} must be brought back as one by hand")),
                ),
            ],
            expected: "no errors; statements that need the primary wait for a moment".to_owned(),
        })
    }

    /// Plans a promotion without the primary's consent, or says why there can be none.
    pub(super) fn plan_failover(
        &self,
        to: Option<&NodeName>,
        allow: Option<u64>,
        upon: Upon,
    ) -> Result<Plan, End> {
        let state = self.lead.state();
        let view = state.view.as_deref().ok_or_else(not_read)?;
        let snapshot = self.observing.topology.snapshot();
        let term = settled(view, upon)?;
        let to = target(view, term, &snapshot, to)?;
        let behind = to.and_then(|to| snapshot.by_name(to)).and_then(lag_bytes);
        if let (Some(allowed), Some(behind)) = (allow.filter(|allowed| *allowed < u64::MAX), behind)
            && behind > allowed
        {
            let message = format!("{behind} bytes of WAL would be lost, and {allowed} are allowed");
            let command = format!("bellwether failover{} --allow-data-loss", option(to));
            return Err(End::new(Outcome::Refused, message).instead("lose them anyway", command));
        }
        let (from, new) =
            (&term.leader, to.map_or_else(|| "the furthest standby".to_owned(), ToString::to_string));
        let config = view.config().map(|config| durability_word(config.durability));
        Ok(Plan {
            term: term.number,
            steps: vec![
                step(&format!("{from} is frozen"), Some("no proxy talks to it any more".to_owned())),
                step("standbys stop following it, and their positions are read", None),
                step(&format!("{new} is promoted"), lag(&snapshot, to)),
                step("clients go on", Some(format!("term {}", term.number + 1))),
            ],
            expected: match config {
                Some(words) => format!("open transactions end with an error; {words}"),
                None => "open transactions end with an error".to_owned(),
            },
        })
    }

    /// Takes another server in.
    pub(super) fn add(&self, node: NodeName, url: &str, by: Requester) -> mpsc::Receiver<Progress> {
        let address = match address(url) {
            Ok(address) => address,
            Err(end) => return end.at_once(),
        };
        let state = self.lead.state();
        let Some(view) = state.view else { return not_read().at_once() };
        if view.members().any(|(name, _)| *name == node) {
            return End::new(Outcome::Invalid, format!("{node} is a member already")).at_once();
        }
        let member = Member { address: address.to_string(), ..Member::default() };
        self.submit(Request::Set { node, member }, by)
    }

    /// Changes what a member is like.
    pub(super) fn set(
        &self,
        node: NodeName,
        settings: &[(String, String)],
        by: Requester,
    ) -> mpsc::Receiver<Progress> {
        let state = self.lead.state();
        let Some(view) = state.view else { return not_read().at_once() };
        let Some(Record::Member(member)) = view.record(&bellwether::cluster::Key::Node(node.clone())) else {
            return no_such_node(&view, &node).at_once();
        };
        let mut member = member.clone();
        for (name, value) in settings {
            if let Err(end) = set_one(&mut member, name, value) {
                return end.at_once();
            }
        }
        self.submit(Request::Set { node, member }, by)
    }
}

fn address(url: &str) -> Result<Address, End> {
    let one = match url.parse::<ConnInfo>() {
        Ok(ConnInfo { hosts, settings }) if settings.is_empty() => <[Address; 1]>::try_from(hosts).ok(),
        _ => None,
    };
    let nowhere = || {
        End::new(Outcome::Invalid, format!("\"{url}\" does not say where one server is"))
            .hint("write postgres://host:port")
    };
    one.map(|[address]| address).ok_or_else(nowhere)
}

fn set_one(member: &mut Member, name: &str, value: &str) -> Result<(), End> {
    let invalid = |expected: &str| {
        End::new(Outcome::Invalid, format!("invalid value for {name}: \"{value}\""))
            .cause(format!("expected {expected}"))
    };
    let flag = || value.parse::<bool>().map_err(|_| invalid("true or false"));
    match name {
        "url" => member.address = address(value)?.to_string(),
        "no_failover" => member.no_failover = flag()?,
        "no_sync" => member.no_sync = flag()?,
        "priority" => member.priority = value.parse().map_err(|_| invalid("a number"))?,
        _ => {
            return Err(End::new(Outcome::Unsupported, format!("{name} cannot be set while it runs")).hint(
                "url, no_failover, no_sync and priority can; the rest stands in the configuration of each proxy",
            ));
        }
    }
    Ok(())
}

/// The term, if it is open and still the one that the wish was made upon.
fn settled(view: &View, upon: Upon) -> Result<&Term, End> {
    let term = view.term().ok_or_else(not_read)?;
    if upon.term.is_some_and(|made| made != term.number) {
        let message = format!("the cluster has changed: it is in term {} now", term.number);
        return Err(End::new(Outcome::Stale, message).hint("look at the new plan"));
    }
    match term.phase {
        Phase::Open => Ok(term),
        // A failover may be told whom to take while the term is frozen; a switchover is refused by the coordinator.
        Phase::Hold | Phase::Frozen => Ok(term),
    }
}

/// The node asked for, if it can be meant.
fn target<'a>(
    view: &View,
    term: &Term,
    snapshot: &Snapshot,
    to: Option<&'a NodeName>,
) -> Result<Option<&'a NodeName>, End> {
    let Some(to) = to else { return Ok(None) };
    if !view.members().any(|(name, _)| name == to) {
        return Err(no_such_node(view, to));
    }
    if *to == term.leader && term.phase == Phase::Open {
        return Err(End::new(Outcome::Invalid, format!("{to} leads already")));
    }
    match snapshot.by_name(to).map(|view| &view.role) {
        Some(Role::Unknown { reason }) => {
            Err(End::new(Outcome::Refused, format!("{to} cannot be reached")).cause(reason.clone()))
        }
        _ => Ok(Some(to)),
    }
}

fn no_such_node(view: &View, node: &NodeName) -> End {
    let known: Vec<&str> = view.members().map(|(name, _)| name.as_str()).collect();
    End::new(Outcome::NotFound, format!("there is no node {node}"))
        .hint(format!("the nodes are {}", known.join(", ")))
}

fn step(what: &str, note: Option<String>) -> Step {
    Step { what: what.to_owned(), note }
}

fn lag(snapshot: &Snapshot, to: Option<&NodeName>) -> Option<String> {
    let bytes = lag_bytes(snapshot.by_name(to?)?)?;
    Some(format!("{bytes} bytes behind"))
}

fn lag_bytes(view: &NodeView) -> Option<u64> {
    match &view.role {
        Role::Standby(standby) => standby.lag_bytes,
        _ => None,
    }
}

fn option(to: Option<&NodeName>) -> String {
    to.map(|to| format!(" --to {to}")).unwrap_or_default()
}
