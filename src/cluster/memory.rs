//! What the active coordinator remembers by itself. All of it may be lost with it: a successor waits longer at worst.

use std::collections::BTreeMap;

use super::key::{Key, ProxyName};
use super::moment::Moment;
use super::records::{Phase, Step};
use super::transaction::{Revision, View};
use crate::pg::Lsn;

/// Moments of this process's clock, and what was decided and needs no record.
#[derive(Debug, Default)]
pub(super) struct Memory {
    stage: Option<Stage>,
    times: Vec<(Step, u64)>,
    opened: Option<(u64, Moment)>,
    frozen: Option<(u64, Moment)>,
    /// Since when no term was open.
    closed: Option<Moment>,
    fenced: Option<(u64, Moment)>,
    leader_end: (u64, Lsn),
    aborting: Option<(u64, String)>,
    prepared: Option<(String, Moment)>,
    evicted: BTreeMap<ProxyName, (Revision, Moment)>,
}

/// The step of the operation as last seen.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    term: u64,
    phase: Phase,
    step: Option<Step>,
    since: Moment,
}

impl Memory {
    /// Takes a reading of the store: whatever is seen for the first time began no later than now.
    pub(super) fn hear(&mut self, now: Moment, view: &View) {
        let Some(term) = view.term() else { return };
        let step = view.operation().map(|operation| operation.step);
        let stage = Stage { term: term.number, phase: term.phase, step, since: now };
        match &self.stage {
            Some(old) if (old.term, old.phase, old.step) == (stage.term, stage.phase, stage.step) => {}
            old => {
                if matches!(step, Some(Step::Held | Step::Frozen))
                    && old
                        .as_ref()
                        .is_none_or(|old| matches!(old.step, None | Some(Step::Settled | Step::Open)))
                {
                    self.times.clear();
                } else if let Some((step, since)) = old.as_ref().and_then(|old| Some((old.step?, old.since)))
                {
                    self.times.push((step, millis(now, since)));
                }
                self.stage = Some(stage);
            }
        }
        if term.phase == Phase::Frozen && self.frozen.is_none_or(|(number, _)| number != term.number) {
            self.frozen = Some((term.number, now));
        }
        if term.phase == Phase::Open && self.opened.is_none_or(|(number, _)| number != term.number) {
            self.opened = Some((term.number, now));
        }
        self.closed = if term.phase == Phase::Frozen { self.closed.or(Some(now)) } else { None };
        if self.aborting.as_ref().is_some_and(|(number, _)| *number != term.number) {
            self.aborting = None;
        }
        self.hear_evictions(now, view);
    }

    fn hear_evictions(&mut self, now: Moment, view: &View) {
        let evicted: BTreeMap<_, _> = view
            .grants()
            .filter(|(_, grant)| grant.evicted)
            .map(|(name, _)| (name.clone(), view.modified(&Key::Grant(name.clone()))))
            .collect();
        self.evicted.retain(|name, (at, _)| evicted.get(name) == Some(at));
        for (name, at) in evicted {
            self.evicted.entry(name).or_insert((at, now));
        }
    }

    /// Takes note of a position the leader of `term` flushed.
    pub(super) fn leader_reached(&mut self, term: u64, end: Lsn) {
        let known = if self.leader_end.0 == term { self.leader_end.1 } else { Lsn(0) };
        self.leader_end = (term, known.max(end));
    }

    /// Returns the furthest position of the leader of `term`; 0 when none was seen.
    pub(super) fn leader_end(&self, term: u64) -> Lsn {
        if self.leader_end.0 == term { self.leader_end.1 } else { Lsn(0) }
    }

    /// Takes note that every permission has ended.
    pub(super) fn fenced(&mut self, now: Moment, term: u64) {
        if self.fenced.is_none_or(|(number, _)| number != term) {
            self.fenced = Some((term, now));
        }
    }

    /// Returns when the permissions of the terms before `term` were first known to have ended.
    pub(super) fn fenced_at(&self, term: u64) -> Option<Moment> {
        self.fenced.filter(|(number, _)| *number == term).map(|(_, at)| at)
    }

    /// Decides, for the rest of `term`, to let the leader that was open again.
    pub(super) fn abort(&mut self, term: u64, why: String) {
        if self.aborting.is_none() {
            self.aborting = Some((term, why));
        }
    }

    /// Returns why the leader that was is to open again, if that was decided.
    pub(super) fn aborting(&self) -> Option<&str> {
        self.aborting.as_ref().map(|(_, why)| why.as_str())
    }

    /// Begins the preparation of a request, if another one was prepared last.
    pub(super) fn prepare(&mut self, now: Moment, request: &str) {
        if self.prepared.as_ref().is_none_or(|(id, _)| id != request) {
            self.prepared = Some((request.to_owned(), now));
        }
    }

    /// Returns since when a request is being prepared.
    pub(super) fn prepared_since(&self, request: &str) -> Option<Moment> {
        self.prepared.as_ref().filter(|(id, _)| id == request).map(|(_, since)| *since)
    }

    /// Returns when the present step was first seen.
    pub(super) fn step_since(&self) -> Moment {
        self.stage.as_ref().map_or(Moment(0), |stage| stage.since)
    }

    /// Returns when the freeze of `term` was first seen: rule C4 counts from there.
    pub(super) fn frozen_since(&self, term: u64) -> Option<Moment> {
        self.frozen.filter(|(number, _)| *number == term).map(|(_, since)| since)
    }

    /// Returns since when, through however many terms, none was open.
    pub(super) fn closed_since(&self) -> Option<Moment> {
        self.closed
    }

    /// Returns when the last open term was first seen open, whatever came after it.
    pub(super) fn last_opened(&self) -> Option<Moment> {
        self.opened.map(|(_, since)| since)
    }

    /// Returns when `term` was first seen open.
    pub(super) fn opened_since(&self, term: u64) -> Option<Moment> {
        self.opened.filter(|(number, _)| *number == term).map(|(_, since)| since)
    }

    /// Returns when this eviction of a grant was first seen.
    pub(super) fn evicted_since(&self, name: &ProxyName) -> Option<Moment> {
        self.evicted.get(name).map(|(_, since)| *since)
    }

    /// Returns how long the steps of the operation took so far, the present one included.
    pub(super) fn times(&self, now: Moment) -> Vec<(Step, u64)> {
        let present = self.stage.as_ref().and_then(|stage| Some((stage.step?, millis(now, stage.since))));
        self.times.iter().copied().chain(present).collect()
    }
}

fn millis(now: Moment, since: Moment) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}
