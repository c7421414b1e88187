//! The catalogs of the databases in use: shared by all clients of a database, loaded again when its schema changes.

mod loader;
mod rows;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::{Notify, watch};

use super::state::Shared;
use crate::pool::Home;
use crate::session::Session;
use crate::sql::{Catalog, Shape};

/// The catalog of one database, and what has become of its schema since.
pub struct DatabaseCatalog {
    name: Arc<str>,
    schema: Arc<Schema>,
    loaded: ArcSwapOption<Loaded>,
    /// Wakes the loader.
    wake: Notify,
    /// Whether there is a loader.
    started: AtomicBool,
    /// Whether the loader has tried at least once.
    tried: watch::Sender<bool>,
}

/// What is known of the changes of one database's schema.
struct Schema {
    /// Counts those that have passed through the proxy.
    generation: AtomicU64,
    /// One was prepared for a second phase: any that is committed from then on may be it.
    prepared: AtomicBool,
}

/// A catalog, and the latest schema generation at which it was seen to hold.
pub struct Loaded {
    catalog: Catalog,
    schema: AtomicU64,
}

impl Loaded {
    /// Returns the catalog if it is of the present.
    pub fn at(&self, schema_generation: u64) -> Option<&Catalog> {
        (self.schema.load(Ordering::Acquire) == schema_generation).then_some(&self.catalog)
    }
}

impl DatabaseCatalog {
    /// Returns how many schema changes have passed, counted from 1.
    pub fn schema_generation(&self) -> u64 {
        self.schema.generation.load(Ordering::Acquire)
    }

    /// Takes note of what a session has done to the schema: until the catalog has been loaded again, it is of the past.
    pub fn follow(&self, session: &mut Session) {
        if session.take_schema_prepared() {
            self.schema.prepared.store(true, Ordering::Release);
        }
        let finished = session.take_finished_prepared() && self.schema.prepared.load(Ordering::Acquire);
        if session.take_schema_changed() || finished {
            self.schema.generation.fetch_add(1, Ordering::AcqRel);
            self.wake.notify_one();
        }
    }

    /// Notes that a standby refused a statement of this shape: no client's goes there before the next catalog.
    pub fn learn(&self, shape: Shape) {
        if let Some(loaded) = &*self.loaded.load() {
            loaded.catalog.learn(shape);
        }
    }

    /// Returns what was loaded last.
    pub fn loaded(&self) -> Guard<Option<Arc<Loaded>>> {
        self.loaded.load()
    }

    /// Waits at most `limit` until what is loaded is of the present.
    pub async fn until_current(&self, limit: Duration) {
        let is_current = |_: &bool| {
            self.loaded().as_deref().is_some_and(|loaded| loaded.at(self.schema_generation()).is_some())
        };
        let mut tried = self.tried.subscribe();
        let _ = tokio::time::timeout(limit, tried.wait_for(is_current)).await;
    }

    /// Makes sure that there is a loader, and waits at most `limit` for its first try.
    pub async fn start(self: &Arc<Self>, shared: &Arc<Shared>, home: Home, limit: Duration) {
        if !self.started.swap(true, Ordering::AcqRel) {
            tokio::spawn(loader::run(self.clone(), shared.clone(), home));
        }
        let mut tried = self.tried.subscribe();
        let _ = tokio::time::timeout(limit, tried.wait_for(|tried| *tried)).await;
    }
}

/// The catalogs by database, and for each database ever used the count of its schema changes.
#[derive(Default)]
pub struct Catalogs {
    by_database: Mutex<HashMap<Arc<str>, Arc<DatabaseCatalog>>>,
    /// Outlive the catalogs: servers hold statements that were prepared at such a count.
    schemas: Mutex<HashMap<Arc<str>, Arc<Schema>>>,
    loads: AtomicU32,
}

impl Catalogs {
    /// Returns the catalog of `database`, made at need.
    pub fn of(&self, database: &Arc<str>) -> Arc<DatabaseCatalog> {
        let make = || {
            let mut schemas = self.schemas.lock().expect("no panic happens under this lock");
            // Starts at 1: 0 marks what is out of date.
            let first = || Schema { generation: AtomicU64::new(1), prepared: AtomicBool::new(false) };
            let schema = schemas.entry(database.clone()).or_insert_with(|| Arc::new(first()));
            Arc::new(DatabaseCatalog {
                name: database.clone(),
                schema: schema.clone(),
                loaded: ArcSwapOption::empty(),
                wake: Notify::new(),
                started: AtomicBool::new(false),
                tried: watch::Sender::new(false),
            })
        };
        self.lock().entry(database.clone()).or_insert_with(make).clone()
    }

    /// Loads every catalog again: what the configuration says of names has changed.
    pub fn reload(&self) {
        for catalog in self.lock().values() {
            catalog.loaded.store(None);
            catalog.wake.notify_one();
        }
    }

    /// Tells whether only its loader still has a catalog.
    fn is_unused(&self, catalog: &Arc<DatabaseCatalog>) -> bool {
        // One is the map's, one the loader's.
        Arc::strong_count(catalog) <= 2
    }

    /// Forgets a catalog that only its loader still has; tells whether it did.
    fn forget_unused(&self, catalog: &Arc<DatabaseCatalog>) -> bool {
        // Under the lock nobody else is given it.
        let mut by_database = self.lock();
        let unused = self.is_unused(catalog);
        if unused {
            by_database.remove(&catalog.name);
        }
        unused
    }

    fn next_generation(&self) -> u32 {
        self.loads.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<DatabaseCatalog>>> {
        self.by_database.lock().expect("no panic happens under this lock")
    }
}
