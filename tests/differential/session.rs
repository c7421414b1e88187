//! One client of a script: says its steps, and keeps what it is told.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::message::{Frontend, Numbers};
use crate::raw::{self, Raw};
use crate::script::Reading;
use crate::shown;

/// Longer than a statement of a script may take, waiting for a server included.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A connection, and what is still to come on it.
pub struct Session {
    raw: Raw<TcpStream>,
    port: u16,
    pid: i32,
    key: Vec<u8>,
    /// ReadyForQuery messages that were asked for.
    owed: usize,
    /// Answers of the group that is not synced yet, and whether it has failed.
    early: usize,
    failed: bool,
    closed: bool,
    notifications: Vec<String>,
    /// What the step that runs was told.
    told: Vec<String>,
    /// ParameterStatus comes where the server likes: by name.
    reported: BTreeMap<String, String>,
}

impl Session {
    /// Logs in; what it was told is the first thing it has to tell.
    pub fn open(port: u16, database: &str, numbers: Numbers) -> Session {
        let mut raw = Raw::tcp(port);
        raw.stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        let path = numbers.fill("work_{n},home_{n},base");
        let name = numbers.fill("differential {n}");
        let parameters =
            [("user", "demo"), ("database", database), ("application_name", &name), ("search_path", &path)];
        raw.send(&raw::startup(raw::V3_0, &parameters));
        let greeting = raw.greeted("demo");
        let mut session = Session {
            raw,
            port,
            pid: greeting.pid,
            key: greeting.key,
            owed: 0,
            early: 0,
            failed: false,
            closed: false,
            notifications: Vec::new(),
            told: Vec::new(),
            reported: greeting.parameters.into_iter().collect(),
        };
        session.told.push("logged in".into());
        session
    }

    /// Sends messages as one packet, and reads what is owed then.
    pub fn say(&mut self, messages: &[Frontend], numbers: Numbers, reading: Reading) {
        if self.closed {
            return;
        }
        let bytes: Vec<u8> = messages.iter().flat_map(|message| message.bytes(numbers)).collect();
        if std::io::Write::write_all(&mut self.raw.stream, &bytes).is_err() {
            self.told.push("the connection is closed".into());
            self.closed = true;
            return;
        }
        self.owed += messages.iter().filter(|message| message.is_answered_ready()).count();
        let since = messages.iter().rposition(Frontend::is_answered_ready).map_or(0, |at| at + 1);
        if since > 0 {
            self.early = 0;
            self.failed = false;
        }
        self.early += messages[since..].iter().filter(|message| message.is_answered_early()).count();
        match reading {
            Reading::Answers => {}
            Reading::Ready(count) => self.owed = count,
            Reading::Nothing => return,
        }
        if messages.iter().all(|message| matches!(message, Frontend::CopyData(_))) {
            return;
        }
        let ends = |message: &Frontend| matches!(message, Frontend::CopyDone | Frontend::CopyFail(_));
        let whole = messages.len() > 1 && messages.iter().any(ends);
        let simple = messages.iter().any(|message| matches!(message, Frontend::Query(_)) || ends(message));
        self.read_ready(if whole { None } else { Some(simple) });
        if matches!(messages.last(), Some(Frontend::Flush)) {
            self.read_early();
        }
    }

    /// Reads what is still to come.
    pub fn answer(&mut self) {
        self.read_ready(Some(true));
    }

    /// Reads until so many notifications have come.
    pub fn notified(&mut self, wanted: usize) {
        while self.notifications.len() < wanted && self.next().is_some() {}
    }

    /// Whether an answer has come that is not read. What comes at any time, or before a statement runs, is none, and is read.
    pub fn has_answer(&mut self) -> bool {
        let mut first = [0];
        loop {
            let brief = Some(Duration::from_millis(1));
            self.raw.stream.set_read_timeout(brief).expect("a time above zero");
            let found = self.raw.stream.peek(&mut first);
            self.raw.stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
            match found {
                Ok(1) if !self.closed && b"SAN12T".contains(&first[0]) => drop(self.next()),
                Ok(_) => return true,
                Err(error) => return self.closed || error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends a CancelRequest, unless there is an answer: what comes next shall not be hit.
    pub fn cancel(&mut self) {
        if !self.has_answer() {
            let mut other = Raw::tcp(self.port);
            other.send(&raw::cancel(self.pid, &self.key));
            while other.try_read().is_ok() {}
        }
    }

    /// Says goodbye, and sees that nothing else comes but the end.
    pub fn goodbye(&mut self) {
        if !self.closed {
            let _ = std::io::Write::write_all(&mut self.raw.stream, &raw::message(b'X', &[]));
            let limit = Instant::now() + PATIENCE;
            while self.next().is_some() && Instant::now() < limit {}
            // That it ends was asked for.
            self.told.retain(|line| line != CLOSED);
        }
    }

    /// What came since this was asked last.
    pub fn take_told(&mut self) -> Vec<String> {
        let reported = std::mem::take(&mut self.reported);
        let reported = reported.into_iter().map(|(name, value)| format!("S {name} = {value}"));
        std::mem::take(&mut self.told).into_iter().chain(reported).collect()
    }

    /// Notifications in the order they came. When they come depends on the one who sends them.
    pub fn take_notifications(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notifications)
    }

    /// Reads until all that was asked for is ready, or the server wants data; `None` where data was sent with the
    /// request. Behind Execute the server ignores the Sync that came with it, behind Query it gets ready in the end.
    fn read_ready(&mut self, stop_at_copy: Option<bool>) {
        while self.owed > 0 {
            let Some(tag) = self.next() else { return };
            if let ('G', Some(simple)) = (tag, stop_at_copy) {
                self.owed = usize::from(simple);
                return;
            }
        }
    }

    /// Reads the answers of a group up to its Flush.
    fn read_early(&mut self) {
        while self.early > 0 && !self.failed {
            match self.next() {
                Some('1' | '2' | '3' | 'T' | 'n' | 'C' | 'I' | 's' | 'G') => self.early -= 1,
                Some('E') => self.failed = true,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// The next message's type; `None` at the end.
    fn next(&mut self) -> Option<char> {
        if self.closed {
            return None;
        }
        match self.raw.try_read() {
            Ok(message) => {
                match message.tag {
                    'S' => self.reported.extend(shown::parameter(&message)),
                    'A' => self.notifications.push(shown::line(&message)),
                    _ => self.told.push(shown::line(&message)),
                }
                if message.tag == 'Z' {
                    self.owed = self.owed.saturating_sub(1);
                }
                Some(message.tag)
            }
            Err(error) => {
                self.closed = true;
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                self.told.push(if silent { NO_ANSWER.to_owned() } else { CLOSED.to_owned() });
                None
            }
        }
    }
}

/// What is told where nothing came in time.
pub const NO_ANSWER: &str = "no answer";

const CLOSED: &str = "the connection ends";
