//! A frontend that says exactly what a test wants, byte for byte, over any stream.
//!
//! It shares no code with the proxy: what it takes for the protocol is written down here a second time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Protocol 3.0 as the startup packet says it.
pub const V3_0: u32 = 3 << 16;
/// Code of the request for TLS.
pub const SSL_REQUEST: u32 = 80_877_103;
/// Code of the request for GSSAPI encryption.
pub const GSSENC_REQUEST: u32 = 80_877_104;
/// Code of a cancel request.
pub const CANCEL_REQUEST: u32 = 80_877_102;

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: char,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse, by its letter.
    pub fn field(&self, letter: u8) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        fields.filter(|field| field.first() == Some(&letter)).map(|field| text(&field[1..])).next()
    }

    /// SQLSTATE and text of an error.
    pub fn error(&self) -> (String, String) {
        assert_eq!(self.tag, 'E', "not an error: {self:?}");
        (self.field(b'C').unwrap_or_default(), self.field(b'M').unwrap_or_default())
    }
}

/// A connection.
pub struct Raw<S> {
    pub stream: S,
}

/// What a client was told when it was let in.
#[derive(Debug, Default)]
pub struct Greeting {
    pub pid: i32,
    pub key: Vec<u8>,
    pub parameters: Vec<(String, String)>,
    pub negotiated: Option<Vec<u8>>,
}

impl Raw<TcpStream> {
    /// Connects over TCP and says nothing yet. No read waits longer than a test is willing to.
    pub fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens there");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Raw { stream }
    }

    /// Connects as `demo`, whom a rule of method `password` or `trust` lets in.
    pub fn demo(port: u16) -> Self {
        Self::demo_greeted(port).0
    }

    /// The same with what it was told.
    pub fn demo_greeted(port: u16) -> (Self, Greeting) {
        let mut raw = Self::tcp(port);
        raw.send(&startup(V3_0, &[("user", "demo"), ("database", "demo")]));
        let greeting = raw.greeted("demo");
        (raw, greeting)
    }
}

impl<S: Read + Write> Raw<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other side still reads");
    }

    pub fn say(&mut self, messages: &[&[u8]]) {
        self.send(&messages.concat());
    }

    /// The next message; an error at the end of the connection.
    pub fn try_read(&mut self) -> io::Result<Message> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Message { tag: head[0].into(), body })
    }

    pub fn read(&mut self) -> Message {
        self.try_read().expect("a message")
    }

    /// Everything up to the next ReadyForQuery, and that.
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.last().is_none_or(|last: &Message| last.tag != 'Z') {
            messages.push(self.read());
        }
        messages
    }

    /// The tags of all that comes up to the next ReadyForQuery, and its status.
    pub fn tags(&mut self) -> String {
        let messages = self.until_ready();
        let status = messages.last().map(|ready| char::from(ready.body[0]));
        messages.iter().map(|message| message.tag).chain(status).collect()
    }

    /// Runs one Query and returns the tags of its answer.
    pub fn query(&mut self, sql: &str) -> String {
        self.send(&query(sql));
        self.tags()
    }

    /// Runs one Query and returns the first column of its first row.
    pub fn value(&mut self, sql: &str) -> String {
        self.send(&query(sql));
        let messages = self.until_ready();
        let row = messages.iter().find(|message| message.tag == 'D');
        let row = &row.unwrap_or_else(|| panic!("no row: {messages:?}")).body;
        text(&row[6..])
    }

    /// Goes through a login by clear-text password (or none) up to the first ReadyForQuery.
    pub fn greeted(&mut self, secret: &str) -> Greeting {
        let mut greeting = Greeting::default();
        loop {
            let message = self.read();
            match message.tag {
                'R' if message.body == [0, 0, 0, 3] => self.send(&password(secret)),
                'R' => assert_eq!(message.body, [0, 0, 0, 0], "AuthenticationOk"),
                'v' => greeting.negotiated = Some(message.body),
                'S' => {
                    let mut parts = message.body.split(|byte| *byte == 0).map(text);
                    greeting.parameters.extend(parts.next().zip(parts.next()));
                }
                'K' => {
                    greeting.pid = i32::from_be_bytes(message.body[..4].try_into().expect("four bytes"));
                    greeting.key = message.body[4..].to_vec();
                }
                'Z' => return greeting,
                _ => panic!("{message:?}, error {:?}", message.field(b'M')),
            }
        }
    }

    /// Asserts that the other side closes without another word.
    pub fn closed(&mut self) {
        match self.try_read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("it stays open"),
            Err(_) => {}
            Ok(message) => panic!("not the end: {message:?}"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A message with its tag.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a test's message is short");
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// A packet without a tag, as the first ones are.
pub fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("a test's packet is short");
    [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    packet(version, &body)
}

pub fn cancel(pid: i32, key: &[u8]) -> Vec<u8> {
    packet(CANCEL_REQUEST, &[&pid.to_be_bytes(), key].concat())
}

pub fn password(secret: &str) -> Vec<u8> {
    message(b'p', format!("{secret}\0").as_bytes())
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// Binds text parameters, and asks for text.
pub fn bind(portal: &str, statement: &str, parameters: &[&[u8]]) -> Vec<u8> {
    let count = u16::try_from(parameters.len()).expect("few parameters");
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend_from_slice(&count.to_be_bytes());
    for parameter in parameters {
        body.extend_from_slice(&u32::try_from(parameter.len()).expect("a short parameter").to_be_bytes());
        body.extend_from_slice(parameter);
    }
    body.extend_from_slice(&[0, 0]);
    message(b'B', &body)
}

pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{kind}{name}\0").as_bytes())
}

/// Executes a portal; 0 rows means all.
pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[format!("{portal}\0").as_bytes(), &rows.to_be_bytes()].concat())
}

pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

pub fn copy_fail(why: &str) -> Vec<u8> {
    message(b'f', format!("{why}\0").as_bytes())
}

pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// Calls a function by its OID with binary arguments, for a binary result.
pub fn function_call(function: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = function.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 1, 0, 1]);
    body.extend_from_slice(&u16::try_from(arguments.len()).expect("few arguments").to_be_bytes());
    for argument in arguments {
        body.extend_from_slice(&u32::try_from(argument.len()).expect("a short argument").to_be_bytes());
        body.extend_from_slice(argument);
    }
    body.extend_from_slice(&[0, 1]);
    message(b'F', &body)
}
