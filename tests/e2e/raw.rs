//! A client that speaks the protocol by hand, so that a test decides what is sent, when, and how it ends.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bellwether::wire::write;

/// A connection to the endpoint, or directly to a server. The servers and the proxy must trust it.
pub struct Raw {
    stream: TcpStream,
    port: u16,
    buffer: Vec<u8>,
    /// Process id and secret, for a cancel.
    pub pid: i32,
    key: Vec<u8>,
    /// What ParameterStatus said last.
    pub reported: BTreeMap<String, String>,
    /// Channels and payloads of NOTIFY.
    pub notifications: Vec<(String, String)>,
    /// What NoticeResponses said.
    pub notices: Vec<Failure>,
}

/// An ErrorResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub hint: String,
}

/// One message of the server.
#[derive(Clone, Debug)]
pub struct Message {
    pub tag: char,
    pub body: Vec<u8>,
}

/// All up to a ReadyForQuery.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Types of the messages, in order, those that may come at any time left out.
    pub tags: String,
    pub rows: Vec<Vec<Option<String>>>,
    pub complete: Vec<String>,
    pub failure: Option<Failure>,
    /// Of the ReadyForQuery; `None` when the connection ended instead.
    pub status: Option<char>,
}

impl Answer {
    /// Rows as psql prints them unaligned.
    pub fn text(&self) -> String {
        let row = |row: &Vec<Option<String>>| {
            row.iter().map(|value| value.clone().unwrap_or_default()).collect::<Vec<_>>().join("|")
        };
        self.rows.iter().map(row).collect::<Vec<_>>().join("\n")
    }
}

impl Raw {
    /// Logs in with further startup parameters.
    pub fn try_connect(port: u16, user: &str, database: &str, more: &[(&str, &str)]) -> Result<Raw, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a time above zero");
        stream.set_nodelay(true).expect("it is TCP");
        let mut raw = Raw {
            stream,
            port,
            buffer: Vec::new(),
            pid: 0,
            key: Vec::new(),
            reported: BTreeMap::new(),
            notifications: Vec::new(),
            notices: Vec::new(),
        };
        let mut body = 196_608i32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database)].iter().chain(more) {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        raw.send(&[&(body.len() as i32 + 4).to_be_bytes()[..], &body].concat());
        let answer = raw.answer();
        match answer.failure {
            Some(failure) => Err(failure),
            None => Ok(raw),
        }
    }

    /// The same where success is expected.
    pub fn connect(port: u16, user: &str) -> Raw {
        Raw::connect_with(port, user, &[])
    }

    /// The same with startup parameters, to database `demo`.
    pub fn connect_with(port: u16, user: &str, more: &[(&str, &str)]) -> Raw {
        Raw::try_connect(port, user, "demo", more).unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    /// Runs a simple Query and returns everything.
    pub fn query(&mut self, sql: &str) -> Answer {
        self.send_query(sql);
        self.answer()
    }

    /// Runs a simple Query that must succeed; its rows as psql prints them unaligned.
    #[track_caller]
    pub fn sql(&mut self, sql: &str) -> String {
        let answer = self.query(sql);
        assert_eq!(answer.failure, None, "{sql}");
        assert!(answer.status.is_some(), "{sql}: the connection ended");
        answer.text()
    }

    /// Runs a simple Query that must fail.
    #[track_caller]
    pub fn fails(&mut self, sql: &str) -> Failure {
        let answer = self.query(sql);
        answer.failure.unwrap_or_else(|| panic!("{sql}: succeeded"))
    }

    /// Runs the unnamed statement with text parameters; the rows.
    #[track_caller]
    pub fn extended(&mut self, sql: &str, parameters: &[&str]) -> String {
        self.send(&[parse("", sql), bind("", "", parameters), execute("", 0), sync()].concat());
        let answer = self.answer();
        assert_eq!(answer.failure, None, "{sql}");
        answer.text()
    }

    /// Prepares a named statement.
    #[track_caller]
    pub fn prepare(&mut self, name: &str, sql: &str) {
        self.send(&[parse(name, sql), sync()].concat());
        let answer = self.answer();
        assert_eq!((answer.failure, &*answer.tags), (None, "1Z"), "{sql}");
    }

    /// Executes a named statement.
    pub fn execute(&mut self, name: &str, parameters: &[&str]) -> Answer {
        self.send(&[bind("", name, parameters), describe_portal(""), execute("", 0), sync()].concat());
        self.answer()
    }

    pub fn send_query(&mut self, sql: &str) {
        let mut out = Vec::new();
        write::query(&mut out, sql.as_bytes());
        self.send(&out);
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // An error shows when the answer is read.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads up to a ReadyForQuery, or to the end of the connection.
    pub fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        while let Some(message) = self.message() {
            if matches!(message.tag, 'N' | 'A' | 'S' | 'R' | 'K') {
                continue;
            }
            answer.tags.push(message.tag);
            match message.tag {
                'D' => answer.rows.push(row(&message.body)),
                // Of COPY, each message a row of one column.
                'd' => answer.rows.push(vec![Some(String::from_utf8_lossy(&message.body).into_owned())]),
                'C' => answer.complete.push(texts(&message.body).swap_remove(0)),
                'E' => answer.failure = Some(failure(&message.body)),
                'Z' => {
                    answer.status = Some(message.body[0] as char);
                    return answer;
                }
                _ => {}
            }
        }
        answer
    }

    /// Reads one message; `None` at the end of the connection.
    pub fn message(&mut self) -> Option<Message> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().expect("four bytes")) as usize;
                if self.buffer.len() > length {
                    let whole: Vec<u8> = self.buffer.drain(..=length).collect();
                    let message = Message { tag: whole[0] as char, body: whole[5..].to_vec() };
                    self.note(&message);
                    return Some(message);
                }
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no answer"),
                Err(_) => return None,
            }
        }
    }

    /// Reads up to a message of type `tag`.
    pub fn read_to(&mut self, tag: char) -> Message {
        loop {
            let message = self.message().unwrap_or_else(|| panic!("the connection ended before {tag}"));
            if message.tag == tag {
                return message;
            }
        }
    }

    fn note(&mut self, message: &Message) {
        match message.tag {
            'S' => {
                let texts = texts(&message.body);
                self.reported.insert(texts[0].clone(), texts[1].clone());
            }
            'K' => {
                self.pid = i32::from_be_bytes(message.body[..4].try_into().expect("four bytes"));
                self.key = message.body[4..].to_vec();
            }
            'N' => self.notices.push(failure(&message.body)),
            'A' => {
                let texts = texts(&message.body[4..]);
                self.notifications.push((texts[0].clone(), texts[1].clone()));
            }
            _ => {}
        }
    }

    /// Sends a CancelRequest and waits until the other side closed its connection, as libpq does.
    pub fn cancel(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("somebody listens");
        let length = 12 + self.key.len() as i32;
        let parts = [&length.to_be_bytes()[..], &80_877_102i32.to_be_bytes(), &self.pid.to_be_bytes()];
        stream.write_all(&[&parts.concat()[..], &self.key].concat()).expect("it is read");
        let _ = stream.read(&mut [0]);
    }

    /// Says goodbye.
    pub fn terminate(mut self) {
        self.send(b"X\0\0\0\x04");
    }

    /// Ends as a killed process does: the kernel says FIN.
    pub fn kill(self) {
        drop(self);
    }

    /// Ends as a machine that has forgotten the connection does: RST.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("it is TCP");
    }
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', |body| {
        body.extend([name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat());
    })
}

/// All parameters and results as text.
pub fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    message(b'B', |body| {
        body.extend([portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat());
        body.extend((parameters.len() as i16).to_be_bytes());
        for value in parameters {
            body.extend((value.len() as i32).to_be_bytes());
            body.extend(value.as_bytes());
        }
        body.extend([0, 0]);
    })
}

pub fn describe_portal(name: &str) -> Vec<u8> {
    message(b'D', |body| body.extend([b"P", name.as_bytes(), b"\0"].concat()))
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    message(b'D', |body| body.extend([b"S", name.as_bytes(), b"\0"].concat()))
}

pub fn execute(portal: &str, most: i32) -> Vec<u8> {
    message(b'E', |body| {
        body.extend([portal.as_bytes(), b"\0"].concat());
        body.extend(most.to_be_bytes());
    })
}

pub fn close_statement(name: &str) -> Vec<u8> {
    message(b'C', |body| body.extend([b"S", name.as_bytes(), b"\0"].concat()))
}

pub fn sync() -> Vec<u8> {
    message(b'S', |_| {})
}

pub fn flush() -> Vec<u8> {
    message(b'H', |_| {})
}

pub fn copy_data(data: &str) -> Vec<u8> {
    message(b'd', |body| body.extend(data.as_bytes()))
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', |_| {})
}

fn message(tag: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    fill(&mut body);
    [&[tag][..], &(body.len() as i32 + 4).to_be_bytes(), &body].concat()
}

fn texts(body: &[u8]) -> Vec<String> {
    body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn failure(body: &[u8]) -> Failure {
    let fields = texts(body);
    let field = |code: char| {
        fields.iter().find_map(|field| field.strip_prefix(code)).map(str::to_owned).unwrap_or_default()
    };
    Failure { severity: field('V'), code: field('C'), message: field('M'), hint: field('H') }
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, tail)) = rest.split_at_checked(4) {
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let (value, tail) = tail.split_at(length.max(0) as usize);
        values.push((length >= 0).then(|| String::from_utf8_lossy(value).into_owned()));
        rest = tail;
    }
    values
}
