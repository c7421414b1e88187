//! One client's session and one server in memory: whole transactions without sockets.

use std::sync::Arc;

use bellwether::routing::Target;
use bellwether::session::{
    BackendStep, Context, FrontendStep, Outbox, PoolMode, Reported, ServerState, Session, StatementTable,
};
use bellwether::sql::{Catalog, Classifier, Facts, Lists, SearchPaths};
use bellwether::wire::write;

/// A session, a server and what they share with others.
pub struct Bench {
    session: Session,
    server: ServerState,
    classifier: Classifier,
    catalog: Catalog,
    paths: SearchPaths,
    statements: StatementTable,
    to_server: Outbox,
    to_client: Outbox,
}

impl Bench {
    pub fn new() -> Self {
        Bench {
            session: Session::new(PoolMode::Transaction, Arc::default(), Reported::default()),
            server: ServerState::new(Vec::new()),
            classifier: Classifier::default(),
            catalog: Catalog::new(
                1,
                Facts::default().with_table("public", "pgbench_accounts"),
                Lists::default(),
            ),
            paths: SearchPaths::default(),
            statements: StatementTable::new(0),
            to_server: Outbox::default(),
            to_client: Outbox::default(),
        }
    }

    /// One request and its answer; the server is taken and given back. Returns the bytes both sides were sent.
    pub fn transaction(&mut self, request: &[u8], answer: &[u8]) -> (usize, usize) {
        let (_, step) = self.frontend(request, false);
        let FrontendStep::NeedServer(need) = step else { panic!("no server wanted: {step:?}") };
        assert_eq!(need.target, Target::Standby);
        self.session.attach(&mut self.server, &mut self.to_server);
        let (taken, _) = self.frontend(request, true);
        assert_eq!(taken, request.len());
        let to_server = sent(&mut self.to_server, request);
        let (taken, step) =
            self.session.backend(answer, &mut self.server, &mut self.to_client, &mut self.to_server);
        assert_eq!((taken, step), (answer.len(), BackendStep::Release));
        self.session.answers_sent();
        let to_client = sent(&mut self.to_client, answer);
        self.session.detach(&mut self.server);
        self.session.rest();
        self.to_server.shrink(512);
        self.to_client.shrink(512);
        (to_server, to_client)
    }

    fn frontend(&mut self, request: &[u8], attached: bool) -> (usize, FrontendStep) {
        let mut context = Context {
            classifier: &mut self.classifier,
            statements: &mut self.statements,
            catalog: Some(&self.catalog),
            paths: &mut self.paths,
            schema_generation: 1,
            prepared_limit: 100,
            split: true,
            keeps_sequences: false,
        };
        let server = attached.then_some(&mut self.server);
        self.session.frontend(request, server, &mut context, &mut self.to_server, &mut self.to_client)
    }
}

fn sent(outbox: &mut Outbox, input: &[u8]) -> usize {
    let (own, through) = outbox.slices(input);
    let length = own.len() + through.len();
    outbox.advance(length);
    length
}

/// Writes one row and the end of a statement.
pub fn row_and_end(out: &mut Vec<u8>) {
    write::text_row(out, [Some("1")].into_iter());
    write::command_complete(out, "SELECT 1");
    write::ready_for_query(out, b'I');
}

/// Returns an execution of the prepared statement of this name.
pub fn bind_execute_sync(name: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    write::bind(&mut request, name);
    write::execute(&mut request);
    write::sync(&mut request);
    request
}

/// Has the statement prepared under this name.
pub fn prepare(bench: &mut Bench, name: &[u8], sql: &[u8]) {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    write::parse(&mut request, name, sql, b"");
    write::sync(&mut request);
    answer.extend_from_slice(write::PARSE_COMPLETE);
    write::ready_for_query(&mut answer, b'I');
    bench.transaction(&request, &answer);
}
