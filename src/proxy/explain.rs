//! Says where a text would go, for someone who is no client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::Shared;
use crate::pool::Home;
use crate::routing::{self, Ask, Explanation};
use crate::session::{Context, Reported, Session, StatementTable};
use crate::sql::{Classifier, SearchPaths};
use crate::topology::NodeName;

/// How long a catalog that nobody uses yet may take to load.
const CATALOG_LIMIT: Duration = Duration::from_secs(5);

/// Where a text would go now, in a session that has set nothing and is in no transaction.
#[derive(Debug)]
pub struct Destination {
    /// The database it was judged in.
    pub database: String,
    /// The user it was judged for.
    pub user: String,
    /// Where to, and why.
    pub explanation: Explanation,
    /// The node that would get it; `None` while there is none.
    pub node: Option<NodeName>,
}

impl Shared {
    /// Finds out where `sql` would go. Database and user are those of the probes unless given.
    ///
    /// `None` before the first worker runs, or when it ends meanwhile. Not cancelled by dropping: a catalog that is
    /// being loaded stays, for whoever asks next.
    pub async fn destination(
        self: &Arc<Self>,
        sql: String,
        database: Option<String>,
        user: Option<String>,
    ) -> Option<Destination> {
        let (home, runtime) = self.registry.first_worker()?;
        let database = database.unwrap_or_else(|| self.cluster.database().to_string());
        let user = user.unwrap_or_else(|| self.cluster.user().to_string());
        let shared = self.clone();
        // Server connections belong to a worker's runtime, and loading a catalog needs one.
        runtime.spawn(async move { shared.judge(home, &sql, database, user).await }).await.ok()
    }

    async fn judge(self: Arc<Self>, home: Home, sql: &str, database: String, user: String) -> Destination {
        let settings = self.settings.load_full();
        let catalog = self.catalogs.of(&Arc::from(database.as_str()));
        if settings.split {
            catalog.start(&self, home, CATALOG_LIMIT).await;
        }
        let schema_generation = catalog.schema_generation();
        let loaded = catalog.loaded();
        let mut context = Context {
            classifier: &mut Classifier::new(1, sql.len()),
            statements: &mut StatementTable::new(home.0),
            catalog: loaded.as_deref().and_then(|loaded| loaded.at(schema_generation)),
            paths: &mut SearchPaths::default(),
            schema_generation,
            prepared_limit: settings.prepared_statements,
            split: settings.split,
            keeps_sequences: false,
        };
        let mut session =
            Session::new(settings.mode_of(&database, &user), Arc::default(), Reported::default());
        let explanation = session.explanation(sql.as_bytes(), &mut context);
        let (snapshot, now) = (self.snapshot(), Instant::now());
        let ask = Ask { target: explanation.need.target, home: None, pick: fastrand::u64(..), now };
        let load = |node| self.loads.load(node, now);
        let choice = routing::choose(&snapshot, ask, &settings.balance, load, |_| true).ok();
        let node = choice.and_then(|choice| snapshot.node(choice.node)).map(|view| view.node.name.clone());
        Destination { database, user, explanation, node }
    }
}
