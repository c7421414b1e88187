//! The five-character error codes we emit or react to.

use std::fmt;

/// An SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState([u8; 5]);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState { $($(#[$doc])* pub const $name: SqlState = SqlState(*$code);)* }
    };
}

codes! {
    /// `protocol_violation`
    PROTOCOL_VIOLATION = b"08P01";
    /// `connection_failure`: a server could not be reached.
    CONNECTION_FAILURE = b"08006";
    /// `sqlclient_unable_to_establish_sqlconnection`
    CANNOT_CONNECT = b"08001";
    /// `transaction_resolution_unknown`: a COMMIT was sent and its answer never came.
    TRANSACTION_RESOLUTION_UNKNOWN = b"08007";
    /// `feature_not_supported`; also what `cached plan must not change result type` carries.
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// `invalid_parameter_value`
    INVALID_PARAMETER_VALUE = b"22023";
    /// `read_only_sql_transaction`: what a standby answers to a write.
    READ_ONLY_SQL_TRANSACTION = b"25006";
    /// `no_active_sql_transaction`
    NO_ACTIVE_TRANSACTION = b"25P01";
    /// `in_failed_sql_transaction`
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    /// `invalid_sql_statement_name`
    INVALID_SQL_STATEMENT_NAME = b"26000";
    /// `invalid_authorization_specification`
    INVALID_AUTHORIZATION = b"28000";
    /// `invalid_password`
    INVALID_PASSWORD = b"28P01";
    /// `invalid_catalog_name`: no such database.
    INVALID_CATALOG_NAME = b"3D000";
    /// `syntax_error`
    SYNTAX_ERROR = b"42601";
    /// `invalid_name`
    INVALID_NAME = b"42602";
    /// `undefined_object`; also a setting that does not exist.
    UNDEFINED_OBJECT = b"42704";
    /// `duplicate_prepared_statement`
    DUPLICATE_PREPARED_STATEMENT = b"42P05";
    /// `statement_completion_unknown`: done on the primary, and perhaps nowhere else.
    STATEMENT_COMPLETION_UNKNOWN = b"40003";
    /// `serialization_failure`; also recovery conflicts on a standby.
    SERIALIZATION_FAILURE = b"40001";
    /// `deadlock_detected`; also between a standby's reads and what it replays.
    DEADLOCK_DETECTED = b"40P01";
    /// `insufficient_resources`
    INSUFFICIENT_RESOURCES = b"53000";
    /// `too_many_connections`
    TOO_MANY_CONNECTIONS = b"53300";
    /// `program_limit_exceeded`
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// `object_not_in_prerequisite_state`
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000";
    /// `query_canceled`
    QUERY_CANCELED = b"57014";
    /// `admin_shutdown`
    ADMIN_SHUTDOWN = b"57P01";
    /// `crash_shutdown`
    CRASH_SHUTDOWN = b"57P02";
    /// `cannot_connect_now`: starting up, shutting down, or no server to be had.
    CANNOT_CONNECT_NOW = b"57P03";
    /// `idle_session_timeout`
    IDLE_SESSION_TIMEOUT = b"57P05";
    /// `config_file_error`
    CONFIG_FILE_ERROR = b"F0000";
    /// Our own, of a class that the standard leaves to implementations: a write that was acknowledged is gone.
    LOST_WRITE = b"LW001";
    /// `internal_error`
    INTERNAL_ERROR = b"XX000";
}

impl SqlState {
    /// Reads a code as it stands in field `C` of an ErrorResponse; `None` unless it is five ASCII
    /// upper-case letters or digits.
    pub fn from_bytes(code: &[u8]) -> Option<SqlState> {
        let code: [u8; 5] = code.try_into().ok()?;
        code.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()).then_some(SqlState(code))
    }

    /// Returns the five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an SqlState is made of ASCII only")
    }

    /// Returns the class: the first two characters.
    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
