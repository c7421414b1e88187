//! Deliberate protocol bugs, so that the tests can prove that they would find them.

/// One rule of the protocol left out or done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// P1: permission counts from the receipt of the answer instead of from the question.
    PermissionFromReceipt,
    /// P1: permission needs no grant, so nobody knows that there is somebody to wait for.
    GrantIgnored,
    /// P1: a frozen term renews permission as an open one does.
    FrozenRenews,
    /// P3: answers are delivered without looking at the permission's end.
    NoAckGate,
    /// P4: the acknowledgement does not wait until the connections are closed.
    AckBeforeClosed,
    /// A proxy that took over the grant of an earlier run acknowledges at once.
    HeirAcksAtOnce,
    /// C1: transactions compare nothing.
    EpochNotCompared,
    /// C3: followers are counted and commanded without ownership.
    NodesNotOwned,
    /// C4: nobody waits for permissions to end.
    FenceSkipped,
    /// C4: the wait is the permission alone, with no allowance for clocks of another rate.
    FenceWithoutClockError,
    /// C4: the first acknowledgement is enough.
    OneAckIsEnough,
    /// C4: the grant of a proxy that has been quiet for a moment is removed while its permission may run.
    EvictedAtOnce,
    /// C5: a follower counts as recruited while its walreceiver still runs.
    ReceiverIgnored,
    /// C5: a follower counts as recruited by the token of any term.
    RecruitOfAnyTerm,
    /// C5: ancestry is not looked at.
    AncestryIgnored,
    /// Positions are the received ones alone, which stand behind the replayed ones after a restart.
    ReceivedPositionOnly,
    /// C6: the lag limit is not looked at.
    LagIgnored,
    /// C7: any one voter is enough.
    QuorumIgnored,
    /// C7: the candidate need not be the furthest.
    AnyCandidate,
    /// C7, C12: the rule being changed to is not looked at.
    NextRuleIgnored,
    /// H9: the candidate is promoted before it is written down.
    CandidateNotRecorded,
    /// C9, H10: the names for synchronous commit are set only after the term has opened.
    SyncNamesAfterPromotion,
    /// C10: the term opens without a commit that went through the new rule.
    NoProbeCommit,
    /// C11: another candidate is taken in the same term.
    SecondCandidateSameTerm,
    /// C12: the store is narrowed before PostgreSQL's setting is.
    NarrowBeforeWiden,
    /// C12: the rule is changed without waiting for the added names.
    NoCatchUp,
    /// C12: a stronger rule is written to the store only, PostgreSQL never hears of it.
    SyncNamesNotVerified,
    /// S5: nodes that look alike after two promotions are followed without a new copy.
    SuspectsForgotten,
    /// Switchover: the candidate is promoted without waiting for the old leader's end.
    NoDrain,
    /// Switchover: the old leader is not kept from committing.
    NoSoftFence,
    /// A restarted leader goes on in its term, before its followers have what its recovery made visible.
    RestartIgnored,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Mutation] = &[
        Mutation::PermissionFromReceipt,
        Mutation::GrantIgnored,
        Mutation::FrozenRenews,
        Mutation::NoAckGate,
        Mutation::AckBeforeClosed,
        Mutation::HeirAcksAtOnce,
        Mutation::EpochNotCompared,
        Mutation::NodesNotOwned,
        Mutation::FenceSkipped,
        Mutation::FenceWithoutClockError,
        Mutation::OneAckIsEnough,
        Mutation::EvictedAtOnce,
        Mutation::ReceiverIgnored,
        Mutation::RecruitOfAnyTerm,
        Mutation::AncestryIgnored,
        Mutation::ReceivedPositionOnly,
        Mutation::LagIgnored,
        Mutation::QuorumIgnored,
        Mutation::AnyCandidate,
        Mutation::NextRuleIgnored,
        Mutation::CandidateNotRecorded,
        Mutation::SyncNamesAfterPromotion,
        Mutation::NoProbeCommit,
        Mutation::SecondCandidateSameTerm,
        Mutation::NarrowBeforeWiden,
        Mutation::NoCatchUp,
        Mutation::SyncNamesNotVerified,
        Mutation::SuspectsForgotten,
        Mutation::NoDrain,
        Mutation::NoSoftFence,
        Mutation::RestartIgnored,
    ];
}

/// The bug a machine is given, if any. Exists in builds with debug assertions only: a release build has neither the
/// field nor the branches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mutated {
    #[cfg(debug_assertions)]
    bug: Option<Mutation>,
}

impl Mutated {
    /// The protocol as it is meant.
    pub const NONE: Mutated = Mutated {
        #[cfg(debug_assertions)]
        bug: None,
    };

    /// The protocol with one bug.
    #[cfg(debug_assertions)]
    pub fn by(bug: Mutation) -> Self {
        Mutated { bug: Some(bug) }
    }

    /// Whether the bug is this one.
    pub(super) fn is(self, bug: Mutation) -> bool {
        #[cfg(debug_assertions)]
        return self.bug == Some(bug);
        #[cfg(not(debug_assertions))]
        {
            let _ = bug;
            false
        }
    }
}
