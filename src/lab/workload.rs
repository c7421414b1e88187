//! Clients that write numbered rows and read them back, and know afterwards what became of each.
//!
//! Each number is written once and never again, whatever became of it: so "acknowledged means present, and nothing is
//! there twice" can be checked against the table.

mod client;
mod ledger;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::client::Client;
pub use self::ledger::{Kind, Progress, Report};
use self::ledger::{Ledger, Row};
use super::{Cluster, Error, psql};

/// The table, in database `demo`. No key: what is written twice shall be there twice.
const TABLE: &str = "\
CREATE TABLE IF NOT EXISTS bellwether_workload (client int NOT NULL, n bigint NOT NULL);
CREATE INDEX IF NOT EXISTS bellwether_workload_n ON bellwether_workload (client, n);
TRUNCATE bellwether_workload";

/// Running clients. Dropping it stops them.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the clients and their owner share.
#[derive(Debug)]
struct Shared {
    endpoints: Vec<String>,
    /// How many clients shall run; those with a higher number end.
    wanted: AtomicUsize,
    ledger: Mutex<Ledger>,
}

/// How often the number of clients is looked at.
const LOOK: Duration = Duration::from_millis(20);

impl Workload {
    /// Makes the table through the first endpoint and starts `clients`, spread over the endpoints.
    pub fn start(cluster: &Cluster, endpoints: Vec<String>, clients: usize) -> Result<Workload, Error> {
        let first = endpoints.first().cloned().unwrap_or_default();
        for statement in TABLE.split(";\n") {
            psql::run(cluster.binaries(), "endpoint", &first, statement)?;
        }
        let shared =
            Arc::new(Shared { endpoints, wanted: AtomicUsize::new(clients), ledger: Mutex::default() });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("workload".to_owned())
            .spawn(move || run(&theirs))
            .expect("the process can start one more thread");
        Ok(Workload { shared, thread: Some(thread) })
    }

    /// Changes how many clients run. With 0 all end after what they are at.
    pub fn resize(&self, clients: usize) {
        self.shared.wanted.store(clients, Ordering::Relaxed);
    }

    /// Returns how far the clients are.
    pub fn progress(&self) -> Progress {
        self.shared.ledger().progress()
    }

    /// Compares what was acknowledged up to now with what the primary holds. The clients may go on meanwhile.
    pub fn audit(&self, cluster: &Cluster) -> Result<Report, Error> {
        // First what is known, then what is there: what is acknowledged in between is no loss.
        let mut ledger = self.shared.ledger().clone();
        let mut last = None;
        for endpoint in &self.shared.endpoints {
            match psql::run(cluster.binaries(), "endpoint", endpoint, ALL_ROWS) {
                Ok(text) => {
                    let rows: Vec<Row> = text.lines().filter_map(row).collect();
                    return Ok(ledger.audit(&rows));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is an endpoint, or nothing would have started"))
    }

    /// Stops the clients after what they are at.
    pub fn stop(&mut self) {
        self.resize(0);
        if let Some(thread) = self.thread.take() {
            self.shared.wanted.store(usize::MAX, Ordering::Relaxed);
            let _ = thread.join();
        }
    }
}

/// The hint has the primary answer, so that nothing is called lost that only is not replayed yet.
const ALL_ROWS: &str = "/* bellwether: primary */ SELECT client, n FROM bellwether_workload";

fn row(line: &str) -> Option<Row> {
    let (client, n) = line.split_once('|')?;
    Some((client.parse().ok()?, n.parse().ok()?))
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, client: usize) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        wanted != usize::MAX && client < wanted
    }

    fn is_over(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) == usize::MAX
    }
}

fn run(shared: &Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only a few descriptors");
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        // Numbers are not used again, or a client would find the rows of another.
        let mut running: Vec<(usize, tokio::task::AbortHandle)> = Vec::new();
        let mut next = 0;
        while !shared.is_over() {
            running.retain(|(_, task)| !task.is_finished());
            while running.len() < shared.wanted.load(Ordering::Relaxed).min(MOST) {
                let slot = (0..).find(|slot| running.iter().all(|(taken, _)| taken != slot)).unwrap_or(0);
                let client = Client::new(shared.clone(), slot, next);
                running.push((slot, clients.spawn(client.run())));
                next += 1;
            }
            tokio::time::sleep(LOOK).await;
        }
        while clients.join_next().await.is_some() {}
    });
}

/// More clients than this are not started.
const MOST: usize = 1000;
