//! Keeps the catalog of one database up to date, from the primary, as the cluster's own login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::rows::{self, Row};
use super::{DatabaseCatalog, Loaded};
use crate::pool::{Home, Patience};
use crate::proxy::ask::{self, AskError};
use crate::proxy::state::Shared;
use crate::sql::{Catalog, NeedsPrimary};
use crate::topology::NodeId;

/// How long the server may take to answer. Large catalogs need a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Loading may take up to a fifth of the time while one schema change follows the other.
const REST: u32 = 4;

/// A catalog that could not be checked for so many periods counts as out of date.
const PERIODS_UNCHECKED: u32 = 3;

/// How long a catalog that nobody uses is kept: who connects for each statement alone finds it there, with what was learned.
const KEPT_UNUSED: Duration = Duration::from_secs(60);

/// Loads the catalog, and again whenever it may have changed; ends when nobody uses it.
pub(super) async fn run(catalog: Arc<DatabaseCatalog>, shared: Arc<Shared>, home: Home) {
    let mut changes = shared.topology.changes.clone();
    let mut loader = Loader {
        catalog,
        shared,
        home,
        fingerprint: None,
        epoch: None,
        checked_at: Instant::now(),
        reachable: true,
        distrust: None,
        unused_since: None,
    };
    loop {
        let began = Instant::now();
        let pause = match loader.refresh().await {
            Ok(()) => began.elapsed() * REST,
            Err(error) => {
                loader.failed(&error);
                RETRY
            }
        };
        loader.catalog.tried.send_replace(true);
        if loader.is_forgotten() {
            return;
        }
        tokio::time::sleep(pause).await;
        let period = loader.shared.settings.load().catalog_refresh;
        tokio::select! {
            () = loader.catalog.wake.notified() => {}
            Ok(()) = changes.changed() => {}
            () = tokio::time::sleep(period), if loader.reachable => {}
            () = tokio::time::sleep(RETRY.min(period)), if !loader.reachable => {}
        }
    }
}

struct Loader {
    catalog: Arc<DatabaseCatalog>,
    shared: Arc<Shared>,
    home: Home,
    /// What the change check said when the catalog was loaded.
    fingerprint: Option<String>,
    /// Term and node it was loaded from.
    epoch: Option<(u64, NodeId)>,
    checked_at: Instant,
    /// Whether the last try went well; the log tells of changes only.
    reachable: bool,
    distrust: Option<NeedsPrimary>,
    unused_since: Option<Instant>,
}

impl Loader {
    /// Tells whether nobody has used the catalog for so long that it is gone.
    fn is_forgotten(&mut self) -> bool {
        let unused = self.shared.catalogs.is_unused(&self.catalog);
        self.unused_since = unused.then(|| self.unused_since.unwrap_or_else(Instant::now));
        let long = self.unused_since.is_some_and(|since| since.elapsed() >= KEPT_UNUSED);
        long && self.shared.catalogs.forget_unused(&self.catalog)
    }

    /// Sees whether what is loaded still holds, and loads it if not.
    async fn refresh(&mut self) -> Result<(), String> {
        // What commits from here on may be missing from what is read, and makes it out of date.
        let schema = self.catalog.schema_generation();
        let snapshot = self.shared.snapshot();
        // Without a primary nothing changes, and a standby knows as well.
        let node = snapshot.primary.or_else(|| snapshot.readable_standbys().next().map(|view| view.node.id));
        let (epoch, leaderless) = (node.map(|node| (snapshot.term, node)), snapshot.primary.is_none());
        drop(snapshot);
        let (_, node) = epoch.ok_or("no server is known")?;
        let loaded = self.catalog.loaded.load_full();
        let current = loaded.as_ref().is_some_and(|loaded| loaded.at(schema).is_some());
        if current && leaderless {
            return Ok(());
        }
        if let Some(loaded) = loaded
            && epoch == self.epoch
        {
            // Many a schema change changes nothing that counts here: a temporary table is dropped, say.
            let mut rows = self.ask(node, CHECK).await?;
            if rows::fingerprint(&mut rows) == self.fingerprint {
                loaded.schema.store(schema, Ordering::Release);
                self.succeeded();
                return Ok(());
            }
        }
        if epoch != self.epoch {
            // Another primary may lack what the last one told.
            self.catalog.loaded.store(None);
        }
        let rows = self.ask(node, concat!(include_str!("facts.sql"), include_str!("check.sql"))).await?;
        self.take(rows, schema).await?;
        self.epoch = epoch;
        self.succeeded();
        Ok(())
    }

    async fn take(&mut self, mut rows: Vec<Row>, schema: u64) -> Result<(), String> {
        self.fingerprint = rows::fingerprint(&mut rows);
        let lists = self.shared.settings.load().lists.clone();
        let generation = self.shared.catalogs.next_generation();
        // Thousands of tables take milliseconds, which the clients of this thread need not wait for.
        let build = move || Ok(Catalog::new(generation, rows::facts(rows)?, lists));
        let built: Result<Catalog, rows::BadRow> =
            tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())?;
        let catalog = built.map_err(|error| error.to_string())?;
        let ((functions, relations), database) = (catalog.size(), &*self.catalog.name);
        tracing::debug!(event = "catalog.loaded", database, functions, relations, generation);
        if catalog.distrust() != self.distrust {
            self.distrust = catalog.distrust();
            if let Some(reason) = self.distrust {
                tracing::warn!(
                    event = "catalog.distrusted",
                    database,
                    ?reason,
                    "volatile functions run without being named, so no read goes to a standby"
                );
            }
        }
        self.catalog.loaded.store(Some(Arc::new(Loaded { catalog, schema: AtomicU64::new(schema) })));
        Ok(())
    }

    async fn ask(&self, node: NodeId, sql: &str) -> Result<Vec<Row>, String> {
        let registry = &self.shared.registry;
        let identity = registry.identity(&self.catalog.name, self.shared.cluster.user());
        let pool = registry.pool(node, &identity);
        let checkout = tokio::time::timeout(PATIENCE, pool.checkout(self.home, Patience::FailFast)).await;
        let mut server = checkout.map_err(|_| "no server in time")?.map_err(|error| error.to_string())?;
        let sql = format!("{BEGIN}{sql}COMMIT");
        match ask::ask(&mut server, &sql, PATIENCE).await {
            Ok(rows) => {
                server.release();
                Ok(rows)
            }
            Err(AskError::Refused(error)) => {
                server.release();
                Err(error.to_string())
            }
            Err(failed) => Err(failed.to_string()),
        }
    }

    fn succeeded(&mut self) {
        self.reachable = true;
        self.checked_at = Instant::now();
    }

    fn failed(&mut self, error: &str) {
        if std::mem::take(&mut self.reachable) {
            let (database, user) = (&*self.catalog.name, &**self.shared.cluster.user());
            tracing::warn!(
                event = "catalog.unavailable",
                database,
                user,
                error,
                "the catalog cannot be read; until it can, reads go to the primary"
            );
        }
        let period = self.shared.settings.load().catalog_refresh;
        if self.checked_at.elapsed() > period * PERIODS_UNCHECKED && self.shared.snapshot().primary.is_some()
        {
            self.catalog.loaded.store(None);
        }
    }
}

/// One snapshot, and names that mean the system's own.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;SET LOCAL search_path = pg_catalog;SET LOCAL jit = off;";

const CHECK: &str = include_str!("check.sql");
