//! What a verb ends with when it does not end well: an exit code, and three lines.

use std::fmt;

use super::exit;
use super::render::clean;
use crate::config::Problems;

/// Why a verb did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    error: String,
    cause: Option<String>,
    hint: Option<String>,
    /// Said in place of the three.
    whole: Option<String>,
}

impl Failure {
    /// A failure with an exit code and what went wrong.
    pub fn new(code: u8, error: impl Into<String>) -> Self {
        Failure { code, error: error.into(), cause: None, hint: None, whole: None }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(error: impl Into<String>) -> Self {
        Failure::new(exit::USAGE, error)
    }

    /// The configuration is wrong, in its own words.
    pub fn configuration(problems: &Problems) -> Self {
        Failure { whole: Some(problems.to_string()), ..Failure::usage("") }
    }

    /// The same with another exit code.
    pub fn with_code(self, code: u8) -> Self {
        Failure { code, ..self }
    }

    /// Adds what it comes from.
    pub fn cause(self, cause: impl Into<String>) -> Self {
        Failure { cause: Some(cause.into()), ..self }
    }

    /// Adds what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// The same with parts that may be missing.
    pub fn with(self, cause: Option<String>, hint: Option<String>) -> Self {
        Failure { cause, hint, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(whole) = &self.whole {
            return f.write_str(whole);
        }
        let word = if self.code == exit::REFUSED { "refused" } else { "error" };
        write!(f, "{word}: {}", clean(&self.error))?;
        for (word, text) in [("cause", &self.cause), ("hint", &self.hint)] {
            if let Some(text) = text {
                write!(f, "\n{word}: {}", clean(text))?;
            }
        }
        Ok(())
    }
}
