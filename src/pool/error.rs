//! Why there is no server connection: the attempt failed, or the wait did.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::pg::SqlState;
use crate::topology::NodeName;
use crate::wire::error_response::PgError;

/// A connection to a node could not be opened. `Display` is for logs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("node \"{node}\": {cause}")]
pub struct ConnectError {
    /// The node.
    pub node: NodeName,
    /// What went wrong.
    pub cause: ConnectFailure,
}

/// What went wrong while connecting.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// No connection: refused, reset, no route, unknown host. The text is the operating system's.
    #[error("{0}")]
    Unreachable(String),
    /// Not done within `connect_timeout`.
    #[error("timeout expired")]
    Timeout,
    /// TLS was asked for and could not be had: refused by the server, or its certificate is not accepted.
    #[error("{0}")]
    Tls(String),
    /// The server answered with an error; here it is, as it gave it.
    #[error("{0}")]
    Server(PgError),
    /// The server asks for an authentication that we have nothing to answer with.
    #[error("{0}")]
    Credentials(String),
    /// What came is not PostgreSQL's protocol, or more than a login can be.
    #[error("{0}")]
    Protocol(String),
    /// There is no such node any more.
    #[error("not in the configuration")]
    NoSuchNode,
}

impl ConnectError {
    /// Tells whether another attempt with the same login would fail in the same way.
    ///
    /// True for what the server says of the user or the database (classes 28, 3D and 42), and when we lack what it
    /// asks for. An error of TLS counts as temporary: certificates are exchanged while servers run.
    pub fn is_permanent(&self) -> bool {
        match &self.cause {
            ConnectFailure::Server(error) => matches!(error.code.class(), "28" | "3D" | "42" | "0A" | "22"),
            ConnectFailure::Credentials(_) | ConnectFailure::NoSuchNode => true,
            _ => false,
        }
    }

    /// Returns what the client is told: the server's own words when it spoke, and else the node's name, never its address.
    pub fn to_pg_error(&self) -> PgError {
        let failed = |code| PgError::fatal(code, format!("could not connect to node \"{}\"", self.node));
        match &self.cause {
            ConnectFailure::Server(error) => error.clone(),
            ConnectFailure::Credentials(_) => {
                failed(SqlState::INVALID_AUTHORIZATION).detail(sentence(&self.cause))
            }
            ConnectFailure::Unreachable(_) | ConnectFailure::NoSuchNode => {
                failed(SqlState::CANNOT_CONNECT).detail(sentence(&self.cause))
            }
            ConnectFailure::Timeout => failed(SqlState::CANNOT_CONNECT).detail("Timeout expired."),
            ConnectFailure::Tls(_) | ConnectFailure::Protocol(_) => failed(SqlState::CONNECTION_FAILURE),
        }
    }
}

/// Why a client got no server.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckoutError {
    /// None became free within `checkout_timeout`.
    #[error("no server connection within {} s{}", waited.as_secs_f32(), because(last_failure))]
    Timeout {
        /// How long the client waited.
        waited: Duration,
        /// The last failure to connect, while none has succeeded since.
        last_failure: Option<Arc<ConnectError>>,
    },
    /// None could be opened.
    #[error(transparent)]
    Connect(#[from] Arc<ConnectError>),
}

impl CheckoutError {
    /// Returns what the client is told.
    pub fn to_pg_error(&self) -> PgError {
        match self {
            CheckoutError::Connect(error) => error.to_pg_error(),
            CheckoutError::Timeout { waited, last_failure: None } => PgError::error(
                SqlState::TOO_MANY_CONNECTIONS,
                "timeout expired while waiting for a server connection",
            )
            .detail(format!("No server connection became free within {} s.", waited.as_secs_f32())),
            CheckoutError::Timeout { last_failure: Some(failure), .. } => {
                let told = failure.to_pg_error();
                PgError { severity: crate::wire::error_response::Severity::Error, ..told }
            }
        }
    }
}

fn because(failure: &Option<Arc<ConnectError>>) -> String {
    failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default()
}

fn sentence(text: &impl fmt::Display) -> String {
    let mut text = text.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: ConnectFailure) -> ConnectError {
        ConnectError { node: NodeName::new("b"), cause }
    }

    fn answered(code: &[u8; 5]) -> ConnectError {
        let code = SqlState::from_bytes(code).expect("a code");
        error(ConnectFailure::Server(PgError::fatal(code, "says the server")))
    }

    #[test]
    fn what_depends_on_the_login_is_permanent() {
        for (code, permanent) in [
            (b"28P01", true),
            (b"28000", true),
            (b"3D000", true),
            (b"42501", true),
            (b"57P03", false),
            (b"53300", false),
            (b"57P01", false),
            (b"XX000", false),
        ] {
            assert_eq!(answered(code).is_permanent(), permanent, "{code:?}");
        }
        assert!(!error(ConnectFailure::Timeout).is_permanent());
    }

    #[test]
    fn clients_are_told_the_servers_words_or_the_node() {
        assert_eq!(answered(b"3D000").to_pg_error().message, "says the server");
        let refused = error(ConnectFailure::Unreachable("connection refused".into()));
        let told = refused.to_pg_error();
        assert_eq!(told.message, "could not connect to node \"b\"");
        assert_eq!(told.detail.as_deref(), Some("Connection refused."));
        let waited = Duration::from_secs(30);
        let timeout = CheckoutError::Timeout { waited, last_failure: Some(Arc::new(refused)) };
        assert_eq!(timeout.to_pg_error().message, "could not connect to node \"b\"");
        assert_eq!(timeout.to_string(), "no server connection within 30 s (node \"b\": connection refused)");
    }
}
