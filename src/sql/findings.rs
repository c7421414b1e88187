//! Sums up what was found in one statement: its effects and the gravest reason against a standby.

use super::effects::{Effects, NeedsPrimary, SessionState};
use super::names::{self, Verdict};
use super::own::{Own, OwnAct};
use super::uses::Collector;

/// What is known so far of one statement; the parser's walk reports to it piece by piece.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The effects found.
    pub effects: Effects,
    /// The gravest reason found, in the order of [`NeedsPrimary`]; `None` while all is a plain read.
    pub reason: Option<NeedsPrimary>,
    /// Whether one of the reasons found holds whatever the catalog says.
    pub firm: bool,
    /// The same two for the statement within a READ ONLY transaction.
    pub within: Within,
    /// The names that only the catalog can judge.
    pub uses: Collector,
}

/// The gravest reason against a standby within a READ ONLY transaction, and whether it holds whatever the catalog says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Within {
    pub reason: Option<NeedsPrimary>,
    pub firm: bool,
}

impl Findings {
    /// Notes a reason why the statement needs the primary, whatever the catalog says. The gravest one stays, so
    /// that the answer does not depend on the order of the walk.
    pub fn needs_primary(&mut self, reason: NeedsPrimary) {
        self.needs_primary_alone(reason);
        self.within.firm = true;
        note(&mut self.within.reason, reason);
    }

    /// Notes a reason why the statement needs the primary unless it is part of a READ ONLY transaction.
    pub fn needs_primary_alone(&mut self, reason: NeedsPrimary) {
        self.firm = true;
        note(&mut self.reason, reason);
    }

    /// Notes that it is the proxy's own to answer. The place is filled in by who knows it.
    pub fn own(&mut self, act: OwnAct) {
        self.effects.own = Some(Box::new(Own { place: 0..0, act }));
    }

    /// Notes state which may be left on the server. Code that cannot be seen may as well clear some.
    pub fn may_leave(&mut self, state: SessionState) {
        self.effects.may_leave = self.effects.may_leave.union(state);
        self.effects.may_clear |= state.intersects(SessionState::OPAQUE_CODE);
    }

    /// Notes a call of a function by its name, with so many arguments if that tells which one it is.
    pub fn function(&mut self, schema: Option<&str>, name: &str, arguments: Option<u16>) {
        self.effects.advances_sequence |= matches!(name, "nextval" | "setval");
        let verdict = names::function(schema, name);
        self.take(verdict);
        if schema.is_none() || verdict.reason.is_some() {
            self.uses.function(schema, name, arguments);
        }
    }

    /// Notes `expression.name`, which is a field of a composite value or the call `name(expression)`.
    pub fn field_or_function(&mut self, name: &str) {
        self.take(names::function(None, name));
        self.uses.field(name);
    }

    /// Notes the last part of `a.name`, which is nearly always a column.
    pub fn column(&mut self, qualified: bool, name: &str) {
        self.take(names::column(qualified, name));
        if qualified {
            self.uses.field(name);
        }
    }

    /// Notes a relation that is read.
    pub fn relation(&mut self, schema: Option<&str>, name: &str) {
        self.take(names::relation(schema, name));
        if !names::is_harmless_relation(schema, name) {
            self.uses.relation(schema, name);
        }
    }

    /// Notes a name that WITH defines.
    pub fn cte(&mut self, name: &str) {
        self.uses.cte(name);
    }

    /// Notes an operator.
    pub fn operator(&mut self, schema: Option<&str>, name: &str) {
        if schema != Some("pg_catalog") {
            self.uses.operator(schema, name);
        }
    }

    /// Notes a type that something is cast to.
    pub fn type_name(&mut self, schema: Option<&str>, name: &str) {
        if schema != Some("pg_catalog") {
            self.uses.type_name(schema, name);
        }
    }

    /// Notes a relation that is written.
    pub fn write_target(&mut self, schema: Option<&str>, name: &str) {
        self.needs_primary(NeedsPrimary::Writes);
        if name == "pg_settings" && schema.is_none_or(|schema| schema == "pg_catalog") {
            // UPDATE pg_settings is a SET by rule, with names and values from rows.
            self.may_leave(SessionState::UNTRACKED_SETTING);
        }
    }

    /// Notes a relation that is created.
    pub fn created(&mut self, schema: Option<&str>, temporary: bool) {
        if temporary || schema.is_some_and(names::is_temporary_schema) {
            self.may_leave(SessionState::TEMP_OBJECT);
        } else {
            self.effects.ddl = true;
        }
    }

    fn take(&mut self, verdict: Verdict) {
        if let Some(reason) = verdict.reason {
            note(&mut self.reason, reason);
            note(&mut self.within.reason, reason);
            self.firm |= verdict.firm;
            self.within.firm |= verdict.firm;
        }
        self.may_leave(verdict.may_leave);
        self.effects.may_clear |= verdict.may_clear;
    }
}

fn note(gravest: &mut Option<NeedsPrimary>, reason: NeedsPrimary) {
    *gravest = Some(gravest.map_or(reason, |known| known.min(reason)));
}
