//! A session on a node over which we ask and command: log in, one statement after the other, errors by their kind.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::connector::{ByteStream, Connect};
use crate::pg::{SqlState, Timeline};
use crate::topology::Node;

/// Who logs in, and in which database. To observe, the role needs no privilege beyond `CONNECT`; with `pg_monitor`
/// it also sees the walreceiver's own words. To lead, it needs what `bellwether setup-role` grants.
#[derive(Clone)]
pub struct Login {
    /// Role to log in as.
    pub user: String,
    /// Its password; `None` where the server asks for none.
    pub password: Option<String>,
    /// Database to connect to.
    pub database: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A logged-in connection and the task that moves its bytes. Dropping it closes the connection, whatever runs on it.
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    /// Whether a WARNING came since it was last asked for.
    warned: Arc<AtomicBool>,
}

impl Session {
    /// Logs in, under the `application_name` given. Takes as long as it takes: bound it.
    pub(super) async fn open(
        node: &Node,
        login: &Login,
        connector: &dyn Connect,
        name: &str,
    ) -> Result<Session, Trouble> {
        let mut config = Config::new();
        config.user(&login.user).dbname(&login.database).application_name(name);
        // The stream comes with TLS already done, if any.
        config.ssl_mode(SslMode::Disable);
        // A role or a database may set others: functions of the same name with the path, and an end to a wait that we
        // end ourselves.
        config.options("-c search_path=pg_catalog -c statement_timeout=0 -c standard_conforming_strings=on");
        if let Some(password) = &login.password {
            config.password(password);
        }
        let stream = connector.connect(node).await.map_err(Trouble::Connect)?;
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        let warned = Arc::new(AtomicBool::new(false));
        let driver = tokio::spawn(drive(connection, warned.clone()));
        Ok(Session { client, driver, warned })
    }

    /// Runs one statement (or several, separated by semicolons) and returns the first row; `None` when there is none.
    pub(super) async fn first_row(&self, sql: &str) -> Result<Option<Row>, Trouble> {
        let messages = self.client.simple_query(sql).await?;
        Ok(messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(Row(row)),
            _ => None,
        }))
    }

    /// Runs statements that must bring a row.
    pub(super) async fn row(&self, sql: &str) -> Result<Row, Trouble> {
        self.first_row(sql).await?.ok_or(Trouble::Answer { column: "any" })
    }

    /// Runs statements that bring several rows.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Row>, Trouble> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(Row(row)),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Runs statements whose rows say nothing.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Trouble> {
        self.first_row(sql).await.map(drop)
    }

    /// Whether the server sent a WARNING since this was last asked.
    pub(super) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::Relaxed)
    }

    /// Whether the connection is known to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Moves bytes until the connection ends, and takes note of warnings.
async fn drive(
    connection: Connection<Box<dyn ByteStream>, tokio_postgres::tls::NoTlsStream>,
    warned: Arc<AtomicBool>,
) {
    let mut connection = pin!(connection);
    // An error reaches whoever asks next as the failure of the question.
    while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.severity() == "WARNING"
        {
            warned.store(true, Ordering::Relaxed);
        }
    }
}

/// A row of an answer: texts by the names of their columns.
pub(super) struct Row(SimpleQueryRow);

impl Row {
    /// Reads a column that must not be NULL.
    pub(super) fn needed<T: FromStr>(&self, column: &'static str) -> Result<T, Trouble> {
        self.optional(column)?.ok_or(Trouble::Answer { column })
    }

    /// Reads a column; `None` when it is NULL.
    pub(super) fn optional<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Trouble> {
        let parse = |text: &str| text.parse().map_err(|_| Trouble::Answer { column });
        self.0.try_get(column)?.map(parse).transpose()
    }

    /// Reads a text; empty when it is NULL.
    pub(super) fn text(&self, column: &'static str) -> Result<&str, Trouble> {
        Ok(self.0.try_get(column)?.unwrap_or_default())
    }

    /// Reads the column `system_identifier`: `bigint` in SQL, unsigned in the control file.
    pub(super) fn system_identifier(&self) -> Result<u64, Trouble> {
        Ok(self.needed::<i64>("system_identifier")?.cast_unsigned())
    }

    /// Reads a timeline as it stands in the name of a WAL file: eight hexadecimal digits, never 0.
    pub(super) fn wal_file_timeline(&self, column: &'static str) -> Result<Timeline, Trouble> {
        let timeline = u32::from_str_radix(self.text(column)?, 16).ok().filter(|timeline| *timeline > 0);
        timeline.map(Timeline).ok_or(Trouble::Answer { column })
    }
}

/// A boolean in PostgreSQL's text form.
pub(super) struct Flag(pub(super) bool);

impl FromStr for Flag {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "t" => Ok(Flag(true)),
            "f" => Ok(Flag(false)),
            _ => Err(()),
        }
    }
}

/// Why a question or a command went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The socket, or TLS on it, could not be opened.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The server said no, or the connection was lost.
    #[error("{}", words_of(.0))]
    Server(#[from] tokio_postgres::Error),
    /// It answered something else than was asked.
    #[error("unexpected answer, column \"{column}\"")]
    Answer {
        /// Where the surprise was.
        column: &'static str,
    },
    /// It did not answer for longer than anybody waits.
    #[error("no answer")]
    Silent,
}

impl Trouble {
    /// Returns what the server itself said, if it said anything.
    pub(super) fn code(&self) -> Option<SqlState> {
        match self {
            Trouble::Server(error) => {
                error.code().and_then(|code| SqlState::from_bytes(code.code().as_bytes()))
            }
            Trouble::Connect(_) | Trouble::Answer { .. } | Trouble::Silent => None,
        }
    }

    /// Whether there was no connection, or it broke, as opposed to the server saying something.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Trouble::Connect(_) | Trouble::Silent => true,
            Trouble::Server(error) => {
                let by_io = || error.source().is_some_and(|cause| cause.is::<io::Error>());
                error.as_db_error().is_none() && (error.is_closed() || by_io())
            }
            Trouble::Answer { .. } => false,
        }
    }

    /// Whether a host that answers says that nobody listens there, or the process at the other end is gone.
    pub(super) fn is_hard(&self) -> bool {
        let hard = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
                    // A Unix socket that is gone.
                    | io::ErrorKind::NotFound
            )
        };
        match self {
            Trouble::Connect(error) => hard(error),
            Trouble::Server(error) => {
                let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
                error.as_db_error().is_none() && (error.is_closed() || cause.is_some_and(hard))
            }
            Trouble::Answer { .. } | Trouble::Silent => false,
        }
    }
}

/// The server's own message if there is one, else the error with its cause.
fn words_of(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}
