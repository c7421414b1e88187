//! When the old leader can no longer be heard by any client (rule C4).

use std::time::Duration;

use super::moment::Moment;
use super::mutation::Mutation;
use super::records::AckKind;
use super::situation::Situation;
use super::wait::Wait;

/// Whether permissions of earlier terms may still run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// None does.
    Complete,
    /// Some may, until then.
    Until(Moment, Wait),
}

/// Judges the freeze that is under way.
///
/// Every proxy that may hold permission has a grant, since a renewal counts only if it found that. So when all that
/// are there have closed their connections and said so, nothing is left to wait for; and whoever is silent has no
/// permission any more once the longest one has passed, counted from a reading that showed the freeze: a renewal
/// that was answered "open" was asked for before.
pub(super) fn judge(s: &Situation<'_>) -> Fence {
    if s.operation().is_some_and(|operation| operation.fenced) || s.is(Mutation::FenceSkipped) {
        return Fence::Complete;
    }
    let missing = s.unacknowledged(AckKind::Fenced);
    let anyone = s.view.grants().count() > missing.len() && s.is(Mutation::OneAckIsEnough);
    if missing.is_empty() || anyone {
        return Fence::Complete;
    }
    let since = s.memory.frozen_since(s.term.number).unwrap_or(s.now);
    let longest = Duration::from_micros(s.term.permission_us);
    let wait = if s.is(Mutation::FenceWithoutClockError) { longest } else { s.timings().fence_wait(longest) };
    if s.now >= since + wait {
        return Fence::Complete;
    }
    let left = (since + wait).since(s.now);
    Fence::Until(since + wait, Wait::Permissions { proxies: missing, left })
}
