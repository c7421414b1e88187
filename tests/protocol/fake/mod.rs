//! A little model of a PostgreSQL server's session: the protocol's states, not its data.

mod copy;
mod extended;
mod malformed;
mod run;
pub mod settings;
pub mod sql;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bellwether::wire::frame::{Body, HEAD, Head};
use bellwether::wire::write;

use self::settings::Settings;
use self::sql::Statement;

/// What all servers of one cluster share: the rows of table `t`.
pub type Database = Rc<RefCell<Vec<String>>>;

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Idle,
    Block,
    Failed,
}

/// One server session.
pub struct Fake {
    /// What came from the frontend, one word a message.
    pub log: Vec<String>,
    /// The connection was closed by the server.
    pub closed: bool,
    /// The client said goodbye.
    pub terminated: bool,
    /// A NOTICE follows every message.
    pub noisy: bool,
    /// Takes requests and answers nothing.
    pub stalled: bool,
    /// Does so from the next probe on.
    pub stalled_at_probe: bool,
    /// Does so from the next Query that sets something by a function.
    pub stalled_at_settings: bool,
    /// Code and routine of the error that `select * from t` meets, and how many rows it returns before.
    pub refuses: Option<(&'static str, &'static str, usize)>,
    /// DISCARD ALL fails.
    pub refuses_discard: bool,
    database: Database,
    input: Vec<u8>,
    /// Written, but not sent before the next flush.
    buffered: Vec<u8>,
    sent: Vec<u8>,
    pub settings: Settings,
    /// OID of the type that the parameter of `select $1` is found to have.
    pub finds: u32,
    /// One that it cannot have: a Parse that gives it is refused.
    pub lacks: u32,
    pub status: Status,
    /// A transaction is open, if only an implicit one.
    open: bool,
    /// Rows inserted in it.
    inserted: Vec<String>,
    /// The transaction may not write.
    read_only: bool,
    /// Rows for each savepoint.
    savepoints: Vec<(String, usize)>,
    skipping: bool,
    pub prepared: BTreeMap<String, Prepared>,
    pub unnamed: Option<Prepared>,
    portals: BTreeMap<String, Portal>,
    copying: Option<Copying>,
    pub leftovers: Leftovers,
}

/// State that lives in one session only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub temp: Vec<String>,
    pub locks: usize,
    pub listening: bool,
    pub cursors: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Prepared {
    text: String,
    statement: Option<Statement>,
    /// Made by SQL PREPARE.
    pub by_sql: bool,
    outdated: bool,
    /// OIDs of its parameters' types.
    types: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Portal {
    statement: Option<Statement>,
    values: Vec<String>,
    given: usize,
    done: bool,
}

struct Copying {
    rows: usize,
    extended: bool,
    /// Statements of the same Query that come after.
    rest: VecDeque<(String, Statement)>,
}

/// Code, message and routine of an error.
#[derive(Debug)]
struct Failure(&'static str, String, &'static str);

impl Failure {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Failure(code, message.into(), "fake")
    }
}

impl Fake {
    pub fn new(database: Database, startup: &[(&str, &str)], standby: bool) -> Self {
        Fake {
            log: Vec::new(),
            closed: false,
            terminated: false,
            noisy: false,
            stalled: false,
            stalled_at_probe: false,
            stalled_at_settings: false,
            refuses: None,
            refuses_discard: false,
            database,
            input: Vec::new(),
            buffered: Vec::new(),
            sent: Vec::new(),
            settings: Settings::new(startup, standby),
            finds: 25,
            lacks: 0,
            status: Status::Idle,
            open: false,
            inserted: Vec::new(),
            read_only: false,
            savepoints: Vec::new(),
            skipping: false,
            prepared: BTreeMap::new(),
            unnamed: None,
            portals: BTreeMap::new(),
            copying: None,
            leftovers: Leftovers::default(),
        }
    }

    /// Takes bytes of the frontend.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.closed
            && let Some(head) = Head::read(&self.input).expect("we send honest lengths")
            && self.input.len() >= head.total
        {
            let message: Vec<u8> = self.input.drain(..head.total).collect();
            self.message(message[0], &message[HEAD..]);
        }
    }

    /// Takes what is on its way to the frontend.
    pub fn send(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Tells whether everything received was a whole message.
    pub fn between_messages(&self) -> bool {
        self.input.is_empty()
    }

    /// Sends `bytes` at once, out of turn.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
    }

    /// Makes every plan on table `t` out of date.
    pub fn outdate(&mut self) {
        for prepared in self.prepared.values_mut().chain(&mut self.unnamed) {
            prepared.outdated = prepared.statement == Some(Statement::Table);
        }
    }

    /// Takes the log.
    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        if let Some(failure) = malformed::refusal(tag, body) {
            return self.refuse_unread(tag, &failure);
        }
        self.log.push(show(tag, body));
        let last = self.log.last().map_or("", |last| last);
        self.stalled |= self.stalled_at_probe && last == "Q:<probe>";
        self.stalled |= self.stalled_at_settings && last.starts_with("Q:SELECT pg_catalog.set_config");
        if self.stalled {
            return;
        }
        if self.copying.is_some() {
            return self.copy_message(tag, body);
        }
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return;
        }
        match tag {
            b'Q' => self.query(&string(body)),
            b'F' => self.function_call(body),
            b'S' => self.sync(),
            b'X' => (self.closed, self.terminated) = (true, true),
            b'H' => self.flush(),
            b'd' | b'c' | b'f' => {}
            _ => {
                self.open = true;
                if let Err(failure) = self.extended(tag, body) {
                    self.fail(&failure);
                    self.skipping = true;
                }
            }
        }
    }

    /// Deals with a message that cannot be read.
    fn refuse_unread(&mut self, tag: u8, failure: &Failure) {
        self.log.push(format!("{}:malformed", tag as char));
        assert!(self.copying.is_none(), "not modelled: malformed messages in a COPY");
        if self.skipping || self.stalled {
            return;
        }
        self.fail(failure);
        match tag {
            b'Q' => self.ready(),
            _ => self.skipping = true,
        }
    }

    fn sync(&mut self) {
        self.skipping = false;
        if self.status == Status::Idle {
            self.end(true);
        }
        self.ready();
    }

    fn function_call(&mut self, body: &[u8]) {
        if self.status == Status::Failed {
            self.fail(&aborted());
        } else if body.starts_with(&[0; 4]) {
            self.fail(&Failure::new("42883", "function with OID 0 does not exist"));
        } else {
            self.emit(b'V', |body| body.extend_from_slice(&(-1i32).to_be_bytes()));
            if self.status == Status::Idle {
                self.end(true);
            }
        }
        self.ready();
    }

    /// Reports an error, and fails the transaction.
    fn fail(&mut self, Failure(code, message, routine): &Failure) {
        self.copying = None;
        self.emit(b'E', |body| {
            for (field, text) in
                [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', code), (b'M', message), (b'R', *routine)]
            {
                body.push(field);
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
            body.push(0);
        });
        // PostgreSQL sends what it has when an error is reported.
        self.flush();
        match self.status {
            Status::Idle => self.end(false),
            _ => self.status = Status::Failed,
        }
    }

    /// Ends the transaction, explicit or not.
    fn end(&mut self, commit: bool) {
        self.status = Status::Idle;
        self.open = false;
        self.read_only = false;
        self.portals.clear();
        self.savepoints.clear();
        self.settings.end(commit);
        let inserted = std::mem::take(&mut self.inserted);
        if commit {
            self.database.borrow_mut().extend(inserted);
        }
    }

    fn ready(&mut self) {
        for (name, value) in self.settings.changed() {
            self.emit(b'S', |body| {
                body.extend_from_slice(name.as_bytes());
                body.push(0);
                body.extend_from_slice(value.as_bytes());
                body.push(0);
            });
        }
        let status = match self.status {
            Status::Idle => b'I',
            Status::Block => b'T',
            Status::Failed => b'E',
        };
        self.emit(b'Z', |body| body.push(status));
        self.flush();
    }

    fn complete(&mut self, tag: &str) {
        write::command_complete(&mut self.buffered, tag);
        self.noise();
    }

    fn emit(&mut self, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        write::message(&mut self.buffered, tag, fill);
        self.noise();
    }

    fn noise(&mut self) {
        if self.noisy {
            self.buffered.extend_from_slice(&notice("noise"));
        }
    }

    fn flush(&mut self) {
        self.sent.append(&mut self.buffered);
    }
}

/// A NoticeResponse.
pub fn notice(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write::message(&mut out, b'N', |body| {
        body.extend_from_slice(format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0").as_bytes());
    });
    out
}

/// A NotificationResponse.
pub fn notification(channel: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write::message(&mut out, b'A', |body| {
        body.extend_from_slice(&7u32.to_be_bytes());
        body.extend_from_slice(format!("{channel}\0\0").as_bytes());
    });
    out
}

fn aborted() -> Failure {
    Failure::new("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

fn string(body: &[u8]) -> String {
    String::from_utf8_lossy(Body::new(body).cstr().expect("a string")).into_owned()
}

fn strings<const N: usize>(body: &mut Body<'_>) -> [String; N] {
    [(); N].map(|()| String::from_utf8_lossy(body.cstr().expect("a string")).into_owned())
}

/// Reads how many types there are, and their OIDs.
fn types(body: &mut Body<'_>) -> Vec<u32> {
    (0..body.u16().expect("a count")).map(|_| body.i32().expect("a type") as u32).collect()
}

/// Shortens long texts in the log.
fn short(text: &str) -> String {
    if text == bellwether::session::pins::PROBE {
        "<probe>".into()
    } else if text.len() > 1000 {
        format!("<{} bytes>", text.len())
    } else {
        text.into()
    }
}

fn show(tag: u8, body: &[u8]) -> String {
    let mut reader = Body::new(body);
    match tag {
        b'Q' => format!("Q:{}", short(&string(body))),
        b'P' => {
            let [name, text] = strings(&mut reader);
            let types = types(&mut reader);
            let given = if types.is_empty() { String::new() } else { format!("{types:?}") };
            format!("P:{name}:{}{given}", short(&text))
        }
        b'B' => {
            let [portal, name] = strings(&mut reader);
            format!("B:{portal}:{name}")
        }
        b'E' => {
            let [portal] = strings(&mut reader);
            format!("E:{portal}")
        }
        b'D' | b'C' => format!("{}:{}{}", tag as char, body[0] as char, string(&body[1..])),
        _ => (tag as char).to_string(),
    }
}
