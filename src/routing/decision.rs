//! Statement to target and reason.

use super::Route;
use crate::sql::{Hint, Modes, NeedsPrimary};

/// Which kind of node a request may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The node that takes writes.
    Primary,
    /// Any standby that serves reads; the primary while there is none.
    Standby,
}

/// Why a request goes where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Proven to be a plain read.
    PlainRead,
    /// A statement that is not.
    Statement(NeedsPrimary),
    /// The end of an extended-protocol group has not arrived, so what it will do is not known.
    OpenGroup,
    /// A fast-path function call.
    FunctionCall,
    /// The session keeps one server by its pool mode.
    SessionMode,
    /// Splitting is switched off.
    SplitOff,
    /// A standby cancelled the read, because what it replays was in its way.
    RecoveryConflict,
    /// The proxy's own to answer; a server only keeps its place, if there must be one.
    OwnAnswer,
    /// Proven to be a plain read, of a session that asked for a standby: it is not run on the primary instead.
    AskedRead,
    /// A comment in the text asks for the node.
    Hint,
    /// `bellwether.route` asks for the node.
    Setting,
    /// The beginning of a transaction, which waits for the first statement that needs a server.
    Held,
    /// A READ ONLY transaction, of statements that a standby answers as the primary does.
    ReadOnly,
    /// A transaction that may write.
    ReadWrite,
    /// The client came by the read-only endpoint.
    Endpoint,
}

impl Reason {
    /// All reasons with the names they are counted under, at the index [`index`](Self::index) returns.
    pub const NAMES: [&'static str; 34] = [
        "plain_read",
        "unparsed",
        "writes",
        "locks",
        "into",
        "function",
        "node_specific",
        "session_state",
        "utility",
        "listed",
        "shadowed_builtin",
        "sequence",
        "unlogged",
        "foreign_table",
        "view_function",
        "policy",
        "operator",
        "type",
        "unknown_relation",
        "no_catalog",
        "learned",
        "open_group",
        "function_call",
        "session_mode",
        "split_off",
        "recovery_conflict",
        "own_answer",
        "asked_read",
        "hint",
        "setting",
        "held",
        "read_only",
        "read_write",
        "endpoint",
    ];

    /// Returns the place of this reason's name in [`NAMES`](Self::NAMES).
    pub fn index(self) -> usize {
        // The names of NeedsPrimary stand behind the first, in its order.
        const BEHIND: usize = 1 + NeedsPrimary::ALL.len();
        match self {
            Reason::PlainRead => 0,
            Reason::Statement(needs) => 1 + needs as usize,
            Reason::OpenGroup => BEHIND,
            Reason::FunctionCall => BEHIND + 1,
            Reason::SessionMode => BEHIND + 2,
            Reason::SplitOff => BEHIND + 3,
            Reason::RecoveryConflict => BEHIND + 4,
            Reason::OwnAnswer => BEHIND + 5,
            Reason::AskedRead => BEHIND + 6,
            Reason::Hint => BEHIND + 7,
            Reason::Setting => BEHIND + 8,
            Reason::Held => BEHIND + 9,
            Reason::ReadOnly => BEHIND + 10,
            Reason::ReadWrite => BEHIND + 11,
            Reason::Endpoint => BEHIND + 12,
        }
    }

    /// Returns the name this reason is counted under.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Tells whether the client asked for the node.
    pub fn is_wish(self) -> bool {
        matches!(self, Reason::Hint | Reason::Setting | Reason::Endpoint)
    }

    /// Tells whether what is routed for this reason is proven to be a plain read: it leaves nothing behind, and may be
    /// run again when its standby is lost.
    pub fn is_proof(self) -> bool {
        matches!(self, Reason::PlainRead | Reason::AskedRead | Reason::OwnAnswer)
    }
}

/// What the session or a comment in the text asks for, besides the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Kind of node.
    pub target: Target,
    /// Who asks: [`Reason::Hint`], [`Reason::Setting`] or [`Reason::Endpoint`].
    pub by: Reason,
}

impl Asked {
    /// Returns what is asked for by the hint in a text, or else by `bellwether.route`; `None` leaves it to the proof.
    pub fn new(hint: Option<Hint>, route: Route) -> Option<Asked> {
        let by_hint = match hint {
            Some(Hint::Primary) => Some(Target::Primary),
            Some(Hint::Standby) => Some(Target::Standby),
            Some(Hint::Malformed) | None => None,
        };
        let by_setting = match route {
            Route::Auto => None,
            Route::Primary => Some(Target::Primary),
            Route::Standby => Some(Target::Standby),
        };
        let hint = by_hint.map(|target| Asked { target, by: Reason::Hint });
        hint.or(by_setting.map(|target| Asked { target, by: Reason::Setting }))
    }

    /// Tells whether a transaction of these modes can go where it is asked to: those that no standby takes go to the
    /// primary, unless the client has come where there is none.
    pub fn suits(self, modes: Modes) -> bool {
        self.target == Target::Primary || self.by == Reason::Endpoint || modes.suit_a_standby()
    }

    /// Returns the need of what goes where it is asked to without being looked at.
    pub fn need(self) -> Need {
        Need { target: self.target, reason: self.by }
    }
}

/// What a session asks of the pool: a server on such a node, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Kind of node.
    pub target: Target,
    /// Why.
    pub reason: Reason,
}

impl Need {
    /// The primary, for `reason`.
    pub fn primary(reason: Reason) -> Self {
        Need { target: Target::Primary, reason }
    }
}

/// Decides for one text outside a transaction, by what the catalog made of it and what is asked for.
pub fn of_text(judgement: Result<(), NeedsPrimary>, asked: Option<Asked>) -> Need {
    match (judgement, asked) {
        (Ok(()), Some(Asked { target: Target::Standby, .. })) => {
            Need { target: Target::Standby, reason: Reason::AskedRead }
        }
        (_, Some(asked)) => asked.need(),
        (Ok(()), None) => Need { target: Target::Standby, reason: Reason::PlainRead },
        (Err(needs), None) => Need::primary(Reason::Statement(needs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = Reason::NAMES.into_iter().collect();
        assert_eq!(names.len(), Reason::NAMES.len());
        for (place, needs) in NeedsPrimary::ALL.into_iter().enumerate() {
            assert_eq!(needs as usize, place);
        }
        assert_eq!(Reason::Statement(NeedsPrimary::Utility).name(), "utility");
        assert_eq!(Reason::Statement(NeedsPrimary::NoCatalog).name(), "no_catalog");
        assert_eq!(Reason::OpenGroup.name(), "open_group");
        assert_eq!(Reason::SplitOff.name(), "split_off");
        assert_eq!(Reason::RecoveryConflict.name(), "recovery_conflict");
        assert_eq!(Reason::Setting.name(), "setting");
        assert_eq!(Reason::ReadWrite.name(), "read_write");
    }

    #[test]
    fn hints_go_before_the_setting_and_both_before_the_proof() {
        use Target::{Primary, Standby};
        let unsafe_ = Err(NeedsPrimary::Function);
        for (judgement, hint, route, target, reason) in [
            (Ok(()), None, Route::Auto, Standby, Reason::PlainRead),
            (unsafe_, None, Route::Auto, Primary, Reason::Statement(NeedsPrimary::Function)),
            (Ok(()), None, Route::Primary, Primary, Reason::Setting),
            (Ok(()), None, Route::Standby, Standby, Reason::AskedRead),
            (unsafe_, None, Route::Standby, Standby, Reason::Setting),
            (Ok(()), Some(Hint::Primary), Route::Standby, Primary, Reason::Hint),
            (unsafe_, Some(Hint::Standby), Route::Primary, Standby, Reason::Hint),
            (unsafe_, Some(Hint::Malformed), Route::Standby, Standby, Reason::Setting),
            (Ok(()), Some(Hint::Malformed), Route::Auto, Standby, Reason::PlainRead),
        ] {
            assert_eq!(of_text(judgement, Asked::new(hint, route)), Need { target, reason });
        }
    }
}
