//! Why the store could not be asked.

use std::time::Duration;

/// What kept us from an answer. None of these says anything about what the store holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No member answered in time.
    #[error("{member}: no answer within {} ms", .within.as_millis())]
    Silent {
        /// The member asked last.
        member: String,
        /// How long it was given.
        within: Duration,
    },
    /// No connection, or it was lost.
    #[error("{member}: {reason}")]
    Unreachable {
        /// The member asked last.
        member: String,
        /// What the system said.
        reason: String,
    },
    /// The store answered, but would not do it: no leader, no permission, too large.
    #[error("{member}: {message}")]
    Refused {
        /// Who refused.
        member: String,
        /// In its own words.
        message: String,
    },
    /// The answer made no sense.
    #[error("{member}: not an answer of etcd v3: {reason}")]
    Garbled {
        /// Who answered.
        member: String,
        /// What was wrong with it.
        reason: String,
    },
}
