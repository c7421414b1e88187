//! Asks one node, over one lasting connection and in one round trip, how it stands.

use std::sync::Arc;
use std::time::Duration;

use super::connector::Connect;
use super::session::{Flag, Login, Row, Session, Trouble};
use crate::pg::{SqlState, Timeline};
use crate::topology::{Facts, Node, Report, Standing};

/// The one who asks one node.
pub(super) struct Probe {
    node: Arc<Node>,
    login: Login,
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
        Probe { node, login: login.clone(), connector, timeout, session: None }
    }

    /// Asks once, never longer than the timeout. The connection is kept for the next time only after a whole
    /// answer, so the future may be dropped at any point.
    pub(super) async fn ask(&mut self) -> Report {
        let answer = tokio::time::timeout(self.timeout, self.try_ask()).await;
        match answer {
            Ok(Ok(facts)) => Report::Answered(facts),
            Ok(Err(error)) => into_report(&error),
            Err(_) => Report::Failed { reason: format!("no answer within {:?}", self.timeout) },
        }
    }

    async fn try_ask(&mut self) -> Result<Facts, Trouble> {
        if let Some(session) = self.session.take() {
            // That a session was ended says little: someone may have terminated just this one. How the
            // server takes a new one tells.
            if let Ok(facts) = question(&session).await {
                self.session = Some(session);
                return Ok(facts);
            }
        }
        let session = self.log_in().await?;
        let facts = question(&session).await?;
        self.session = Some(session);
        Ok(facts)
    }

    async fn log_in(&self) -> Result<Session, Trouble> {
        Session::open(&self.node, &self.login, self.connector.as_ref(), "bellwether probe").await
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

async fn question(session: &Session) -> Result<Facts, Trouble> {
    read_facts(&session.row(QUESTION).await?)
}

fn read_facts(row: &Row) -> Result<Facts, Trouble> {
    let standing = if row.needed::<Flag>("standby")?.0 {
        Standing::Standby {
            timeline: row.optional("standby_timeline")?.map(Timeline),
            streaming: row.needed::<Flag>("streaming")?.0,
            replayed: row.optional("replayed")?,
            received: row.optional("received")?,
            replay_age: row.optional("replay_age_ms")?.map(Duration::from_millis),
        }
    } else {
        Standing::Primary {
            timeline: row.wal_file_timeline("wal_file_timeline")?,
            position: row.needed("position")?,
        }
    };
    Ok(Facts {
        system_identifier: row.system_identifier()?,
        server_version: row.needed("server_version")?,
        standing,
    })
}

fn into_report(trouble: &Trouble) -> Report {
    let reason = trouble.to_string();
    match trouble.code() {
        _ if trouble.is_lost() => Report::Failed { reason },
        // 57P01 and 57P02 end a session when its server stops or crashes; 57P03 turns new ones away.
        Some(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW) => {
            Report::NotReady { reason }
        }
        // It talks to us, if not as we wish: 53300, 28xxx, no password given, an odd answer.
        _ => Report::Refused { reason },
    }
}
