//! One client: writes a number, reads it back, and goes on whatever happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Error, NoTls};

use super::Shared;
use super::ledger::{Fate, Kind};

/// A pause after each pair of statements, so that a demo does not take the whole machine.
const THINKING: Duration = Duration::from_millis(2);

/// After a failure to connect.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// A client waits no longer than this for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Client {
    shared: Arc<Shared>,
    /// Runs while this many are wanted.
    slot: usize,
    number: u32,
    session: Option<Session>,
    connected: usize,
    n: u64,
    /// The highest number of this session that was acknowledged.
    seen: u64,
}

/// A connection and the task that moves its bytes.
struct Session {
    client: tokio_postgres::Client,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub fn new(shared: Arc<Shared>, slot: usize, number: u32) -> Self {
        Client { shared, slot, number, session: None, connected: number as usize, n: 0, seen: 0 }
    }

    pub async fn run(mut self) {
        while self.goes_on() {
            self.until_done(Kind::Write).await;
            if self.goes_on() {
                self.until_done(Kind::Read).await;
            }
            tokio::time::sleep(THINKING).await;
        }
    }

    fn goes_on(&self) -> bool {
        self.shared.wants(self.slot)
    }

    /// Tries until one statement of the kind succeeds, and notes how long that took.
    async fn until_done(&mut self, kind: Kind) {
        let began = Instant::now();
        loop {
            let done = match kind {
                Kind::Write => self.write().await,
                Kind::Read => self.read().await,
            };
            if done {
                return self.shared.ledger().waited(kind, began.elapsed());
            }
            if !self.goes_on() {
                return;
            }
        }
    }

    /// Writes the next number, every second one within a transaction block; true when it was acknowledged.
    async fn write(&mut self) -> bool {
        if !self.connect().await {
            return false;
        }
        let Some(session) = &mut self.session else { return false };
        self.n += 1;
        let row = (self.number, self.n);
        let insert = format!("INSERT INTO bellwether_workload VALUES ({}, {})", row.0, row.1);
        let attempt = async {
            if row.1 % 2 == 1 {
                return session.client.batch_execute(&insert).await.map_err(|error| (error, true));
            }
            let certain = |error: Error| (error, false);
            let transaction = session.client.transaction().await.map_err(certain)?;
            transaction.batch_execute(&insert).await.map_err(certain)?;
            transaction.commit().await.map_err(|error| (error, true))
        };
        let outcome = tokio::time::timeout(PATIENCE, attempt).await;
        let (fate, error) = match outcome {
            Ok(Ok(())) => (Fate::Acknowledged, None),
            Ok(Err((error, may_be_done))) => {
                let doubtful = may_be_done && is_doubtful(&error);
                (if doubtful { Fate::Unknown } else { Fate::Failed }, Some(error))
            }
            Err(_) => {
                self.session = None;
                self.shared.ledger().error("timeout");
                (Fate::Unknown, None)
            }
        };
        let acknowledged = fate == Fate::Acknowledged;
        self.shared.ledger().wrote(Instant::now(), row, fate);
        if acknowledged {
            self.seen = self.n;
        }
        if let Some(error) = error {
            self.failed(&error);
        }
        acknowledged
    }

    /// Reads the highest number of this client; true when there was an answer.
    async fn read(&mut self) -> bool {
        if !self.connect().await {
            return false;
        }
        let Some(session) = &self.session else { return false };
        let select = format!("SELECT max(n) FROM bellwether_workload WHERE client = {}", self.number);
        match tokio::time::timeout(PATIENCE, session.client.query_one(&select, &[])).await {
            Ok(Ok(row)) => {
                let highest = row.try_get::<_, Option<i64>>(0).ok().flatten().unwrap_or(0).unsigned_abs();
                self.shared.ledger().read(highest < self.seen);
                true
            }
            Ok(Err(error)) => {
                self.failed(&error);
                false
            }
            Err(_) => {
                self.session = None;
                self.shared.ledger().error("timeout");
                false
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        let code = error.code().map_or("connection", |code| code.code()).to_owned();
        self.shared.ledger().error(&code);
        if error.is_closed() || self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
        }
    }

    /// Connects to the next endpoint, if there is no connection.
    async fn connect(&mut self) -> bool {
        if self.session.as_ref().is_some_and(|session| !session.client.is_closed()) {
            return true;
        }
        let endpoint = &self.shared.endpoints[self.connected % self.shared.endpoints.len()];
        self.connected += 1;
        match tokio::time::timeout(PATIENCE, tokio_postgres::connect(endpoint, NoTls)).await {
            Ok(Ok((client, connection))) => {
                let connection = tokio::spawn(async move {
                    // Its end reaches us as the failure of the next statement.
                    let _ = connection.await;
                });
                self.session = Some(Session { client, connection });
                // What another session saw, this one need not.
                self.seen = 0;
                true
            }
            Ok(Err(error)) => {
                self.failed(&error);
                tokio::time::sleep(AFTER_REFUSAL).await;
                false
            }
            Err(_) => false,
        }
    }
}

/// Whether a write that ended with this error may have been done all the same: the outcome is unknown by its own
/// words, or the connection ended under it.
fn is_doubtful(error: &Error) -> bool {
    match error.code().map(|code| code.code()) {
        None => true,
        Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "40003",
    }
}
