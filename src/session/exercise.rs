//! Drives one session by arbitrary bytes: what a client says, what a server answers, and what becomes of both. For
//! fuzz targets and their replay.

use super::frontend::WHOLE_MESSAGE;
use super::machine::{BackendStep, Context, FrontendStep, PoolMode, Session};
use super::outbox::Outbox;
use super::parameters::Settings;
use super::pipeline::{Internal, Request};
use super::reported::Reported;
use super::server::ServerState;
use super::statements::StatementTable;
use super::{Parting, Question};
use crate::pg::SqlState;
use crate::sql::{Classifier, SearchPaths};
use crate::wire::error_response::PgError;
use crate::wire::frame::Head;
use crate::wire::write;

/// Runs the operations that `data` stands for, one byte each with what it takes behind it. The first byte sets the
/// session up.
///
/// Panics when the machine does, when it takes more bytes than it was shown, when it gives a server back within a
/// message, or when it makes no progress.
pub fn operations(data: &[u8]) {
    let (setup, mut rest) = data.split_first().map_or((0, data), |(setup, rest)| (*setup, rest));
    let mut shell = Shell::new(setup);
    // Long inputs tell nothing that short ones do not.
    for _ in 0..MOST_OPERATIONS {
        let Some((operation, after)) = rest.split_first() else { return };
        rest = after;
        let mut next = || {
            let (byte, after) = rest.split_first().map_or((0, rest), |(byte, after)| (*byte, after));
            rest = after;
            byte
        };
        match operation % 8 {
            0 => {
                let count = usize::from(next()).min(rest.len());
                shell.from_client.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
            1 | 2 => shell.client_says(next()),
            3 => {
                let count = usize::from(next()).min(rest.len());
                shell.from_server.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
            4..=6 => shell.server_answers(next()),
            _ => match next() % 16 {
                0 if !shell.lose_server() => return,
                0 => {}
                1 => return shell.leave(),
                _ => shell.session.answers_sent(),
            },
        }
        if !shell.settle() {
            return;
        }
    }
}

const MOST_OPERATIONS: usize = 2000;

const TEXTS: [&str; 20] = [
    "",
    "select 1",
    "select $1",
    "begin",
    "commit",
    "rollback",
    "rollback to s",
    "savepoint s",
    "set search_path = 'x'",
    "set local a.x = '1'",
    "reset all",
    "select set_config($1, $2, false)",
    "discard all",
    "deallocate all",
    "deallocate s",
    "execute s",
    "prepare s as select 1",
    "create temp table x (a int)",
    "copy t from stdin",
    "select f(); select pg_advisory_lock(1)",
];

const NAMES: [&[u8]; 4] = [b"", b"s", b"t", b"bellwether_0_1"];

struct Shell {
    session: Session,
    server: Option<ServerState>,
    classifier: Classifier,
    paths: SearchPaths,
    statements: StatementTable,
    limit: usize,
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    to_client: Outbox,
    to_server: Outbox,
    /// What the server got and has not been cut into messages yet.
    unread: Vec<u8>,
}

impl Shell {
    fn new(setup: u8) -> Self {
        let startup = (setup & 1 != 0).then(|| ("search_path".to_string(), "mine".to_string()));
        let mode = if setup & 2 != 0 { PoolMode::Session } else { PoolMode::Transaction };
        let startup = std::sync::Arc::new(Settings::new(startup));
        Shell {
            session: Session::new(mode, startup, Reported::default()),
            server: None,
            paths: SearchPaths::default(),
            classifier: Classifier::new(64, 64 << 10),
            statements: StatementTable::new(0),
            limit: 1 + usize::from(setup >> 6),
            from_client: Vec::new(),
            from_server: Vec::new(),
            to_client: Outbox::default(),
            to_server: Outbox::default(),
            unread: Vec::new(),
        }
    }

    /// The client says something that is well-formed.
    fn client_says(&mut self, choice: u8) {
        let out = &mut self.from_client;
        let name = NAMES[usize::from(choice >> 6)];
        let text = TEXTS[usize::from(choice) % TEXTS.len()].as_bytes();
        let about = |out: &mut Vec<u8>, tag, kind| {
            write::message(out, tag, |body| {
                body.push(kind);
                body.extend_from_slice(name);
                body.push(0);
            });
        };
        match choice % 13 {
            0 | 1 => write::query(out, text),
            2 | 3 => write::parse(out, name, text, b""),
            4 | 5 => write::bind(out, name),
            6 => write::execute(out),
            7 => write::sync(out),
            8 => about(out, b'D', if choice & 32 == 0 { b'S' } else { b'P' }),
            9 => about(out, b'C', if choice & 32 == 0 { b'S' } else { b'P' }),
            10 if choice & 32 == 0 => write::flush(out),
            10 => write::message(out, b'F', |body| body.extend_from_slice(&[0; 10])),
            11 => write::message(out, b'd', |body| body.extend_from_slice(text)),
            _ if choice & 32 == 0 => write::message(out, b'c', |_| {}),
            _ => write::copy_fail(out, "no"),
        }
    }

    /// The server answers what it was asked first, or fails.
    fn server_answers(&mut self, choice: u8) {
        let Some(head) = self.session.pipeline.head() else { return };
        let (request, internal) = (head.request, head.internal);
        let out = &mut self.from_server;
        let status = [b'I', b'I', b'T', b'E'][usize::from(choice & 3)];
        if choice >= 0xE0 && internal.is_none() {
            return fail(out, choice);
        }
        match request {
            Request::Parse => out.extend_from_slice(write::PARSE_COMPLETE),
            Request::Bind => out.extend_from_slice(b"2\0\0\0\x04"),
            Request::Close => out.extend_from_slice(write::CLOSE_COMPLETE),
            Request::Describe => {
                let types = [0, 1, 0, 0, 0, 20 + (choice >> 2 & 3)];
                match choice & 3 {
                    0 => {}
                    1 => write::message(out, b't', |body| body.extend_from_slice(&[0, 0])),
                    _ => write::message(out, b't', |body| body.extend_from_slice(&types)),
                }
                out.extend_from_slice(b"n\0\0\0\x04");
            }
            Request::Sync => write::ready_for_query(out, status),
            Request::FunctionCall => {
                out.extend_from_slice(b"V\0\0\0\x08\xff\xff\xff\xff");
                write::ready_for_query(out, status);
            }
            Request::Query if internal == Some(Internal::Probe) => {
                let count = if choice & 4 == 0 { "0" } else { "1" };
                write::text_row(out, [count; 5].map(Some).into_iter());
                write::ready_for_query(out, b'I');
            }
            Request::Query if choice & 3 == 0 => {
                write::ready_for_query(out, b"ITEI"[usize::from(choice >> 3 & 3)])
            }
            Request::Query | Request::Execute => result(out, choice >> 2),
        }
    }

    /// Tells whether the session goes on.
    fn lose_server(&mut self) -> bool {
        if self.server.take().is_none() {
            return true;
        }
        self.from_server.clear();
        self.unread.clear();
        self.to_server = Outbox::default();
        self.session.server_lost(None, &mut self.to_client).is_ok()
    }

    fn leave(&mut self) {
        if self.session.part(&mut self.to_server) != Parting::Clean {
            return;
        }
        self.from_client.clear();
        for _ in 0..4 {
            self.server_answers(1);
            self.backend();
            if self.server.is_none() {
                return;
            }
        }
    }

    /// Shows both sides what there is until nothing moves; tells whether the session goes on.
    fn settle(&mut self) -> bool {
        for _ in 0..10_000 {
            let (used, step) = self.frontend();
            let moved = match step {
                FrontendStep::NeedInput | FrontendStep::Busy => used > 0,
                FrontendStep::NeedServer(_) => {
                    let mut server = ServerState::new(Vec::new());
                    self.session.attach(&mut server, &mut self.to_server);
                    self.server = Some(server);
                    true
                }
                FrontendStep::Ask(question) => {
                    if question != Question::Catalog {
                        self.session.tell("told");
                    }
                    true
                }
                FrontendStep::Terminate | FrontendStep::Violation(_) => return false,
            };
            match self.backend() {
                None if !moved => return true,
                None | Some(true) => {}
                Some(false) => return false,
            }
        }
        panic!("the machine does not come to rest");
    }

    fn frontend(&mut self) -> (usize, FrontendStep) {
        let mut context = Context {
            classifier: &mut self.classifier,
            statements: &mut self.statements,
            catalog: None,
            paths: &mut self.paths,
            schema_generation: 0,
            prepared_limit: self.limit,
            split: true,
            keeps_sequences: false,
        };
        let (used, step) = self.session.frontend(
            &self.from_client,
            self.server.as_mut(),
            &mut context,
            &mut self.to_server,
            &mut self.to_client,
        );
        assert!(used <= self.from_client.len());
        self.to_server.settle(&self.from_client);
        self.from_client.drain(..used);
        self.flush();
        (used, step)
    }

    /// Tells whether the session goes on, or `None` when nothing moved.
    fn backend(&mut self) -> Option<bool> {
        let server = self.server.as_mut()?;
        let (used, step) =
            self.session.backend(&self.from_server, server, &mut self.to_client, &mut self.to_server);
        assert!(used <= self.from_server.len());
        self.to_client.settle(&self.from_server);
        self.from_server.drain(..used);
        self.flush();
        match step {
            BackendStep::NeedInput => (used > 0).then_some(true),
            BackendStep::Release => {
                assert!(self.unread.is_empty(), "a server was given back within a message");
                let mut server = self.server.take()?;
                self.session.detach(&mut server);
                self.from_server.clear();
                Some(true)
            }
            BackendStep::Replay => {
                let requests = self.session.take_replay();
                self.from_client.splice(..0, requests);
                Some(true)
            }
            BackendStep::RunElsewhere(_) => {
                let mut server = self.server.take()?;
                self.session.detach(&mut server);
                self.from_server.clear();
                let requests = self.session.take_replay();
                self.from_client.splice(..0, requests);
                Some(true)
            }
            BackendStep::Lost(_) => Some(self.lose_server()),
            BackendStep::Fatal(_) => Some(false),
        }
    }

    /// Sends what waits for either side.
    fn flush(&mut self) {
        let waiting = self.to_client.len();
        self.to_client.advance(waiting);
        if waiting > 0 {
            self.session.answers_sent();
        }
        let (own, through) = self.to_server.slices(&[]);
        self.unread.extend_from_slice(own);
        self.unread.extend_from_slice(through);
        let sent = self.to_server.len();
        self.to_server.advance(sent);
        while let Some(head) = Head::read(&self.unread).expect("lengths we send are honest") {
            if head.total > self.unread.len() {
                assert!(
                    head.total <= 2 * WHOLE_MESSAGE
                        || !self.from_client.is_empty()
                        || self.session.passing > 0
                );
                return;
            }
            self.unread.drain(..head.total);
        }
    }
}

fn result(out: &mut Vec<u8>, choice: u8) {
    match choice % 8 {
        0 => write::text_row(out, [Some("x")].into_iter()),
        1 => out.extend_from_slice(b"s\0\0\0\x04"),
        2 => out.extend_from_slice(b"I\0\0\0\x04"),
        3 => out.extend_from_slice(b"G\0\0\0\x07\0\0\0"),
        4 => write::parameter_status(out, b"TimeZone", &[b'a' + choice / 8]),
        5 => PgError::error(SqlState::INTERNAL_ERROR, "by the way").write_notice(out),
        _ => write::command_complete(
            out,
            ["SELECT 1", "SET", "ROLLBACK", "COMMIT"][usize::from(choice >> 3 & 3)],
        ),
    }
}

fn fail(out: &mut Vec<u8>, choice: u8) {
    let missing = "prepared statement \"bellwether_0_1\" does not exist";
    match choice % 4 {
        0 => PgError::error(SqlState::SYNTAX_ERROR, "syntax error").write(out),
        1 if choice & 4 == 0 => PgError::error(SqlState::SERIALIZATION_FAILURE, "conflict").write(out),
        1 => PgError::error(SqlState::INVALID_SQL_STATEMENT_NAME, missing).write(out),
        2 => write::message(out, b'E', |body| {
            body.extend_from_slice(b"SERROR\0VERROR\0C0A000\0Mold\0RRevalidateCachedQuery\0\0");
        }),
        _ if choice >= 0xFC => PgError::fatal(SqlState::ADMIN_SHUTDOWN, "bye").write(out),
        _ => PgError::error(SqlState::QUERY_CANCELED, "canceled").write(out),
    }
}
