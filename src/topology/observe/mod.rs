//! Turns what single nodes report into one snapshot: who is primary, who takes reads, and why.
//!
//! This is observation, not election: someone else promotes, and we follow what we see; or the proxies agree who leads
//! ([`Decree`]), and we see whether it is so.
//!
//! | Seen | Primary |
//! |---|---|
//! | some node not asked yet | none: the one not asked may be the true one |
//! | exactly one node not in recovery | that one |
//! | several, on different timelines | the one on the highest |
//! | several, on one timeline | the present one; without one, the furthest in WAL |
//! | only nodes on a timeline older than the last primary's | none, unless that primary itself went back |
//! | none | none |
//!
//! A standby takes reads while it is on the primary's timeline and streams. One that stopped streaming loses
//! them as soon as the primary is known to live; when it is the primary that died, its standbys serve on. One that
//! lags further than the limits loses them until it has come half way back.

mod lag;
mod member;
mod seats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::lag::LagLimits;
use self::lag::Trail;
use self::member::{Feed, Member};
use super::decree::{Authority, Decree};
use super::{
    Change, Node, NodeId, NodeName, NodeView, Report, Role, SPARE_SEATS, Snapshot, Standby, Standing,
};
use crate::pg::Timeline;

/// What changes our mind about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row until a node counts as gone.
    pub fall: u32,
    /// Answers in a row until a node that was gone counts again. A node never seen before needs one.
    pub rise: u32,
    /// How far a standby may lag and take reads.
    pub lag: LagLimits,
}

/// How soon nodes should be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All is settled: at the usual interval.
    Calm,
    /// There is no primary, or it is in doubt: at once, and often.
    Urgent,
}

/// The memory behind the snapshots. Feed it reports; read [`snapshot`](Self::snapshot).
#[derive(Debug)]
pub struct Observer {
    limits: Thresholds,
    members: Vec<Member>,
    /// How many there may ever be.
    seats: usize,
    /// The last primary and its timeline, kept while there is none.
    led: Option<(NodeId, Timeline)>,
    conflict: Option<String>,
    trail: Trail,
    authority: Authority,
    snapshot: Snapshot,
}

/// Who should be followed, and why.
struct Choice {
    primary: Option<usize>,
    reason: String,
    conflict: Option<String>,
}

impl Observer {
    /// Begins with nothing known. `nodes` stand at the index of their ids.
    pub fn new(nodes: Vec<Arc<Node>>, limits: Thresholds) -> Self {
        let members: Vec<_> = nodes.into_iter().map(Member::new).collect();
        let seats = members.len() + SPARE_SEATS;
        let (trail, snapshot) = (Trail::default(), Snapshot::default());
        let authority = Authority::Seen;
        let mut observer =
            Observer { limits, members, seats, led: None, conflict: None, trail, authority, snapshot };
        observer.snapshot = observer.draw(None, None, 0, None);
        observer
    }

    /// Begins with nothing known, and follows whom it is [told](Self::hear) to.
    pub fn told(nodes: Vec<Arc<Node>>, limits: Thresholds) -> Self {
        Observer { authority: Authority::Agreed(None), ..Observer::new(nodes, limits) }
    }

    /// Takes what the proxies have agreed on; returns what is worth telling.
    pub fn hear(&mut self, decree: Decree, now: Instant) -> Vec<Change> {
        if self.authority.decree() == Some(&decree) {
            return Vec::new();
        }
        let mut changes = self.seat(&decree.members);
        self.authority = Authority::Agreed(Some(decree));
        changes.extend(self.settle(now));
        changes
    }

    /// Takes what came of a probe of `node` that began at `asked_at` and ended at `now`; returns what is
    /// worth telling. Reports of one node must come in the order of their probes.
    pub fn step(&mut self, node: NodeId, report: Report, asked_at: Instant, now: Instant) -> Vec<Change> {
        let Some(member) = self.members.get_mut(usize::from(node.0)) else { return Vec::new() };
        member.take(report, asked_at, now, &self.limits);
        self.settle(now)
    }

    /// Keeps reads away from `node` from `now` on, or lets them there again; returns what is worth telling.
    pub fn set_drained(&mut self, node: NodeId, drained: bool, now: Instant) -> Vec<Change> {
        let Some(member) = self.members.get_mut(usize::from(node.0)) else { return Vec::new() };
        member.drained = drained;
        self.settle(now)
    }

    /// Draws the next snapshot from what is known of all nodes now.
    fn settle(&mut self, now: Instant) -> Vec<Change> {
        let had_led = self.led.is_some();
        let identifier = self.shared_identifier();
        let Choice { primary, reason, conflict } = self.choose(identifier);
        self.settle_feeds(primary);
        let leads = primary.and_then(|i| Some((NodeId(i as u16), self.members[i].writable()?.0)));
        let term = match &self.authority {
            Authority::Seen => self.snapshot.term + u64::from(leads.is_some() && leads != self.led),
            Authority::Agreed(decree) => decree.as_ref().map_or(0, |decree| decree.term),
        };
        self.led = leads.or(self.led);
        if let Some((primary, _)) = leads {
            self.measure(primary);
        }

        let mut next =
            self.draw(leads.map(|(id, _)| id), identifier, term, self.reading_timeline(identifier));
        if had_led {
            self.note_returns(&mut next, now);
        }
        next.version = self.snapshot.version + u64::from(!self.snapshot.routes_like(&next));
        let mut changes = self.differences(&next, reason);
        if conflict != self.conflict {
            changes.extend(conflict.clone().map(|text| Change::Conflict { text }));
            self.conflict = conflict;
        }
        self.snapshot = next;
        changes
    }

    /// Returns the present view.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns why `node` takes no reads; `None` when it does.
    pub fn no_reads_because(&self, node: NodeId) -> Option<&'static str> {
        let identifier = self.snapshot.system_identifier;
        let member = self.members.get(usize::from(node.0))?;
        self.why_no_reads(member, identifier, self.reading_timeline(identifier))
    }

    /// Whether `node` is drained.
    pub fn is_drained(&self, node: NodeId) -> bool {
        self.members.get(usize::from(node.0)).is_some_and(|member| member.drained)
    }

    /// Returns how soon nodes should be asked again.
    pub fn pace(&self) -> Pace {
        let primary_in_doubt = match self.snapshot.primary {
            None => true,
            Some(id) => self.members[usize::from(id.0)].is_suspect(),
        };
        let feed_in_doubt = self.members.iter().any(|member| matches!(member.feed, Feed::Lost { .. }));
        if primary_in_doubt || feed_in_doubt { Pace::Urgent } else { Pace::Calm }
    }

    /// Returns the identifier most nodes share; on a tie, that of the first in the operator's order. Once a
    /// primary was followed it is settled: a stray server must not take the cluster over when others die.
    fn shared_identifier(&self) -> Option<u64> {
        if let Some(agreed) = self.authority.decree().and_then(|decree| decree.system_identifier) {
            return Some(agreed);
        }
        if self.led.is_some() {
            return self.snapshot.system_identifier;
        }
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for identifier in self.members.iter().filter_map(Member::system_identifier) {
            *votes.entry(identifier).or_default() += 1;
        }
        let most = votes.values().max();
        self.members
            .iter()
            .filter_map(Member::system_identifier)
            .find(|identifier| votes.get(identifier) == most)
    }

    fn choose(&self, identifier: Option<u64>) -> Choice {
        if let Authority::Agreed(decree) = &self.authority {
            return self.obey(decree.as_ref(), identifier);
        }
        let none = |reason: &str| Choice { primary: None, reason: reason.to_owned(), conflict: None };
        if let Some(unasked) = self.members.iter().find(|member| !member.asked) {
            return none(&format!("{} was not asked yet", unasked.node.name));
        }
        let ours = |member: &&Member| member.system_identifier() == identifier;
        let writable: Vec<_> = (self.members.iter().filter(ours))
            .filter_map(|member| Some((member.node.id, member.writable()?)))
            .collect();
        let Some(newest) = writable.iter().map(|(_, (timeline, _))| *timeline).max() else {
            return none(&self.why_no_primary());
        };
        if let Some((last, timeline)) =
            self.led.filter(|(last, timeline)| self.is_stale(newest, *last, *timeline))
        {
            let text = format!(
                "only nodes on timeline {newest} accept writes, but {} has led on timeline {timeline}: \
                 following none of them",
                self.name(last)
            );
            return Choice { primary: None, reason: text.clone(), conflict: Some(text) };
        }

        let rivals: Vec<_> = writable.iter().filter(|(_, (timeline, _))| *timeline == newest).collect();
        let present = self.led.map(|(id, _)| id).filter(|id| rivals.iter().any(|(rival, _)| rival == id));
        let furthest = rivals.iter().max_by_key(|(id, (_, position))| (*position, std::cmp::Reverse(*id)));
        let chosen = present.or(furthest.map(|(id, _)| *id));
        let Some(chosen) = chosen else { return none("no node accepts writes") };
        let (reason, conflict) =
            self.explain(chosen, newest, writable.len(), rivals.len(), present.is_some());
        Choice { primary: Some(usize::from(chosen.0)), reason, conflict }
    }

    /// Whether following a writable node on timeline `newest` would mean going back behind the branch `last`
    /// led on `timeline`. It would not if `last` itself lives on as a standby on an older one: then
    /// someone took the cluster back on purpose.
    fn is_stale(&self, newest: Timeline, last: NodeId, timeline: Timeline) -> bool {
        let went_back =
            self.members.get(usize::from(last.0)).and_then(Member::timeline).is_some_and(|t| t <= newest);
        newest < timeline && !went_back
    }

    /// The leader agreed on, if it is seen to be what it was said to be.
    fn obey(&self, decree: Option<&Decree>, identifier: Option<u64>) -> Choice {
        let none = |reason: String| Choice { primary: None, reason, conflict: None };
        let Some(decree) = decree else { return none("it is not known yet who leads".to_owned()) };
        if !decree.open {
            return none(format!("term {} is not open", decree.term));
        }
        let leader = self.members.iter().position(|member| member.node.name == decree.leader);
        let Some((place, member)) = leader.map(|place| (place, &self.members[place])) else {
            return none(format!("{} leads, and is not configured here", decree.leader));
        };
        match member.writable() {
            _ if member.answer.is_none() => none(format!("{}: {}", decree.leader, member.reason)),
            _ if member.system_identifier() != identifier => {
                none(format!("the server at {} belongs to another cluster", decree.leader))
            }
            None => none(format!("{} leads, and is seen to be a standby", decree.leader)),
            Some((timeline, _)) if timeline != decree.timeline => none(format!(
                "{} leads on timeline {}, and is seen on timeline {timeline}",
                decree.leader, decree.timeline
            )),
            Some(_) => Choice {
                primary: Some(place),
                reason: format!("it leads in term {}", decree.term),
                conflict: None,
            },
        }
    }

    fn explain(
        &self,
        chosen: NodeId,
        timeline: Timeline,
        writable: usize,
        rivals: usize,
        kept: bool,
    ) -> (String, Option<String>) {
        if writable == 1 {
            return ("the only node that accepts writes".to_owned(), None);
        }
        let reason = match (rivals, kept) {
            (1, _) => format!("{writable} nodes accept writes; it is on the highest timeline, {timeline}"),
            (_, true) => {
                format!("{rivals} nodes accept writes on timeline {timeline}; it was primary before")
            }
            (_, false) => {
                format!("{rivals} nodes accept writes on timeline {timeline}; it is furthest in WAL")
            }
        };
        let conflict = format!("more than one primary, following {}: {reason}", self.name(chosen));
        (reason, Some(conflict))
    }

    fn why_no_primary(&self) -> String {
        let Some((last, _)) = self.led else { return "no node accepts writes".to_owned() };
        let member = &self.members[usize::from(last.0)];
        match member.answer {
            None => format!("{}: {}", member.node.name, member.reason),
            Some(_) => format!("{} is a standby now, and no node accepts writes", member.node.name),
        }
    }

    /// Tells standbys that lost their walreceiver when the primary turned out to live after that.
    fn settle_feeds(&mut self, primary: Option<usize>) {
        let Some(primary) = primary.map(|i| &self.members[i]).filter(|member| member.missed == 0) else {
            return;
        };
        let Some(heard) = primary.answer.as_ref().map(|answer| answer.asked_at) else { return };
        for member in &mut self.members {
            member.primary_lives(heard);
        }
    }

    /// Measures how far standbys are behind. Without a primary it stays as it is: what of its last words did not get
    /// out is no lag.
    fn measure(&mut self, primary: NodeId) {
        if let Some((asked_at, position)) = self.members[usize::from(primary.0)].stood() {
            self.trail.note(asked_at, position, &self.limits.lag);
        }
        for member in &mut self.members {
            member.measure(&self.trail, &self.limits.lag);
        }
    }

    /// Returns the timeline standbys must be on to serve reads: the last primary's; before the first
    /// primary, the highest anyone streams.
    fn reading_timeline(&self, identifier: Option<u64>) -> Option<Timeline> {
        if let Authority::Agreed(decree) = &self.authority {
            return decree.as_ref().map(|decree| decree.timeline);
        }
        let streamed = || {
            let ours =
                |member: &&Member| member.system_identifier() == identifier && member.feed == Feed::Streaming;
            self.members.iter().filter(ours).filter_map(Member::timeline).max()
        };
        self.led.map(|(_, timeline)| timeline).or_else(streamed)
    }

    fn draw(
        &self,
        primary: Option<NodeId>,
        identifier: Option<u64>,
        term: u64,
        reading: Option<Timeline>,
    ) -> Snapshot {
        let position = primary.and_then(|id| Some(self.members[usize::from(id.0)].writable()?.1));
        let view = |member: &Member| NodeView {
            node: member.node.clone(),
            role: role_of(member, identifier, position),
            timeline: member.timeline(),
            server_version: member.answer.as_ref().map(|answer| answer.facts.server_version),
            serves_reads: self.why_no_reads(member, identifier, reading).is_none(),
            back_since: None,
            gone: member.gone,
        };
        let nodes = self.members.iter().map(view).collect();
        Snapshot { version: self.snapshot.version, term, primary, nodes, system_identifier: identifier }
    }

    /// Returns why `member` takes no reads; `None` when it does.
    fn why_no_reads(
        &self,
        member: &Member,
        identifier: Option<u64>,
        reading: Option<Timeline>,
    ) -> Option<&'static str> {
        let Some(answer) = &member.answer else { return Some("its role is unknown") };
        let Standing::Standby { timeline, replayed, .. } = &answer.facts.standing else {
            return Some("it accepts writes");
        };
        let barred = || self.authority.decree()?.barred.get(&member.node.name).copied();
        match () {
            () if barred().is_some() => barred(),
            () if !member.node.reads || member.node.weight == 0 => Some("the configuration says so"),
            () if member.drained => Some("an operator has drained it"),
            () if identifier != Some(answer.facts.system_identifier) => Some("it belongs to another cluster"),
            () if replayed.is_none() => Some("it has replayed nothing yet"),
            () if timeline.is_none() || *timeline != reading => Some("it is not on the primary's timeline"),
            () if member.feed == Feed::Cut => Some("it does not stream"),
            () if member.lags => Some("it lags too far behind"),
            () if member.missed >= self.limits.fall => Some("it refuses our connections"),
            () => None,
        }
    }

    /// Notes in `next` which standbys came to others that take reads. While the first primary is looked for, all are
    /// equally new, and one that is alone has nobody to leave a share to.
    fn note_returns(&self, next: &mut Snapshot, now: Instant) {
        let before = |place: usize| self.snapshot.nodes.get(place).filter(|view| view.serves_reads);
        let others_stay = |place: usize| {
            let stays = |i: usize| i != place && before(i).is_some() && next.nodes[i].serves_reads;
            (0..next.nodes.len()).any(stays)
        };
        let came = |place: usize| match (before(place), next.nodes[place].serves_reads) {
            (_, false) => None,
            (Some(before), true) => before.back_since,
            (None, true) => others_stay(place).then_some(now),
        };
        let came: Vec<_> = (0..next.nodes.len()).map(came).collect();
        next.nodes.iter_mut().zip(came).for_each(|(view, came)| view.back_since = came);
    }

    fn differences(&self, next: &Snapshot, reason: String) -> Vec<Change> {
        let old = &self.snapshot;
        let mut changes = Vec::new();
        // One that is new has no role to lose, and one that is gone was said to be.
        let both = old.nodes.iter().zip(&next.nodes).zip(&self.members).filter(|((_, after), _)| !after.gone);
        for ((before, after), member) in both {
            let node = || after.node.name.clone();
            let (from, to) = (before.role.word(), after.role.word());
            if from != to {
                let reason = match &after.role {
                    Role::Unknown { reason } => Some(reason.clone()),
                    _ => None,
                };
                changes.push(Change::Role { node: node(), from, to, reason });
            }
            if before.serves_reads != after.serves_reads {
                let reading = self.reading_timeline(next.system_identifier);
                let refused = self.why_no_reads(member, next.system_identifier, reading);
                let reason = refused.unwrap_or("it streams on the primary's timeline");
                changes.push(Change::Reads { node: node(), serves: after.serves_reads, reason });
            }
        }
        if (old.primary, old.term) != (next.primary, next.term) {
            changes.push(Change::Primary {
                from: old.primary.map(|id| self.name(id)),
                to: next.primary.map(|id| self.name(id)),
                timeline: next.primary().and_then(|view| view.timeline),
                term: next.term,
                reason,
            });
        }
        changes
    }

    fn name(&self, id: NodeId) -> NodeName {
        self.members[usize::from(id.0)].node.name.clone()
    }
}

fn role_of(member: &Member, identifier: Option<u64>, primary: Option<crate::pg::Lsn>) -> Role {
    let Some(answer) = &member.answer else { return Role::Unknown { reason: member.reason.clone() } };
    let found = answer.facts.system_identifier;
    if let Some(expected) = identifier.filter(|expected| *expected != found) {
        return Role::Unknown {
            reason: format!("system identifier {found} is not that of the cluster, {expected}"),
        };
    }
    match &answer.facts.standing {
        Standing::Primary { position, .. } => Role::Primary { position: *position },
        Standing::Standby { streaming, replayed, received, replay_age, .. } => Role::Standby(Standby {
            streaming: *streaming,
            replayed: replayed.unwrap_or_default(),
            lag_bytes: primary.zip(*replayed).map(|(primary, replayed)| primary.bytes_since(replayed)),
            // Only a streaming standby knows that there is nothing more to replay.
            lag_time: if *streaming && received <= replayed { Some(Duration::ZERO) } else { *replay_age },
        }),
    }
}
