//! What became of each number, and how long anybody had to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Client and number.
pub(super) type Row = (u32, u64);

/// What a statement was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes a number.
    Write,
    /// Reads the numbers back.
    Read,
}

/// How an attempt to write a number ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was acknowledged.
    Acknowledged,
    /// It failed, and for certain did nothing.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// The books of all clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    acknowledged: BTreeSet<Row>,
    failed: BTreeSet<Row>,
    unknown: BTreeSet<Row>,
    last_write: Option<Instant>,
    progress: Progress,
}

/// How far the clients are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Errors, by SQLSTATE; `connection` where there was none.
    pub errors: BTreeMap<String, u64>,
    /// Reads that did not show what their session had written.
    pub stale: u64,
    /// The longest time from the beginning of a write to the next acknowledged one of the same client.
    pub write_pause: Duration,
    /// The same for reads.
    pub read_pause: Duration,
    /// The longest time from one acknowledged write to the next, of whatever client.
    pub outage: Duration,
}

impl Progress {
    /// How many errors there were.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// What the books say against the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How far the clients were.
    pub progress: Progress,
    /// Acknowledged numbers that are not there.
    pub lost: u64,
    /// Numbers that are there more than once, or although their write failed.
    pub duplicated: u64,
    /// Writes whose outcome was unknown, and how many of them are there.
    pub unknown: (u64, u64),
}

impl Ledger {
    /// Takes note at `now` of how a write ended.
    pub fn wrote(&mut self, now: Instant, row: Row, fate: Fate) {
        match fate {
            Fate::Acknowledged => {
                self.progress.writes += 1;
                let since = self.last_write.replace(now).map_or(Duration::ZERO, |last| now - last);
                self.progress.outage = since.max(self.progress.outage);
                self.acknowledged.insert(row)
            }
            Fate::Failed => self.failed.insert(row),
            Fate::Unknown => self.unknown.insert(row),
        };
    }

    pub fn read(&mut self, stale: bool) {
        self.progress.reads += 1;
        self.progress.stale += u64::from(stale);
    }

    pub fn error(&mut self, code: &str) {
        *self.progress.errors.entry(code.to_owned()).or_default() += 1;
    }

    pub fn waited(&mut self, kind: Kind, time: Duration) {
        let longest = match kind {
            Kind::Write => &mut self.progress.write_pause,
            Kind::Read => &mut self.progress.read_pause,
        };
        *longest = time.max(*longest);
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Compares the books with the rows of the table.
    pub fn audit(&mut self, rows: &[Row]) -> Report {
        let mut times: BTreeMap<Row, u64> = BTreeMap::new();
        rows.iter().for_each(|row| *times.entry(*row).or_default() += 1);
        let there = |row: &&Row| times.contains_key(*row);
        let count = |rows: &BTreeSet<Row>| rows.iter().filter(there).count() as u64;
        let more = times.values().filter(|times| **times > 1).count() as u64;
        Report {
            progress: self.progress(),
            lost: self.acknowledged.len() as u64 - count(&self.acknowledged),
            duplicated: more + count(&self.failed),
            unknown: (self.unknown.len() as u64, count(&self.unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_are_held_against_the_table() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        for (n, fate) in [
            (1, Fate::Acknowledged),
            (2, Fate::Acknowledged),
            (3, Fate::Acknowledged),
            (4, Fate::Failed),
            (5, Fate::Unknown),
            (6, Fate::Unknown),
        ] {
            ledger.wrote(start + Duration::from_secs(n * n), (0, n), fate);
        }
        ledger.error("08007");
        ledger.waited(Kind::Write, Duration::from_secs(2));
        ledger.waited(Kind::Write, Duration::from_secs(1));
        let report = ledger.audit(&[(0, 1), (0, 2), (0, 2), (0, 4), (0, 5), (1, 9)]);
        assert_eq!((report.lost, report.duplicated, report.unknown), (1, 2, (2, 1)));
        assert_eq!((report.progress.writes, report.progress.error_count()), (3, 1));
        assert_eq!(report.progress.write_pause, Duration::from_secs(2));
        assert_eq!(report.progress.outage, Duration::from_secs(5), "from the second to the third");
    }
}
