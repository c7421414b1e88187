//! Asks one node, over one lasting connection and in one round trip, how it stands.

use std::error::Error as _;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::connector::Connect;
use crate::pg::{SqlState, Timeline};
use crate::topology::{Facts, Node, Report, Standing};

/// Who probes, and in which database. The role needs no privilege beyond `CONNECT`; with `pg_monitor` it
/// also sees the walreceiver's own words.
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

/// The one who asks one node.
pub(super) struct Probe {
    node: Arc<Node>,
    login: Config,
    connector: Arc<dyn Connect>,
    timeout: Duration,
    session: Option<Session>,
}

impl Probe {
    pub(super) fn new(
        node: Arc<Node>,
        login: &Login,
        connector: Arc<dyn Connect>,
        timeout: Duration,
    ) -> Self {
        let mut config = Config::new();
        config.user(&login.user).dbname(&login.database).application_name("bellwether probe");
        // The stream comes with TLS already done, if any.
        config.ssl_mode(SslMode::Disable);
        // A role or a database may set another, and functions of the same name with it.
        config.options("-c search_path=pg_catalog");
        if let Some(password) = &login.password {
            config.password(password);
        }
        Probe { node, login: config, connector, timeout, session: None }
    }

    /// Asks once, never longer than the timeout. The connection is kept for the next time only after a whole
    /// answer, so the future may be dropped at any point.
    pub(super) async fn ask(&mut self) -> Report {
        let answer = tokio::time::timeout(self.timeout, self.try_ask()).await;
        match answer {
            Ok(Ok(facts)) => Report::Answered(facts),
            Ok(Err(error)) => error.into_report(),
            Err(_) => Report::Failed { reason: format!("no answer within {:?}", self.timeout) },
        }
    }

    async fn try_ask(&mut self) -> Result<Facts, ProbeError> {
        if let Some(session) = self.session.take() {
            // That a session was ended says little: someone may have terminated just this one. How the
            // server takes a new one tells.
            if let Ok(facts) = session.question().await {
                self.session = Some(session);
                return Ok(facts);
            }
        }
        let session = self.log_in().await?;
        let facts = session.question().await?;
        self.session = Some(session);
        Ok(facts)
    }

    async fn log_in(&self) -> Result<Session, ProbeError> {
        let stream = self.connector.connect(&self.node).await.map_err(ProbeError::Connect)?;
        let (client, connection) = self.login.connect_raw(stream, NoTls).await?;
        let driver = tokio::spawn(async move {
            // Its error reaches us as the failure of the next question.
            let _ = connection.await;
        });
        Ok(Session { client, driver })
    }
}

/// A logged-in connection and the task that moves its bytes.
struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Session {
    async fn question(&self) -> Result<Facts, ProbeError> {
        let messages = self.client.simple_query(QUESTION).await?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        read_facts(row.ok_or(ProbeError::Answer { column: "any" })?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// One row, whatever the role and privileges, on PostgreSQL 13 and later.
///
/// `pg_is_in_recovery()` is asked once, first: a promotion in the middle then at worst yields a standby's
/// answer. The timeline of a primary comes from the name of the WAL file being written, because the control
/// file is only brought up to date by the checkpoint that follows a promotion. A role without
/// `pg_read_all_stats` sees nothing of a walreceiver but its pid; its presence must do for `streaming` then.
const QUESTION: &str = "\
WITH self AS MATERIALIZED (SELECT pg_is_in_recovery() AS standby)
SELECT self.standby,
  (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
  current_setting('server_version_num') AS server_version,
  CASE WHEN NOT self.standby THEN pg_current_wal_insert_lsn() END AS position,
  CASE WHEN NOT self.standby THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS wal_file_timeline,
  CASE WHEN self.standby THEN coalesce(
    (SELECT received_tli FROM pg_stat_wal_receiver),
    greatest((SELECT min_recovery_end_timeline FROM pg_control_recovery()),
             (SELECT timeline_id FROM pg_control_checkpoint()))) END AS standby_timeline,
  coalesce((SELECT coalesce(status, 'streaming') = 'streaming' FROM pg_stat_wal_receiver), false) AS streaming,
  CASE WHEN self.standby THEN pg_last_wal_replay_lsn() END AS replayed,
  CASE WHEN self.standby THEN pg_last_wal_receive_lsn() END AS received,
  CASE WHEN self.standby THEN
    greatest(0, (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint)
  END AS replay_age_ms
FROM self";

fn read_facts(row: &SimpleQueryRow) -> Result<Facts, ProbeError> {
    let standing = if needed::<Flag>(row, "standby")?.0 {
        Standing::Standby {
            timeline: optional(row, "standby_timeline")?.map(Timeline),
            streaming: needed::<Flag>(row, "streaming")?.0,
            replayed: optional(row, "replayed")?,
            received: optional(row, "received")?,
            replay_age: optional(row, "replay_age_ms")?.map(Duration::from_millis),
        }
    } else {
        let name = row.try_get("wal_file_timeline")?.unwrap_or_default();
        let timeline = u32::from_str_radix(name, 16).ok().filter(|timeline| *timeline > 0);
        let timeline = timeline.ok_or(ProbeError::Answer { column: "wal_file_timeline" })?;
        Standing::Primary { timeline: Timeline(timeline), position: needed(row, "position")? }
    };
    Ok(Facts {
        // `bigint` in SQL, unsigned in the control file.
        system_identifier: needed::<i64>(row, "system_identifier")?.cast_unsigned(),
        server_version: needed(row, "server_version")?,
        standing,
    })
}

fn needed<T: FromStr>(row: &SimpleQueryRow, column: &'static str) -> Result<T, ProbeError> {
    optional(row, column)?.ok_or(ProbeError::Answer { column })
}

fn optional<T: FromStr>(row: &SimpleQueryRow, column: &'static str) -> Result<Option<T>, ProbeError> {
    let parse = |text: &str| text.parse().map_err(|_| ProbeError::Answer { column });
    row.try_get(column)?.map(parse).transpose()
}

/// A boolean in PostgreSQL's text form.
struct Flag(bool);

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

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("{}", words_of(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error("unexpected answer to the probe, column \"{column}\"")]
    Answer { column: &'static str },
}

impl ProbeError {
    fn into_report(self) -> Report {
        let reason = self.to_string();
        let code = match &self {
            ProbeError::Connect(_) => return Report::Failed { reason },
            ProbeError::Server(error) if is_lost(error) => return Report::Failed { reason },
            ProbeError::Server(error) => {
                error.code().and_then(|code| SqlState::from_bytes(code.code().as_bytes()))
            }
            ProbeError::Answer { .. } => None,
        };
        match code {
            // 57P01 and 57P02 end a session when its server stops or crashes; 57P03 turns new ones away.
            Some(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW) => {
                Report::NotReady { reason }
            }
            // It talks to us, if not as we wish: 53300, 28xxx, no password given, an odd answer.
            _ => Report::Refused { reason },
        }
    }
}

/// Whether the connection broke, as opposed to the server saying something.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let by_io = || error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    error.as_db_error().is_none() && (error.is_closed() || by_io())
}

/// The server's own message if there is one, else the error with its cause.
fn words_of(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}
