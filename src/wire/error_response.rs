//! ErrorResponse and NoticeResponse: their fields, and the errors we originate.

use super::frame::Body;
use crate::pg::SqlState;

/// How bad it is. Only the severities we originate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection lives on.
    Error,
    /// The connection ends.
    Fatal,
    /// Something to know, nothing failed.
    Warning,
}

impl Severity {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
        }
    }
}

/// An error in PostgreSQL's form, to be sent to a client. The message names the thing and is fit to be read by
/// anyone who may connect: no addresses, no internals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgError {
    /// Severity.
    pub severity: Severity,
    /// Code.
    pub code: SqlState,
    /// Primary message, in PostgreSQL's style: lower case, no full stop.
    pub message: String,
    /// Detail, a whole sentence.
    pub detail: Option<String>,
    /// What to do about it, a whole sentence.
    pub hint: Option<String>,
    /// PostgreSQL's function that raises this, where drivers go by it.
    pub routine: Option<&'static str>,
}

impl PgError {
    /// Makes an error that ends the statement.
    pub fn error(code: SqlState, message: impl Into<String>) -> Self {
        PgError {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            routine: None,
        }
    }

    /// Makes an error that ends the connection.
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        PgError { severity: Severity::Fatal, ..PgError::error(code, message) }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a detail.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Appends the whole ErrorResponse message to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_as(b'E', out);
    }

    /// Appends the whole NoticeResponse message to `out`.
    pub fn write_notice(&self, out: &mut Vec<u8>) {
        self.write_as(b'N', out);
    }

    fn write_as(&self, tag: u8, out: &mut Vec<u8>) {
        super::write::message(out, tag, |body| {
            let mut field = |kind: u8, text: &str| {
                body.push(kind);
                body.extend(text.bytes().filter(|byte| *byte != 0));
                body.push(0);
            };
            field(b'S', self.severity.as_str());
            field(b'V', self.severity.as_str());
            field(b'C', self.code.as_str());
            field(b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint);
            }
            if let Some(routine) = self.routine {
                field(b'R', routine);
            }
            body.push(0);
        });
    }
}

impl std::fmt::Display for PgError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:  {} (SQLSTATE {})", self.severity.as_str(), self.message, self.code)
    }
}

impl std::error::Error for PgError {}

/// The fields of a received ErrorResponse or NoticeResponse, borrowed from its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// Severity, not localised where the server sends it (`V`), else localised (`S`).
    pub severity: &'a [u8],
    /// SQLSTATE; `None` when absent or malformed.
    pub code: Option<SqlState>,
    /// Primary message.
    pub message: &'a [u8],
    /// Detail, or empty.
    pub detail: &'a [u8],
    /// Hint, or empty.
    pub hint: &'a [u8],
    /// Source function that raised it (`R`), or empty.
    pub routine: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Reads as many fields as are well-formed. A damaged message from a server is still passed on, so this never fails.
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = ErrorFields::default();
        let mut body = Body::new(body);
        while let Ok(kind) = body.u8() {
            if kind == 0 {
                break;
            }
            let Ok(text) = body.cstr() else { break };
            match kind {
                b'V' => fields.severity = text,
                b'S' if fields.severity.is_empty() => fields.severity = text,
                b'C' => fields.code = SqlState::from_bytes(text),
                b'M' => fields.message = text,
                b'D' => fields.detail = text,
                b'H' => fields.hint = text,
                b'R' => fields.routine = text,
                _ => {}
            }
        }
        fields
    }

    /// Tells whether the server closes the connection after this.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }

    /// Makes an owned error of it, lossy where it is not UTF-8.
    pub fn to_error(&self) -> PgError {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let optional = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes));
        PgError {
            severity: if self.is_fatal() { Severity::Fatal } else { Severity::Error },
            code: self.code.unwrap_or(SqlState::INTERNAL_ERROR),
            message: text(self.message),
            detail: optional(self.detail),
            hint: optional(self.hint),
            routine: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_reads_back() {
        let error = PgError::fatal(SqlState::INVALID_PASSWORD, "no\0pe").hint("Try again.");
        let mut out = Vec::new();
        error.write(&mut out);
        assert_eq!(out[0], b'E');
        assert_eq!(u32::from_be_bytes([out[1], out[2], out[3], out[4]]) as usize, out.len() - 1);
        let fields = ErrorFields::read(&out[5..]);
        assert!(fields.is_fatal());
        assert_eq!(fields.to_error(), PgError { message: "nope".into(), ..error });
    }

    #[test]
    fn damaged_fields_end_the_reading() {
        assert_eq!(ErrorFields::read(b"Mtext without end").message, b"");
        assert_eq!(ErrorFields::read(b"").code, None);
        assert_eq!(ErrorFields::read(b"C1\0\0").code, None);
    }
}
