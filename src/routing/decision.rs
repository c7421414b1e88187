//! Statement to target and reason.

use crate::sql::NeedsPrimary;

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
}

impl Reason {
    /// All reasons with the names they are counted under, at the index [`index`](Self::index) returns.
    pub const NAMES: [&'static str; 27] = [
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
        }
    }

    /// Returns the name this reason is counted under.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
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

/// Decides for one text outside a transaction, by what the catalog made of it.
pub fn of_text(judgement: Result<(), NeedsPrimary>) -> Need {
    match judgement {
        Ok(()) => Need { target: Target::Standby, reason: Reason::PlainRead },
        Err(needs) => Need::primary(Reason::Statement(needs)),
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
    }
}
