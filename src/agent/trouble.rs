//! Why work on a server stopped: what kind of reason, in three lines.

/// Kinds of reasons, each of which an operator answers differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for makes no sense here.
    Usage,
    /// A program or the system failed.
    Failed,
    /// There is no primary to follow.
    NoPrimary,
    /// It would not be safe.
    Refused,
    /// The primary cannot be reached.
    Unreachable,
    /// All is done but the proof.
    Unknown,
}

/// Why it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of reason.
    pub kind: Kind,
    /// What went wrong.
    pub message: String,
    /// What it comes from.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Trouble {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Trouble { kind, message: message.into(), cause: None, hint: None }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Trouble::new(Kind::Failed, message)
    }

    pub(super) fn cause(self, cause: impl ToString) -> Self {
        Trouble { cause: Some(cause.to_string()), ..self }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Trouble { hint: Some(hint.into()), ..self }
    }
}
