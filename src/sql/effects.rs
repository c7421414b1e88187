//! What one statement does, flat: no tree, no parser type leaves the group.

use super::catalog::{Catalog, Judged, SearchPath, Shape};
use super::hint::Hint;
use super::own::Own;
use super::uses::Uses;

/// Everything the proxy wants to know of one Query text or prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The statements in order, as many as PostgreSQL will answer with CommandComplete or an error; empty for
    /// an empty text (EmptyQueryResponse). Also empty when `parsed` is false.
    pub statements: Box<[Effects]>,
    /// `Ok` when nothing in the text speaks against a plain read, going by the grammar and the names of built-in
    /// functions; else the gravest reason in the first statement that has one. It is a plain read only if the
    /// catalog agrees, and the catalog may overrule a reason that is not `firm`: see [`Classified::judge`].
    pub plain_read: Result<(), NeedsPrimary>,
    /// Whether there is a reason that holds whatever the catalog says.
    pub firm: bool,
    /// The same two for the text within a READ ONLY transaction, where control of the transaction, cursors, settings and
    /// the like are as good on a standby: see [`Classified::judge_within`].
    pub within: (Result<(), NeedsPrimary>, bool),
    /// The names for the catalog to judge; empty when both are firm.
    pub uses: Uses,
    /// Whether the grammar took it. What it did not take goes to the primary unchanged, and afterwards the
    /// session is checked for state it may have left on the server.
    pub parsed: bool,
    /// What the comments around the text ask of routing.
    pub hint: Option<Hint>,
    /// What catalogs have said of it.
    pub(super) judged: Judged,
}

impl Classified {
    /// Returns what the catalog of the session's database makes of the text under the session's `search_path`:
    /// `Ok` for a plain read. Without a catalog only what uses no name at all is one. Costs a few comparisons for a
    /// text that was judged before.
    pub fn judge(&self, catalog: Option<&Catalog>, path: &SearchPath) -> Result<(), NeedsPrimary> {
        self.judge_from((self.plain_read, self.firm), catalog, path)
    }

    /// Returns the same for a text within a READ ONLY transaction: `Ok` for what a standby answers as the primary does,
    /// the writes, locks and INTO among the reasons being refused by both.
    pub fn judge_within(&self, catalog: Option<&Catalog>, path: &SearchPath) -> Result<(), NeedsPrimary> {
        self.judge_from(self.within, catalog, path)
    }

    fn judge_from(
        &self,
        (by_names, firm): (Result<(), NeedsPrimary>, bool),
        catalog: Option<&Catalog>,
        path: &SearchPath,
    ) -> Result<(), NeedsPrimary> {
        if firm || self.uses.is_empty() {
            return by_names;
        }
        let Some(catalog) = catalog else { return by_names.and(Err(NeedsPrimary::NoCatalog)) };
        self.judged.get_or(catalog.generation(), path.id(), || catalog.judge(&self.uses, path))?;
        if catalog.has_learned(self.shape()) { Err(NeedsPrimary::Learned) } else { Ok(()) }
    }

    /// Returns the modes of the transaction that the text is or begins: nothing stands in front of its BEGIN, and nothing
    /// comes behind its end. `None` for all other texts.
    pub fn transaction_modes(&self) -> Option<Modes> {
        let (first, rest) = self.statements.split_first()?;
        let Some(Transaction::Begin { modes, .. }) = &first.transaction else { return None };
        let mut all = *modes;
        for (place, effects) in rest.iter().enumerate() {
            match effects.transaction {
                Some(Transaction::Begin { .. }) => return None,
                Some(Transaction::Commit { chain: false } | Transaction::Rollback { chain: false })
                    if place + 1 < rest.len() =>
                {
                    return None;
                }
                _ => all = all.then(effects.modes.unwrap_or_default()),
            }
        }
        Some(all)
    }

    /// Returns what a catalog may learn of it; `None` where no catalog is asked.
    pub fn shape(&self) -> Option<Shape> {
        self.uses.shape()
    }

    /// Tells whether a statement in it is the proxy's own to answer.
    pub fn has_own(&self) -> bool {
        self.statements.iter().any(|effects| effects.own.is_some())
    }

    /// Tells whether every statement is, so that no server need see it.
    pub fn is_own(&self) -> bool {
        !self.statements.is_empty() && self.statements.iter().all(|effects| effects.own.is_some())
    }

    /// Returns a statement of no effect that is a plain read, for tests.
    #[cfg(test)]
    pub fn nothing() -> Classified {
        Classified {
            plain_read: Ok(()),
            firm: false,
            within: (Ok(()), false),
            parsed: true,
            ..Classified::unparsed()
        }
    }

    /// Returns the answer for a text that is not or cannot be read: nothing is known, the primary must take it.
    pub fn unparsed() -> Classified {
        Classified {
            statements: Box::default(),
            plain_read: Err(NeedsPrimary::Unparsed),
            firm: true,
            within: (Err(NeedsPrimary::Unparsed), true),
            uses: Uses::default(),
            parsed: false,
            hint: None,
            judged: Judged::default(),
        }
    }
}

/// Why a statement is not a plain read, the gravest first. Each is counted under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names say it.
pub enum NeedsPrimary {
    /// The grammar refused it, or it is too long to be parsed, or not UTF-8.
    Unparsed,
    /// INSERT, UPDATE, DELETE, MERGE or COPY FROM, anywhere in the tree.
    Writes,
    /// FOR UPDATE and its kin.
    Locks,
    /// SELECT INTO.
    Into,
    /// A function that is not known to be harmless.
    Function,
    /// A relation that differs from node to node (`pg_stat_*`, `pg_locks`, a sequence, ...).
    NodeSpecific,
    /// BEGIN, COMMIT, SET and the like: part of a session's state.
    SessionState,
    /// Everything else that is not a SELECT.
    Utility,
    /// The configuration says so.
    Listed,
    /// A user's function, volatile, that may be meant by the name of a built-in one.
    ShadowedBuiltin,
    /// A sequence read as a relation: its page is written ahead of use, so a standby shows other values.
    Sequence,
    /// A table which standbys do not have, or a parent of one.
    Unlogged,
    /// A foreign table, or a parent of one: what is behind it is not the primary's to tell.
    ForeignTable,
    /// A function that is not known to be harmless, in a view or below.
    ViewFunction,
    /// The same in a row-level policy.
    Policy,
    /// An operator whose function is volatile.
    Operator,
    /// A type whose casts, checks or input and output run volatile functions.
    Type,
    /// A relation the catalog does not know.
    UnknownRelation,
    /// The catalog is not loaded, or the schema has changed since.
    NoCatalog,
    /// A standby has refused statements of this shape.
    Learned,
}

impl NeedsPrimary {
    /// All of them, each at the place of its number.
    pub const ALL: [NeedsPrimary; 20] = [
        NeedsPrimary::Unparsed,
        NeedsPrimary::Writes,
        NeedsPrimary::Locks,
        NeedsPrimary::Into,
        NeedsPrimary::Function,
        NeedsPrimary::NodeSpecific,
        NeedsPrimary::SessionState,
        NeedsPrimary::Utility,
        NeedsPrimary::Listed,
        NeedsPrimary::ShadowedBuiltin,
        NeedsPrimary::Sequence,
        NeedsPrimary::Unlogged,
        NeedsPrimary::ForeignTable,
        NeedsPrimary::ViewFunction,
        NeedsPrimary::Policy,
        NeedsPrimary::Operator,
        NeedsPrimary::Type,
        NeedsPrimary::UnknownRelation,
        NeedsPrimary::NoCatalog,
        NeedsPrimary::Learned,
    ];
}

/// What one statement does to the database and to the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Transaction control, if it is that.
    pub transaction: Option<Transaction>,
    /// The modes that SET TRANSACTION names, if it is that. They end with the transaction.
    pub modes: Option<Modes>,
    /// Settings it changes, in order.
    pub settings: Vec<SettingChange>,
    /// Use of SQL-level prepared statements, if it is that.
    pub prepared: Option<Prepared>,
    /// What it returns hangs on a name that each session has for itself: of a statement prepared by SQL, or of a cursor.
    pub of_session: bool,
    /// DISCARD, if it is that.
    pub discard: Option<Discard>,
    /// What it asks of the proxy and of no server, if it is that. Nothing else is said of it then.
    pub own: Option<Box<Own>>,
    /// State this statement may leave behind on the server's session.
    pub may_leave: SessionState,
    /// State this statement may remove, so that it is worth asking the server again.
    pub may_clear: bool,
    /// Calls `nextval()` or `setval()` by name; writes may call them unseen.
    pub advances_sequence: bool,
    /// The database that it drops: nobody may be connected to that, not even an idle connection of a pool.
    pub drops_database: Option<Box<str>>,
    /// Changes the schema, so prepared plans and cached facts may be out of date.
    pub ddl: bool,
}

impl Effects {
    /// Tells whether executing it changes nothing that a session must follow.
    pub fn is_inert(&self) -> bool {
        self.transaction.is_none()
            && self.settings.is_empty()
            && self.prepared.is_none()
            && self.discard.is_none()
            && self.own.is_none()
            && self.may_leave.is_empty()
            && !self.may_clear
            && !self.ddl
            && self.drops_database.is_none()
    }
}

/// Transaction control statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// BEGIN or START TRANSACTION.
    Begin {
        /// The modes it names.
        modes: Modes,
        /// Spelled START TRANSACTION.
        start: bool,
    },
    /// COMMIT or END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT, with its name as PostgreSQL folds it.
    Savepoint(Box<str>),
    /// RELEASE SAVEPOINT.
    Release(Box<str>),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(Box<str>),
    /// PREPARE TRANSACTION: ends the block.
    PrepareTransaction,
    /// COMMIT PREPARED or ROLLBACK PREPARED: outside any block.
    FinishPrepared,
}

/// The modes of a transaction, as far as they are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// `Some(true)` for READ ONLY, `Some(false)` for READ WRITE.
    pub read_only: Option<bool>,
    /// Whether the isolation level is SERIALIZABLE.
    pub serializable: Option<bool>,
}

impl Modes {
    /// Tells whether a standby takes these modes: neither READ WRITE nor SERIALIZABLE.
    pub fn suit_a_standby(self) -> bool {
        self.read_only != Some(false) && self.serializable != Some(true)
    }

    /// Returns these modes with those of `later` on top.
    #[must_use]
    pub fn then(self, later: Modes) -> Modes {
        Modes {
            read_only: later.read_only.or(self.read_only),
            serializable: later.serializable.or(self.serializable),
        }
    }
}

/// One change of a setting (GUC). Names are folded to lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingChange {
    /// SET, or `set_config()` with literal arguments.
    Set {
        /// Setting.
        name: Box<str>,
        /// The value in the flattened form that `set_config()` takes (list settings: elements quoted and joined
        /// by `, ` as PostgreSQL's `flatten_set_variable_args()` does).
        value: Box<str>,
        /// SET LOCAL, or `set_config(..., true)`.
        local: bool,
    },
    /// RESET name, SET name TO DEFAULT.
    Reset {
        /// Setting.
        name: Box<str>,
        /// SET LOCAL name TO DEFAULT.
        local: bool,
    },
    /// RESET ALL.
    ResetAll,
    /// `set_config($i, $j, bool)` whose name or value is a bind parameter (0-based indexes).
    SetFromBind {
        /// The name: literal, or index of the parameter.
        name: Result<Box<str>, u16>,
        /// The value: literal, or index of the parameter.
        value: Result<Box<str>, u16>,
        /// The third argument.
        local: bool,
    },
}

impl SettingChange {
    /// Returns the name of the setting; `None` where there is no one name, or it is only known when it is bound.
    pub fn name(&self) -> Option<&str> {
        match self {
            SettingChange::Set { name, .. }
            | SettingChange::Reset { name, .. }
            | SettingChange::SetFromBind { name: Ok(name), .. } => Some(name),
            SettingChange::SetFromBind { .. } | SettingChange::ResetAll => None,
        }
    }
}

/// Statements about SQL-level prepared statements. Names as PostgreSQL folds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// PREPARE name AS ...
    Prepare(Box<str>),
    /// EXECUTE name, also inside EXPLAIN or CREATE TABLE AS.
    Execute(Box<str>),
    /// DEALLOCATE name.
    Deallocate(Box<str>),
    /// DEALLOCATE ALL.
    DeallocateAll,
}

/// DISCARD and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are PostgreSQL's.
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// Kinds of state that live in one server's session and cannot be carried to another: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionState(pub u16);

impl SessionState {
    /// Nothing.
    pub const NONE: SessionState = SessionState(0);
    /// Temporary table, view, sequence or function (anything in `pg_temp`).
    pub const TEMP_OBJECT: SessionState = SessionState(1);
    /// Session-level advisory lock.
    pub const ADVISORY_LOCK: SessionState = SessionState(1 << 1);
    /// LISTEN.
    pub const LISTEN: SessionState = SessionState(1 << 2);
    /// DECLARE ... WITH HOLD.
    pub const HOLD_CURSOR: SessionState = SessionState(1 << 3);
    /// SQL-level PREPARE.
    pub const SQL_PREPARED: SessionState = SessionState(1 << 4);
    /// `currval()`, `lastval()`: reads what an earlier statement left in this session.
    pub const SEQUENCE: SessionState = SessionState(1 << 5);
    /// `setseed()`.
    pub const RANDOM_SEED: SessionState = SessionState(1 << 6);
    /// LOAD.
    pub const LIBRARY: SessionState = SessionState(1 << 7);
    /// `dblink_connect()` and its kin.
    pub const DBLINK: SessionState = SessionState(1 << 8);
    /// A setting changed in a way that cannot be followed (`set_config()` over rows, UPDATE pg_settings).
    pub const UNTRACKED_SETTING: SessionState = SessionState(1 << 9);
    /// A call into code we cannot see (user-defined functions, DO, CALL), or an unknown utility statement: it
    /// may have left any of the states above that the server can be asked about.
    pub const OPAQUE_CODE: SessionState = SessionState(1 << 10);

    /// Returns both sets together.
    pub const fn union(self, other: SessionState) -> SessionState {
        SessionState(self.0 | other.0)
    }

    /// Returns what is in `self` and not in `other`.
    pub const fn without(self, other: SessionState) -> SessionState {
        SessionState(self.0 & !other.0)
    }

    /// Tells whether any state of `other` is in `self`.
    pub const fn intersects(self, other: SessionState) -> bool {
        self.0 & other.0 != 0
    }

    /// Tells whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
