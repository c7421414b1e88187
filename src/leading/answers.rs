//! Questions of operators, answered from what the proxies agreed on and from what is seen here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use bellwether::api::{
    Candidate, End, Explanation, Later, NodeFacts, Operations, Outcome, Overview, Past, Progress, StoreHealth,
};
use bellwether::cluster::{History, Key, Kind, OperationKind, Phase, Record, Selector, Status, Step, View};
use bellwether::coordinator::lead::State;
use bellwether::store::{Store, records};
use bellwether::topology::NodeId;

use super::{Leading, not_read};

/// A reading older than this is no sign that etcd answers.
const FRESH: Duration = Duration::from_secs(2);

impl Leading {
    pub(super) fn overview_now(&self) -> Overview {
        let state = self.lead.state();
        let view = state.view.as_deref();
        let answers = state.read_at.is_some_and(|at| at.elapsed() < FRESH);
        let troubled = |(name, status): (_, &Status)| match status.role.as_str() {
            "stray" | "diverged" | "suspect" | "stranger" => Some(format!("{name}: {}", status.note)),
            _ => None,
        };
        let mut warnings: Vec<String> = state.statuses.iter().filter_map(troubled).collect();
        if !answers {
            warnings.push("etcd does not answer: nothing can be decided".to_owned());
        }
        let store = self.store(&state, answers);
        warnings.extend(store.silent.iter().map(|member| format!("{member} does not answer")));
        Overview {
            failover: self.mode_word(),
            paused: view.and_then(View::config).is_some_and(|config| config.paused),
            primary_since: self.observing.topology.primary_since(),
            store: Some(store),
            proxies: view.map(|view| view.observations().count()),
            operation: operation(&state),
            scheduled: self.scheduled.waiting(),
            warnings,
        }
    }

    fn store(&self, state: &State, answers: bool) -> StoreHealth {
        let members = self.store_members.unwrap_or(1);
        let silent = state.members.iter().filter(|one| !one.answers).map(|one| one.member.clone());
        // That none does is told as such; where the store works, one does, whatever the last roll call brought.
        let silent: Vec<String> = silent.collect();
        let silent = if answers && silent.len() < members { silent } else { Vec::new() };
        StoreHealth {
            kind: if self.store_members.is_some() { "etcd" } else { "memory" },
            reachable: if answers { members - silent.len() } else { 0 },
            members,
            silent,
        }
    }

    pub(super) fn facts_of(&self, node: NodeId) -> NodeFacts {
        let mut facts = self.observing.node(node);
        let snapshot = self.observing.topology.snapshot();
        let Some(name) = snapshot.node(node).map(|view| view.node.name.clone()) else { return facts };
        let state = self.lead.state();
        let rule = state.view.as_deref().and_then(View::sync).map(|sync| sync.rule.clone());
        facts.synchronous = rule.is_some_and(|rule| rule.k > 0 && rule.voters.contains(&name));
        if let Some(status) = state.statuses.get(&name).filter(|status| !status.note.is_empty()) {
            facts.warnings.push(status.note.clone());
        }
        facts
    }

    pub(super) fn explain_now(&self) -> Explanation {
        let state = self.lead.state();
        let view = state.view.as_deref();
        let mut verdict = match view.and_then(View::term) {
            None => "the cluster is not led yet".to_owned(),
            Some(term) => match term.phase {
                Phase::Open => format!("{} leads in term {}", term.leader, term.number),
                Phase::Hold => format!("clients are held before a move away from {}", term.leader),
                Phase::Frozen => format!("{} is frozen in term {}: nobody leads", term.leader, term.number),
            },
        };
        let waits_for = state.explanation.waits.iter().map(ToString::to_string).collect();
        if !state.explanation.active
            && let Some(coordinator) = &state.explanation.coordinator
        {
            verdict += &format!("; what is waited for, {coordinator} knows, which coordinates");
        }
        let candidates = view.into_iter().flat_map(View::members).map(|(name, member)| {
            let status = state.statuses.get(name);
            let role = status.map_or("unknown", |status| status.role.as_str());
            let note = status.map(|status| status.note.as_str()).filter(|note| !note.is_empty());
            let (may_lead, reason) = match role {
                "leader" => (None, "it leads".to_owned()),
                "follower" | "recruited" if member.no_failover => {
                    (Some(false), "it is marked no_failover".to_owned())
                }
                "follower" | "recruited" => {
                    (Some(true), note.unwrap_or("its data is of the leader's history").to_owned())
                }
                "unknown" => (None, "nothing is known of it here".to_owned()),
                other => {
                    (Some(false), note.map_or_else(|| other.to_owned(), |note| format!("{other}: {note}")))
                }
            };
            Candidate { name: name.to_string(), may_lead, reason }
        });
        Explanation { verdict, waits_for, nodes: candidates.collect() }
    }

    /// Says whether the cluster is led, and what keeps it from being.
    pub(super) fn adopt(&self, dry_run: bool) -> mpsc::Receiver<Progress> {
        let state = self.lead.state();
        if state.view.as_deref().and_then(View::term).is_some() {
            return End::new(Outcome::Done, "the cluster is led already").at_once();
        }
        if dry_run {
            return self.preflight();
        }
        let waits: Vec<String> = state.explanation.waits.iter().map(ToString::to_string).collect();
        match waits.is_empty() {
            true => not_read().at_once(),
            false => End::new(Outcome::Refused, "the cluster cannot be taken in as it is")
                .cause(waits.join("; "))
                .hint("it is taken in by itself as soon as that is mended")
                .at_once(),
        }
    }

    /// Looks at what leading takes, on every node.
    pub(super) fn preflight(&self) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(32);
        let lead = self.lead.clone();
        tokio::spawn(async move {
            let checks = lead.preflight().await;
            let missing = checks.iter().filter(|check| check.good != Some(true)).count();
            for check in checks {
                let node = Some(check.node.to_string());
                let told = Progress::Check { node, what: check.what, good: check.good, fix: check.fix };
                // Whoever asked may be gone.
                let _ = sender.send(told).await;
            }
            let end = match missing {
                0 => End::new(Outcome::Done, "nothing is missing"),
                _ => End::new(Outcome::Failed, format!("{missing} of what leading takes is missing"))
                    .hint("bellwether setup-role --sql prints the rights; the rest stands beside each line"),
            };
            let _ = sender.send(Progress::End(end)).await;
        });
        receiver
    }
}

fn operation(state: &State) -> Option<String> {
    let view = state.view.as_deref()?;
    let (term, operation) = (view.term()?, view.operation()?);
    if operation.step == Step::Settled {
        return None;
    }
    let candidate = operation.candidate.as_ref().map(|name| format!(", to {name}")).unwrap_or_default();
    let step = match (term.phase, operation.step) {
        (Phase::Hold, _) => "clients are held",
        (Phase::Frozen, Step::Chosen) => "promoting",
        (Phase::Frozen, _) => "choosing",
        (Phase::Open, _) => "standbys are being pointed at the new primary",
    };
    Some(format!("{}{candidate}: {step}", operation.reason))
}

/// Reads how the terms began, newest first.
pub(super) fn history(store: Arc<dyn Store>) -> Later<Vec<Past>> {
    Box::pin(async move {
        let view = records::read(store.as_ref(), &[Selector::Every(Kind::History)]).await;
        let view = view.map_err(|error| {
            End::new(Outcome::Unreachable, "the history could not be read").cause(error.to_string())
        })?;
        let records =
            view.entries.iter().rev().filter_map(|(key, entry)| match (key, entry.record.as_ref()) {
                (Key::History(term), Record::History(history)) => Some(past(*term, history)),
                _ => None,
            });
        Ok(records.collect())
    })
}

fn past(term: u64, history: &History) -> Past {
    let by = match (&history.asked.by, history.kind) {
        (None, Some(OperationKind::Failover)) => Some("automatic".to_owned()),
        (by, _) => by.clone(),
    };
    let reason = match &history.asked.why {
        Some(why) => format!("{} (\"{why}\")", history.reason),
        None => history.reason.clone(),
    };
    let steps: Vec<_> = history.steps_ms.iter().filter_map(step).collect();
    Past {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(history.at_ms),
        kind: kind(history),
        from: history.before.clone(),
        to: Some(history.leader.clone()),
        timeline: Some(history.lineage.last().timeline.0),
        term,
        down: Some(steps.iter().map(|(_, took)| *took).sum()),
        steps,
        lost_bytes: Some(history.lost_bytes),
        reason,
        by,
    }
}

fn kind(history: &History) -> &'static str {
    match (&history.before, history.kind) {
        (None, _) => "adopted",
        (Some(before), _) if *before == history.leader => "kept",
        (Some(_), Some(OperationKind::Switchover)) => "switchover",
        (Some(_), Some(OperationKind::Failover | OperationKind::Forced)) => "failover",
        // Records of earlier releases say it in words only.
        (Some(_), None) if history.reason.contains("switchover") => "switchover",
        (Some(_), None) => "failover",
    }
}

/// The words are those of `bellwether_failover_step_seconds`.
fn step((step, millis): &(Step, u64)) -> Option<(&'static str, Duration)> {
    let word = match step {
        Step::Held => "hold",
        Step::Frozen => "freeze",
        Step::Chosen => "promote",
        Step::Open | Step::Settled => return None,
    };
    Some((word, Duration::from_millis(*millis)))
}
