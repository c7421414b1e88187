//! Asks one node where it stands in WAL, over a connection of its own, when somebody wants to know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::positions::{Ancestry, Demand, Station};
use super::state::{Shared, Trouble};
use crate::pg::{History, Lsn, Timeline};
use crate::pool::{Endpoint, Stream, raw_connect};
use crate::routing::{Sample, Token};
use crate::topology::NodeId;
use crate::wire::backend::{self, tag};
use crate::wire::error_response::{ErrorFields, PgError};
use crate::wire::frame::{HEAD, Head, Malformed};
use crate::wire::startup::ProtocolVersion;
use crate::wire::write;

/// How long an answer may take; a healthy server needs far less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two questions that nobody waits for: a session that wrote and is likely to read finds its answer there
/// all the same, and a busy primary is asked a thousand times a second at most.
const SOON: Duration = Duration::from_millis(1);

/// The same where nobody is known to read by the answer; what it says of a session that writes only counts when the
/// primary dies.
const LATER: Duration = Duration::from_millis(20);

/// Longest pause while a standby does not move.
const LONGEST: Duration = Duration::from_millis(256);

/// How long WAL that somebody waits for may stay in the primary's memory before it is asked to write it out, and the least
/// time between two such requests. Commits are written at once or, when they did not wait for that, within a fifth of a
/// second (`wal_writer_delay`).
const UNWRITTEN: Duration = Duration::from_millis(50);
const BETWEEN_NUDGES: Duration = Duration::from_millis(250);

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Most bytes of an answer. A timeline history has a line for each promotion there ever was.
const MAX_ANSWER: usize = 256 * 1024;

/// Position, role and timeline, whatever the role and its privileges.
///
/// The position comes first: a standby that goes over to another timeline in between has then replayed no more than the
/// timeline told covers. A promotion in between yields what a standby says. For the rest see the coordinator's probe.
const QUESTION: &str = "\
WITH self AS MATERIALIZED (SELECT pg_is_in_recovery() AS standby)
SELECT CASE WHEN standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
  standby,
  CASE WHEN NOT standby THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END,
  CASE WHEN standby THEN coalesce(
    (SELECT received_tli FROM pg_stat_wal_receiver),
    greatest((SELECT min_recovery_end_timeline FROM pg_control_recovery()),
             (SELECT timeline_id FROM pg_control_checkpoint()))) END,
  CASE WHEN NOT standby THEN pg_current_wal_flush_lsn() END
FROM self";

/// An empty transaction, whose end has the WAL writer write everything out up to there.
///
/// What an open transaction has written stays in memory until somebody commits, or for up to half a minute
/// (`LOG_SNAPSHOT_INTERVAL_MS`), and no standby gets it. Positions that sessions must see include it: PostgreSQL does not
/// tell where the last commit ended.
const NUDGE: &str = "SELECT txid_current()";

/// Sizes that decide where a page of WAL has its header.
const SIZES: &str =
    "SELECT current_setting('wal_block_size'), pg_size_bytes(current_setting('wal_segment_size'))";

const PREPARED: &[u8] = b"position";

/// Asks `node` whenever there is demand, for ever.
pub(super) async fn run(shared: Arc<Shared>, node: NodeId) {
    let Some(station) = shared.positions.station(node) else { return };
    let nodes = shared.snapshot().nodes.len();
    if nodes > 1 && usize::from(node.0) < nodes {
        // The connection is there when it is needed.
        station.want(Demand::Later);
    }
    let mut asker =
        Asker { shared: &shared, node, line: None, last: None, rounds: 0, unwritten: None, nudged: None };
    loop {
        asker.pause(station).await;
        let demand = station.begin();
        match asker.sample().await {
            Ok(sample) => asker.took(station, sample, demand).await,
            Err(error) => {
                tracing::debug!(event = "position.unknown", node = node.0, %error);
                asker.line = None;
                shared.positions.failed(node);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

struct Asker<'a> {
    shared: &'a Shared,
    node: NodeId,
    line: Option<Line>,
    last: Option<Sample>,
    /// Samples in a row that showed no progress.
    rounds: u32,
    /// A position that sessions must see and the primary had not written out, and since when it is known.
    unwritten: Option<(Lsn, Instant)>,
    /// When it was last asked to.
    nudged: Option<Instant>,
}

impl Asker<'_> {
    /// Waits until there is demand, and until it is time to meet it.
    async fn pause(&self, station: &Station) {
        loop {
            let demand = station.wanted().await;
            let Some(last) = self.last else { return };
            let due = tokio::time::Instant::from_std(last.asked_at + self.pace(last, demand));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => return,
                () = station.wanted_more_than(demand) => {}
            }
        }
    }

    fn pace(&self, last: Sample, demand: Demand) -> Duration {
        match demand {
            Demand::Now if last.is_primary => Duration::ZERO,
            // Who waits for a standby to come up to something gains nothing by asking without a pause.
            Demand::Now => SOON,
            Demand::Soon => (SOON * (1 << self.rounds.min(8))).min(LONGEST),
            Demand::Later | Demand::None => LATER,
        }
    }

    async fn sample(&mut self) -> Result<Sample, Failed> {
        // The node may be somewhere else by now.
        let place = self.shared.registry.endpoint(self.node).ok_or(Failed::NoNode)?;
        self.line.take_if(|line| !line.place.is_same_as(&place));
        if self.line.is_none() {
            self.line = Some(Line::open(self.shared, place).await?);
        }
        let Some(line) = &mut self.line else { return Err(Failed::Ended) };
        line.sample().await
    }

    /// Publishes `sample`, and sees to what follows from it.
    async fn took(&mut self, station: &Station, sample: Sample, demand: Demand) {
        let positions = &self.shared.positions;
        if sample.is_primary {
            self.learn_ancestry(sample.at.timeline).await;
            self.see_it_written(station, sample, demand).await;
        }
        let moved = self.last.is_none_or(|last| last.at != sample.at);
        self.rounds = if moved { 0 } else { self.rounds.saturating_add(1) };
        self.last = Some(sample);
        positions.add(self.node, sample);
        let snapshot = self.shared.snapshot();
        if sample.is_primary && demand >= Demand::Soon {
            positions.pursue(sample.at.lsn, snapshot.readable_standbys().map(|view| view.node.id));
        }
        if snapshot.primary == Some(self.node) && !sample.is_primary {
            self.shared.report(Trouble::NotPrimary(self.node));
        }
        let serves = snapshot.node(self.node).is_some_and(|view| view.serves_reads);
        if serves && sample.at.lsn < positions.frontier() {
            station.want(Demand::Soon);
        }
    }

    /// Sees to it that standbys get what sessions must see.
    async fn see_it_written(&mut self, station: &Station, sample: Sample, demand: Demand) {
        let Some(line) = &mut self.line else { return };
        self.unwritten = self.unwritten.filter(|(lsn, _)| line.written < *lsn);
        if demand >= Demand::Soon && line.written < sample.at.lsn {
            self.unwritten.get_or_insert((sample.at.lsn, sample.asked_at));
        }
        let Some((_, since)) = self.unwritten else { return };
        let due = since + UNWRITTEN;
        if sample.asked_at >= self.nudged.map_or(due, |last| due.max(last + BETWEEN_NUDGES)) {
            self.nudged = Some(sample.asked_at);
            if let Err(error) = line.ask_once(NUDGE, |_| Ok(())).await {
                tracing::debug!(event = "position.unwritten", node = self.node.0, %error);
            }
        }
        station.want(Demand::Later);
    }

    /// Reads where the timelines before the primary's ended, once for each of its timelines.
    async fn learn_ancestry(&mut self, timeline: Timeline) {
        let positions = &self.shared.positions;
        if positions.ancestry(timeline).is_some() {
            return;
        }
        let Some(line) = &mut self.line else { return };
        let history = match line.history(timeline).await {
            Ok(history) => Some(history),
            Err(error @ (Failed::Refused(_) | Failed::Nonsense)) => {
                tracing::warn!(
                    event = "history.unknown",
                    node = self.node.0,
                    %timeline,
                    %error,
                    "cannot read where earlier timelines ended; what tokens of them name is not proven here"
                );
                None
            }
            // The next sample finds the connection broken, and the one after that asks again.
            Err(_) => return,
        };
        positions.set_ancestry(Ancestry { timeline, history });
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the node is not in the configuration")]
    NoNode,
    #[error("{0}")]
    Connect(#[from] crate::pool::ConnectError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("the server closed the connection")]
    Ended,
    #[error("{0}")]
    Refused(PgError),
    #[error("the answer is too long")]
    TooLong,
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the answer makes no sense")]
    Nonsense,
}

/// A connection with the question prepared.
struct Line {
    stream: Stream,
    place: Arc<Endpoint>,
    since: Instant,
    block: u64,
    segment: u64,
    /// How far WAL was written out at the last sample of a primary.
    written: Lsn,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Line {
    async fn open(shared: &Shared, place: Arc<Endpoint>) -> Result<Line, Failed> {
        let parameters =
            [("application_name", "bellwether positions"), ("options", "-c search_path=pg_catalog")];
        let limit = shared.registry.settings().connect_timeout;
        let (stream, _) =
            raw_connect(&place, &shared.cluster, ProtocolVersion::V3_0, &parameters, limit).await?;
        let since = Instant::now();
        let (out, input) = (Vec::new(), Vec::new());
        let mut line = Line { stream, place, since, block: 0, segment: 0, written: Lsn(0), out, input };
        let mut sizes = Vec::new();
        line.ask_once(SIZES, |row| {
            backend::data_row(row, |_, value| sizes.push(value.and_then(number::<u64>)))
        })
        .await?;
        let [Some(block), Some(segment)] = sizes[..] else { return Err(Failed::Nonsense) };
        (line.block, line.segment) = (block, segment);
        write::parse(&mut line.out, PREPARED, QUESTION.as_bytes(), &[]);
        write::sync(&mut line.out);
        line.exchange(|_| Ok(())).await?;
        Ok(line)
    }

    /// Asks where the node stands.
    async fn sample(&mut self) -> Result<Sample, Failed> {
        write::bind(&mut self.out, PREPARED);
        write::execute(&mut self.out);
        write::sync(&mut self.out);
        let mut answer = Answer::default();
        let asked_at = Instant::now();
        self.exchange(|row| backend::data_row(row, |column, value| answer.take(column, value))).await?;
        let (lsn, is_primary) = answer.lsn.zip(answer.is_primary).ok_or(Failed::Nonsense)?;
        let timeline = answer.timeline.filter(|timeline| timeline.0 > 0).ok_or(Failed::Nonsense)?;
        self.written = answer.written.unwrap_or(lsn);
        let lsn = if is_primary { before_header(lsn, self.block, self.segment) } else { lsn };
        Ok(Sample { asked_at, alive_since: self.since, is_primary, at: Token { timeline, lsn } })
    }

    /// Asks for the ancestors of the node's timeline.
    async fn history(&mut self, timeline: Timeline) -> Result<History, Failed> {
        if timeline == Timeline(1) {
            return Ok(History::first(timeline));
        }
        // By the one function that `bellwether setup-role` grants for this; the coordinator reads it the same way.
        let sql = format!(
            "SELECT convert_from(pg_read_binary_file('pg_wal/{:08X}.history', 0, {MAX_ANSWER} / 2, false), 'SQL_ASCII')",
            timeline.0
        );
        let mut text = None;
        self.ask_once(&sql, |row| {
            backend::data_row(row, |_, value| {
                text = value.map(|value| String::from_utf8_lossy(value).into_owned())
            })
        })
        .await?;
        History::read(timeline, &text.ok_or(Failed::Nonsense)?).map_err(|_| Failed::Nonsense)
    }

    async fn ask_once(
        &mut self,
        sql: &str,
        row: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Failed> {
        write::parse(&mut self.out, b"", sql.as_bytes(), &[]);
        write::bind(&mut self.out, b"");
        write::execute(&mut self.out);
        write::sync(&mut self.out);
        self.exchange(row).await
    }

    /// Sends what is in `out`, and reads up to ReadyForQuery. The buffers are kept, so that a question takes no memory.
    async fn exchange(&mut self, row: impl FnMut(&[u8]) -> Result<(), Malformed>) -> Result<(), Failed> {
        let exchange = self.exchange_unbounded(row);
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| Failed::TimedOut)?
    }

    async fn exchange_unbounded(
        &mut self,
        mut row: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Failed> {
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await?;
        self.out.clear();
        let mut refused = None;
        loop {
            while let Some(head) = Head::read(&self.input)?
                && self.input.len() >= head.total
            {
                let body = &self.input[HEAD..head.total];
                match head.tag {
                    tag::DATA_ROW => row(body)?,
                    tag::ERROR_RESPONSE => refused = Some(ErrorFields::read(body).to_error()),
                    _ => {}
                }
                self.input.drain(..head.total);
                if head.tag == tag::READY_FOR_QUERY {
                    return refused.map_or(Ok(()), |error| Err(Failed::Refused(error)));
                }
            }
            if self.input.len() > MAX_ANSWER {
                return Err(Failed::TooLong);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(refused.map_or(Failed::Ended, Failed::Refused));
            }
        }
    }
}

/// The row that answers [`QUESTION`].
#[derive(Default)]
struct Answer {
    lsn: Option<Lsn>,
    is_primary: Option<bool>,
    timeline: Option<Timeline>,
    written: Option<Lsn>,
}

impl Answer {
    fn take(&mut self, column: usize, value: Option<&[u8]>) {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        match (column, text) {
            (0, Some(text)) => self.lsn = text.parse().ok(),
            (1, Some(text)) => self.is_primary = Some(text == "f"),
            // Of a WAL file's name, in hexadecimal.
            (2, Some(text)) => self.timeline = u32::from_str_radix(text, 16).ok().map(Timeline),
            (3, Some(text)) => self.timeline = text.parse().ok().map(Timeline),
            (4, Some(text)) => self.written = text.parse().ok(),
            _ => {}
        }
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Takes an insert position at the start of a page back to the end of the page before.
///
/// What is inserted next comes behind the page's header, and PostgreSQL tells that place
/// (`XLogBytePosToRecPtr()`). A standby that has replayed everything stands before the header, and would seem to lag until
/// something else is written. Headers are 24 bytes long, 40 in the first page of a segment (`xlog_internal.h`), and no
/// record ends within or right behind one.
fn before_header(lsn: Lsn, block: u64, segment: u64) -> Lsn {
    let within = |size: u64| lsn.0.checked_rem(size).unwrap_or(u64::MAX);
    let header = match (within(segment), within(block)) {
        (40, _) => 40,
        (in_segment, 24) if in_segment != 24 => 24,
        _ => 0,
    };
    Lsn(lsn.0 - header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_records_is_not_waited_for() {
        let check = |lsn, expected| assert_eq!(before_header(Lsn(lsn), 0x2000, 0x100_0000), Lsn(expected));
        check(0x300_0028, 0x300_0000);
        check(0x300_2018, 0x300_2000);
        check(0x300_2028, 0x300_2028);
        check(0x300_0018, 0x300_0018);
        check(0x300_2000, 0x300_2000);
        check(0x300_1234, 0x300_1234);
        assert_eq!(before_header(Lsn(0x18), 0, 0), Lsn(0x18));
    }

    #[test]
    fn an_answer_is_read_by_role() {
        let read = |row: [Option<&str>; 4]| {
            let mut answer = Answer::default();
            row.iter().enumerate().for_each(|(column, value)| answer.take(column, value.map(str::as_bytes)));
            (answer.lsn, answer.is_primary, answer.timeline)
        };
        let primary = read([Some("0/10"), Some("f"), Some("0000000A"), None]);
        assert_eq!(primary, (Some(Lsn(16)), Some(true), Some(Timeline(10))));
        let standby = read([Some("1/0"), Some("t"), None, Some("10")]);
        assert_eq!(standby, (Some(Lsn(1 << 32)), Some(false), Some(Timeline(10))));
        assert_eq!(read([Some("x"), None, Some("x"), None]), (None, None, None));
    }
}
