//! Asks a node what leadership must know of it, in one round trip.
//!
//! A second one is needed only when the node is on a timeline whose history was not read from it yet.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{slot, upstream};
use crate::cluster::{Branch, Lineage, Receiver, Standby, Standing, SyncNames, Upstream};
use crate::coordinator::session::{Flag, Row, Session, Trouble};
use crate::pg::{Lsn, Timeline};
use crate::topology::NodeName;

/// What a node said, as it said it.
pub(super) struct Answer {
    pub(super) system_identifier: u64,
    pub(super) started: u64,
    pub(super) lineage: Lineage,
    pub(super) standing: Standing,
    /// `synchronous_standby_names` as this session shows it.
    pub(super) shown_names: SyncNames,
    pub(super) slots: BTreeSet<NodeName>,
}

/// The history last read from a node: it does not change while the node stays on the timeline in one run.
pub(super) struct KnownLineage {
    started: u64,
    lineage: Lineage,
}

/// Asks over `session`. `known` is kept by the caller from one question to the next.
pub(super) async fn ask(session: &Session, known: &mut Option<KnownLineage>) -> Result<Answer, Trouble> {
    let row = session.row(QUESTION).await?;
    let started = row.needed("started")?;
    let timeline = timeline(&row)?;
    let fits = |known: &&KnownLineage| known.started == started && known.lineage.last().timeline == timeline;
    let lineage = match known.as_ref().filter(fits) {
        Some(known) => known.lineage.clone(),
        None => {
            let lineage = read_lineage(session, timeline).await?;
            *known = Some(KnownLineage { started, lineage: lineage.clone() });
            lineage
        }
    };
    Ok(Answer {
        system_identifier: row.system_identifier()?,
        started,
        lineage,
        standing: standing(&row)?,
        shown_names: SyncNames::parse(row.text("sync_names")?),
        slots: row.text("slots")?.split(',').filter_map(slot::node).collect(),
    })
}

/// `pg_is_in_recovery()` is asked once, first, so that a promotion in the middle yields a standby's answer at worst.
///
/// Which timeline a standby's data is on is nowhere to be asked. While a walreceiver runs, it is the one received.
/// Else it is the highest of the control file's and of the WAL segments': the control file may lag behind a switch,
/// and a standby writes no segment of a timeline it does not follow. (It may well hold the *history* of one.)
/// Besides `pg_monitor`, nothing is needed here; the history takes EXECUTE on `pg_read_binary_file`.
const QUESTION: &str = "\
WITH self AS MATERIALIZED (SELECT pg_is_in_recovery() AS standby),
  receiver AS MATERIALIZED (SELECT pid, received_tli, last_msg_receipt_time FROM pg_stat_wal_receiver)
SELECT self.standby,
  (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
  (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started,
  current_setting('synchronous_standby_names') AS sync_names,
  CASE WHEN NOT self.standby THEN pg_current_wal_flush_lsn() END AS flushed,
  CASE WHEN NOT self.standby THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
    ELSE coalesce((SELECT lpad(upper(to_hex(received_tli)), 8, '0') FROM receiver WHERE received_tli > 0), greatest(
      (SELECT lpad(upper(to_hex(min_recovery_end_timeline)), 8, '0') FROM pg_control_recovery()),
      (SELECT lpad(upper(to_hex(timeline_id)), 8, '0') FROM pg_control_checkpoint()),
      (SELECT max(left(name, 8) COLLATE \"C\") FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$')))
  END AS timeline,
  CASE WHEN self.standby THEN current_setting('primary_conninfo') END AS conninfo,
  current_setting('restore_command') <> '' AS restores,
  (SELECT pid FROM receiver) AS receiver,
  (SELECT greatest(0, (extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000)::bigint) FROM receiver)
    AS heard_ms,
  CASE WHEN self.standby THEN pg_last_wal_receive_lsn() END AS received,
  CASE WHEN self.standby THEN pg_last_wal_replay_lsn() END AS replayed,
  CASE WHEN self.standby THEN EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
    AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')) END AS idle,
  CASE WHEN self.standby THEN
    greatest(0, (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint)
  END AS replay_age_ms,
  (SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE slot_type = 'physical') AS slots
FROM self";

fn standing(row: &Row) -> Result<Standing, Trouble> {
    if !row.needed::<Flag>("standby")?.0 {
        return Ok(Standing::Primary { flushed: row.needed("flushed")? });
    }
    let millis = |column| Ok::<_, Trouble>(row.optional(column)?.map(Duration::from_millis));
    let receiver = row.optional::<u32>("receiver")?.map(|_| {
        // Without a word since its start, it was never heard from.
        Ok::<_, Trouble>(Receiver { heard: millis("heard_ms")?.unwrap_or(Duration::MAX) })
    });
    Ok(Standing::Standby(Standby {
        upstream: match row.text("conninfo")? {
            "" => Upstream::None,
            text => upstream::read(text),
        },
        receiver: receiver.transpose()?,
        restores: row.needed::<Flag>("restores")?.0,
        received: row.optional("received")?,
        replayed: row.needed("replayed")?,
        idle: row.needed::<Flag>("idle")?.0,
        replay_age: millis("replay_age_ms")?,
    }))
}

fn timeline(row: &Row) -> Result<Timeline, Trouble> {
    row.wal_file_timeline("timeline")
}

/// Reads the history of a node's timeline. The first timeline has none.
async fn read_lineage(session: &Session, timeline: Timeline) -> Result<Lineage, Trouble> {
    let first = Branch { timeline: Timeline(1), forked_at: Lsn(0) };
    if timeline == first.timeline {
        return Ok(Lineage::new(vec![first]).expect("one branch grows"));
    }
    let question = format!(
        "SELECT convert_from(pg_read_binary_file('pg_wal/{:08X}.history', 0, {LONGEST_HISTORY}, false), 'SQL_ASCII') \
         AS history",
        timeline.0
    );
    let row = session.row(&question).await?;
    lineage(row.text("history")?, timeline).ok_or(Trouble::Answer { column: "history" })
}

/// Ten thousand promotions. One more, and the node is refused instead of misread.
const LONGEST_HISTORY: usize = 1 << 20;

/// Understands a history file: a line for each parent with the position where it was left, oldest first
/// (<https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>). Empty lines and lines that
/// begin with `#` say nothing.
fn lineage(history: &str, own: Timeline) -> Option<Lineage> {
    if history.len() >= LONGEST_HISTORY {
        return None;
    }
    let mut branches = Vec::new();
    let mut forked_at = Lsn(0);
    for line in history.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let timeline = Timeline(words.next()?.parse().ok()?);
        branches.push(Branch { timeline, forked_at });
        forked_at = words.next()?.parse().ok()?;
    }
    branches.push(Branch { timeline: own, forked_at });
    Lineage::new(branches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_is_a_lineage() {
        let text = "1\t0/5000000\tno recovery target specified\n\n# by hand\n3\t0/6000028\tbecause\n";
        let read = lineage(text, Timeline(4)).expect("it grows");
        let branch = |timeline, at| Branch { timeline: Timeline(timeline), forked_at: Lsn(at) };
        assert_eq!(read.branches(), [branch(1, 0), branch(3, 0x500_0000), branch(4, 0x600_0028)]);
        for broken in ["x\t0/5\t", "1", "1\tx\t", "5\t0/5\t", "1\t0/9\t\n2\t0/5\t"] {
            assert_eq!(lineage(broken, Timeline(4)), None, "{broken}");
        }
    }
}
