//! Wishes of operators: begun, done, or refused with the numbers.

use super::election;
use super::failover::{self, Begin};
use super::key::Key;
use super::records::{Answer, Operation, OperationKind, Opinion, Record, Request, Term};
use super::situation::{Plan, Situation};
use super::switchover;
use super::transaction::Txn;
use super::wait::Wait;
use crate::topology::NodeName;

/// Plans what the first request asks for, while a term is open. `None` when there is none.
pub(super) fn open(s: &Situation<'_>) -> Option<Plan> {
    let (id, request) = s.view.requests().next()?;
    let done = |txn: Txn, text: String| said(answered(s, txn, id, true, text.clone()), text);
    let refuse = |why: String| {
        let say = format!("request {id} is refused: {why}");
        said(answered(s, s.txn(), id, false, why), say)
    };
    Some(match request {
        Request::Switchover { to, asked } => match to {
            Some(to) if *to == s.term.leader => refuse(format!("{to} leads already")),
            None if s.config().paused => refuse("paused: name the node to switch to".to_owned()),
            to => match switchover_to(s, to.as_ref()) {
                Err(waits) => {
                    switchover::look_again(s, id, &waits).unwrap_or_else(|| refuse(sentences(&waits)))
                }
                Ok(candidate) => match switchover::prepare(s, id, &candidate) {
                    Some(plan) => plan,
                    None => match switchover::only_leader(s) {
                        Some(wait) => refuse(wait.to_string()),
                        None => {
                            let text = format!("switchover from {} to {candidate}", s.term.leader);
                            let reason = format!("{text} by request");
                            done(switchover::hold(s, &candidate, reason, asked.clone()), text)
                        }
                    },
                },
            },
        },
        Request::Failover { to, accept_loss, asked } => match forced(s, to.as_ref()) {
            Err(why) => refuse(why),
            Ok(()) => {
                let begin = Begin {
                    kind: OperationKind::Forced,
                    reason: "failover by request".to_owned(),
                    asked: asked.clone(),
                    wanted: to.clone(),
                    accept_loss: *accept_loss,
                };
                done(failover::freeze(s, begin), format!("failover away from {}", s.term.leader))
            }
        },
        Request::Cancel => refuse("no switchover is held".to_owned()),
        Request::Rebuilt { node } => {
            let mut term: Term = s.term.clone();
            term.suspects.remove(node);
            done(s.txn().put(Key::Term, Record::Term(term)), format!("{node} has a new copy"))
        }
        Request::Set { node, member } => {
            let txn = s.txn().put(Key::Node(node.clone()), Record::Member(member.clone()));
            done(txn, format!("{node} is a member"))
        }
        Request::Remove { node } if *node == s.term.leader => {
            refuse(format!("{node} leads: switch over first"))
        }
        Request::Remove { node } if s.member(node).is_none() => refuse(format!("{node} is no member")),
        Request::Remove { node } => {
            let txn = s.txn().delete(Key::Node(node.clone())).delete(Key::Status(node.clone()));
            done(txn, format!("{node} is no member any more"))
        }
        Request::Configure(config) => {
            let text = match (s.config().paused, config.paused) {
                (false, true) => "paused: nobody is promoted unless asked for",
                (true, false) => "resumed: a standby is promoted when the leader is lost",
                _ => "configured",
            };
            done(s.txn().put(Key::Config, Record::Config(config.clone())), text.to_owned())
        }
    })
}

/// Plans what a request can change while the cluster is frozen: whom to take, and whether commits may be lost.
pub(super) fn frozen(s: &Situation<'_>, operation: &Operation) -> Option<Plan> {
    if let Some(plan) = rebuilt(s, operation) {
        return Some(plan);
    }
    let (id, request) = s.view.requests().next()?;
    let refuse = |why: String| {
        let say = format!("request {id} is refused: {why}");
        Some(said(answered(s, s.txn(), id, false, why), say))
    };
    let Request::Failover { to, accept_loss, asked } = request else {
        return refuse(format!("an operation is under way: {}", operation.reason));
    };
    let asked = asked.clone();
    let next = Operation { wanted: to.clone(), accept_loss: *accept_loss, asked, ..operation.clone() };
    if let Some(why) = to.as_ref().and_then(|to| unfit(s, &next, to)) {
        return refuse(why);
    }
    let text = match (to, accept_loss) {
        (Some(to), true) => format!("{to} is to lead, whatever is lost"),
        (Some(to), false) => format!("{to} is to lead"),
        (None, true) => "somebody is to lead, whatever is lost".to_owned(),
        (None, false) => "the best node is to lead".to_owned(),
    };
    let txn = s.txn().put(Key::Op, Record::Operation(next));
    Some(said(answered(s, txn, id, true, text.clone()), text))
}

/// Says why the node asked for will not lead however long one waits.
fn unfit(s: &Situation<'_>, operation: &Operation, to: &NodeName) -> Option<String> {
    if s.member(to).is_none() {
        return Some(format!("{to} is no member"));
    }
    let wait = election::refusal(s, operation, to)?;
    Some(match wait {
        Wait::Behind { .. } | Wait::Old { .. } => {
            format!("{wait}; allow data loss to have it lead all the same")
        }
        _ => wait.to_string(),
    })
}

/// Takes note that a node was copied anew while the cluster is frozen: the candidate's proof may wait for it.
pub(super) fn rebuilt(s: &Situation<'_>, operation: &Operation) -> Option<Plan> {
    let found = s.view.requests().find_map(|(id, request)| match request {
        Request::Rebuilt { node } => Some((id, node)),
        _ => None,
    });
    let (id, node) = found?;
    let (mut term, mut operation) = (s.term.clone(), operation.clone());
    term.suspects.remove(node);
    operation.given_up.remove(node);
    let txn = s.txn().put(Key::Term, Record::Term(term)).put(Key::Op, Record::Operation(operation));
    let text = format!("{node} has a new copy");
    Some(said(answered(s, txn, id, true, text.clone()), text))
}

/// Adds to `txn` that the request is gone and what became of it.
pub(super) fn answered(s: &Situation<'_>, txn: Txn, id: &str, accepted: bool, text: String) -> Txn {
    let key = Key::Request(id.to_owned());
    let at = s.modified(&key);
    txn.if_at(key.clone(), at)
        .delete(key)
        .put(Key::Answer(id.to_owned()), Record::Answer(Answer { accepted, text }))
}

fn said(txn: Txn, say: String) -> Plan {
    Plan { txn: Some((txn, say)), hurry: true, ..Plan::default() }
}

/// Checks a switchover before any client is held.
fn switchover_to(s: &Situation<'_>, to: Option<&NodeName>) -> Result<NodeName, Vec<Wait>> {
    let leader = &s.term.leader;
    let known = s.known(leader);
    let lives =
        known.and_then(|known| known.leads(s.now, s.timings(), &s.term.lineage, s.memory.last_opened()));
    if lives != Some(Opinion::Alive) {
        let why = "a switchover needs a leader that is well; ask for a failover".to_owned();
        return Err(vec![Wait::NoAnswer { node: leader.clone(), why }]);
    }
    if let Some(to) = to.filter(|to| s.member(to).is_none()) {
        return Err(vec![Wait::NoAnswer { node: to.clone(), why: "it is no member".to_owned() }]);
    }
    switchover::target(s, to)
}

/// Checks a forced failover: somebody must be there to take over.
fn forced(s: &Situation<'_>, to: Option<&NodeName>) -> Result<(), String> {
    if to == Some(&s.term.leader) {
        return Err(format!("{} leads already", s.term.leader));
    }
    let there = |name: &NodeName| s.known(name).is_some_and(|known| known.answers());
    let suspect = |name: &NodeName| {
        let facts = s.known(name).and_then(|known| known.last_facts());
        facts.is_some_and(|facts| s.is_suspect(name, &facts.lineage))
    };
    let mut others = s.members().map(|(name, _)| name).filter(|name| **name != s.term.leader);
    match to {
        Some(to) if s.member(to).is_none() => Err(format!("{to} is no member")),
        Some(to) if !there(to) => Err(format!("{to} does not answer")),
        Some(to) if suspect(to) => Err(Wait::Suspect { node: to.clone() }.to_string()),
        None if !others.any(there) => Err("no other node answers".to_owned()),
        _ => Ok(()),
    }
}

fn sentences(waits: &[Wait]) -> String {
    waits.iter().map(Wait::to_string).collect::<Vec<_>>().join("; ")
}
