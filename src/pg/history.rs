//! The timelines that lead to one, and where each of them ended.

use std::fmt;

use super::{Lsn, Timeline};

/// What PostgreSQL's timeline history file says (`pg_wal/00000003.history`): the ancestors of a timeline, oldest first,
/// each with the last position that belongs to the next one as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    timeline: Timeline,
    ends: Vec<(Timeline, Lsn)>,
}

/// A text that is no timeline history file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHistory {
    /// Number of the line that does not hold, from 1.
    pub line: usize,
}

impl fmt::Display for BadHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the timeline history is not a timeline and its end", self.line)
    }
}

impl std::error::Error for BadHistory {}

impl History {
    /// Returns the history of a timeline that has no ancestors.
    pub fn first(timeline: Timeline) -> Self {
        History { timeline, ends: Vec::new() }
    }

    /// Reads the history file of `timeline`, by the rules of `readTimeLineHistory()`: blank lines and comments are
    /// passed over, timelines grow and are all older than the one whose file it is.
    pub fn read(timeline: Timeline, text: &str) -> Result<Self, BadHistory> {
        let mut ends: Vec<(Timeline, Lsn)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            let ancestor = words.next().and_then(|word| word.parse().ok()).map(Timeline);
            let end = words.next().and_then(|word| word.parse().ok());
            match ancestor.zip(end) {
                Some((ancestor, end))
                    if ancestor < timeline && ends.last().is_none_or(|(last, _)| *last < ancestor) =>
                {
                    ends.push((ancestor, end));
                }
                _ => return Err(BadHistory { line: index + 1 }),
            }
        }
        Ok(History { timeline, ends })
    }

    /// Returns the timeline whose history it is.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// Returns the last position of `ancestor` that belongs to this history; `None` when `ancestor` is none.
    pub fn end_of(&self, ancestor: Timeline) -> Option<Lsn> {
        self.ends.iter().find(|(timeline, _)| *timeline == ancestor).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_promotion_writes() {
        let text = "1\t0/3176A90\tno recovery target specified\n\n# a remark\n 3\t0/5000000\tbefore x y z\n";
        let history = History::read(Timeline(4), text).expect("it is one");
        assert_eq!(history.timeline(), Timeline(4));
        assert_eq!(history.end_of(Timeline(1)), Some(Lsn(0x317_6A90)));
        assert_eq!(history.end_of(Timeline(3)), Some(Lsn(0x500_0000)));
        assert_eq!((history.end_of(Timeline(2)), history.end_of(Timeline(4))), (None, None));
        assert_eq!(History::read(Timeline(1), ""), Ok(History::first(Timeline(1))));
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, line) in [
            ("x", 1),
            ("1", 1),
            ("1 0", 1),
            ("\n2 0/1\n1 0/2", 3),
            ("4 0/1", 1),
            ("1 0/1\n1 0/1", 2),
            ("-1 0/1", 1),
        ] {
            assert_eq!(History::read(Timeline(4), text), Err(BadHistory { line }), "{text:?}");
        }
    }
}
