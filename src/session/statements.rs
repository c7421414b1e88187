//! Prepared statements: one shared identity per text, and each client's names for them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use foldhash::fast::RandomState;

use super::shapes::Shape;
use super::substitute;
use crate::sql::Classified;

/// A statement as servers know it. Two clients that prepare the same text with the same parameter types, in the
/// same parsing environment, share one.
#[derive(Debug)]
pub struct Statement {
    /// Number unique within the process.
    pub id: u64,
    /// Name on every server it is prepared on.
    pub server_name: Box<[u8]>,
    /// SQL text.
    pub text: Box<[u8]>,
    /// What servers are sent, where that is something else: the statement is the proxy's own.
    stand_in: Option<Box<[u8]>>,
    /// Parameter type OIDs as on the wire, as far as they are given.
    pub types: Box<[u8]>,
    /// All of them as a server told them first: kept to be shared.
    found: OnceLock<Arc<[u8]>>,
    /// What it does.
    pub class: Arc<Classified>,
    environment: u64,
    /// One more than the newest schema generation at which a server has parsed it outside a transaction.
    sound: AtomicU64,
}

/// Start of the names we give statements on servers. A client that uses such a name itself is told it does not exist.
pub const SERVER_NAME_PREFIX: &[u8] = b"bellwether_";

impl Statement {
    fn matches(&self, text: &[u8], types: &[u8], environment: u64) -> bool {
        *self.text == *text && *self.types == *types && self.environment == environment
    }

    /// Notes that a server has parsed it at `generation`.
    pub fn note_sound(&self, generation: u64) {
        self.sound.fetch_max(generation.saturating_add(1), Ordering::Relaxed);
    }

    /// Tells whether a server has parsed it at `generation` or later, so that others will as well.
    pub fn is_sound(&self, generation: u64) -> bool {
        self.sound.load(Ordering::Relaxed) > generation
    }

    /// Returns `types`, in memory that is shared while they stay what they were.
    pub fn share_types(&self, types: &[u8]) -> Arc<[u8]> {
        let first = self.found.get_or_init(|| types.into());
        if **first == *types { first.clone() } else { types.into() }
    }

    /// Returns the text that servers are sent.
    pub fn sent(&self) -> &[u8] {
        self.stand_in.as_deref().unwrap_or(&self.text)
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.types.len() + size_of::<Statement>()
    }
}

/// The statements in use, by content. One per worker: `worker` keeps their names apart.
#[derive(Debug)]
pub struct StatementTable {
    worker: usize,
    next: u64,
    by_hash: HashMap<u64, Vec<Weak<Statement>>, RandomState>,
    hasher: RandomState,
    sweep_at: usize,
}

impl StatementTable {
    /// Makes the table of worker number `worker`.
    pub fn new(worker: usize) -> Self {
        StatementTable {
            worker,
            next: 0,
            by_hash: HashMap::with_hasher(RandomState::default()),
            hasher: RandomState::default(),
            sweep_at: 1024,
        }
    }

    /// Returns the statement with this content, made anew if no client or server holds it.
    ///
    /// `environment` stands for the settings that change how the text is parsed (`search_path`, role, ...).
    pub fn intern(
        &mut self,
        text: &[u8],
        types: &[u8],
        environment: u64,
        classify: impl FnOnce() -> Arc<Classified>,
    ) -> Arc<Statement> {
        let hash = self.hasher.hash_one((Content(text), Content(types), environment));
        let bucket = self.by_hash.entry(hash).or_default();
        let known =
            bucket.iter().filter_map(Weak::upgrade).find(|known| known.matches(text, types, environment));
        if let Some(known) = known {
            return known;
        }
        self.next += 1;
        let id = (self.worker as u64) << 48 | self.next;
        let class = classify();
        let stand_in = class.has_own().then(|| substitute::sql(text, &class).into());
        let statement = Arc::new(Statement {
            id,
            stand_in,
            server_name: [SERVER_NAME_PREFIX, format!("{}_{}", self.worker, self.next).as_bytes()]
                .concat()
                .into(),
            text: text.into(),
            types: types.into(),
            found: OnceLock::new(),
            class,
            environment,
            sound: AtomicU64::new(0),
        });
        bucket.retain(|known| known.strong_count() > 0);
        bucket.push(Arc::downgrade(&statement));
        self.sweep();
        statement
    }

    /// Returns `statement` with these parameter types given.
    pub fn intern_with_types(&mut self, statement: &Statement, types: &[u8]) -> Arc<Statement> {
        self.intern(&statement.text, types, statement.environment, || statement.class.clone())
    }

    /// Returns the statement with this content, if anybody holds it.
    pub fn find(&self, text: &[u8], types: &[u8], environment: u64) -> Option<Arc<Statement>> {
        let hash = self.hasher.hash_one((Content(text), Content(types), environment));
        let mut known = self.by_hash.get(&hash)?.iter().filter_map(Weak::upgrade);
        known.find(|known| known.matches(text, types, environment))
    }

    /// Returns an environment that no other statement has.
    pub fn unique_environment(&mut self) -> u64 {
        self.next += 1;
        u64::MAX - self.next
    }

    /// Drops the places of statements nobody holds, at a cost shared over the insertions since the last time.
    fn sweep(&mut self) {
        if self.by_hash.len() < self.sweep_at {
            return;
        }
        self.by_hash.retain(|_, bucket| {
            bucket.retain(|known| known.strong_count() > 0);
            !bucket.is_empty()
        });
        self.sweep_at = (self.by_hash.len() * 2).max(1024);
    }
}

#[derive(Hash)]
struct Content<'a>(&'a [u8]);

/// A statement under a client's name.
#[derive(Clone, Debug)]
pub struct Named {
    /// The statement.
    pub statement: Arc<Statement>,
    /// Schema generation when the client prepared it: a server's copy must not be older.
    pub generation: u64,
    /// Which of the client's rounds gave it this name.
    pub round: u64,
    /// What rows the client was told it returns, if it was and if that may count; see `shapes`.
    pub told: Option<Shape>,
    /// What parameter types the client was told first, if it was; see `types`.
    pub types: Option<Arc<[u8]>>,
}

impl Named {
    /// Starts with nothing told.
    pub fn new(statement: Arc<Statement>, generation: u64, round: u64) -> Self {
        Named { statement, generation, round, told: None, types: None }
    }

    /// Returns the parameter types that the client was told, if some of them are not given anyhow.
    pub fn types_found(&self) -> Option<&Arc<[u8]>> {
        self.types.as_ref().filter(|types| ***types != *self.statement.types)
    }
}

/// One client's prepared statements by name; the unnamed one has the empty name.
#[derive(Debug, Default)]
pub struct ClientStatements {
    named: HashMap<Box<[u8]>, Named, RandomState>,
    unnamed: Option<Named>,
    bytes: usize,
    /// Names taken by SQL PREPARE, which share one space with the others.
    by_sql: BTreeSet<Box<[u8]>>,
}

/// How many named statements a client may hold, and how many bytes of text.
const MAX_STATEMENTS: usize = 20_000;
const MAX_STATEMENT_BYTES: usize = 64 * 1024 * 1024;

impl ClientStatements {
    /// Returns the statement the client calls `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Named> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    /// Returns what the client calls the statement that servers know as `server_name`; of several names the first in order.
    pub fn name_of(&self, server_name: &[u8]) -> Option<&[u8]> {
        let named = self.named.iter().filter(|(_, named)| *named.statement.server_name == *server_name);
        named.map(|(name, _)| &**name).min()
    }

    /// Returns it to be changed.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Named> {
        if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) }
    }

    /// Puts `new` under `name`, or removes the name; returns what was there.
    pub fn replace(&mut self, name: &[u8], new: Option<Named>) -> Option<Named> {
        if name.is_empty() {
            return std::mem::replace(&mut self.unnamed, new);
        }
        let added = new.as_ref().map_or(0, |named| named.statement.bytes());
        let old = match new {
            Some(new) => self.named.insert(name.into(), new),
            None => self.named.remove(name),
        };
        self.bytes = self.bytes + added - old.as_ref().map_or(0, |named| named.statement.bytes());
        old
    }

    /// Tells whether another named statement would be too many.
    pub fn is_full(&self) -> bool {
        self.named.len() >= MAX_STATEMENTS || self.bytes >= MAX_STATEMENT_BYTES
    }

    /// Forgets all named statements (DEALLOCATE ALL).
    pub fn clear_named(&mut self) {
        self.named = HashMap::default();
        self.bytes = 0;
        self.by_sql.clear();
    }

    /// Notes that SQL PREPARE took `name`.
    pub fn prepared_by_sql(&mut self, name: &[u8]) {
        if self.by_sql.len() < MAX_STATEMENTS {
            self.by_sql.insert(name.into());
        }
    }

    /// Notes that `name` is free again, as far as SQL took it.
    pub fn freed_by_sql(&mut self, name: &[u8]) {
        self.by_sql.remove(name);
    }

    /// Notes that SQL holds no name.
    pub fn clear_by_sql(&mut self) {
        self.by_sql.clear();
    }

    /// Tells whether a named statement cannot be called `name`, because another is.
    pub fn is_taken(&self, name: &[u8]) -> bool {
        self.named.contains_key(name) || self.by_sql.contains(name)
    }

    /// Returns how many named statements there are.
    pub fn count(&self) -> usize {
        self.named.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> Arc<Classified> {
        Arc::new(Classified::nothing())
    }

    #[test]
    fn the_same_content_is_the_same_statement_while_somebody_holds_it() {
        let mut table = StatementTable::new(1);
        let one = table.intern(b"SELECT $1", b"\0\0\0\x17", 0, class);
        let two = table.intern(b"SELECT $1", b"\0\0\0\x17", 0, || panic!("known already"));
        assert!(Arc::ptr_eq(&one, &two));
        assert_ne!(one.id, table.intern(b"SELECT $1", b"", 0, class).id);
        assert_ne!(one.id, table.intern(b"SELECT $1", b"\0\0\0\x17", 7, class).id);
        let id = one.id;
        drop((one, two));
        assert_ne!(table.intern(b"SELECT $1", b"\0\0\0\x17", 0, class).id, id);
    }

    #[test]
    fn the_table_forgets_what_nobody_holds() {
        let mut table = StatementTable::new(0);
        for index in 0..10_000u32 {
            table.intern(&index.to_be_bytes(), b"", 0, class);
        }
        assert!(table.by_hash.len() < 2100, "{}", table.by_hash.len());
    }

    #[test]
    fn names_come_and_go() {
        let mut table = StatementTable::new(0);
        let named = Named::new(table.intern(b"a", b"", 0, class), 0, 0);
        let mut client = ClientStatements::default();
        assert!(client.replace(b"s", Some(named.clone())).is_none());
        assert!(client.replace(b"", Some(named)).is_none());
        assert_eq!(client.count(), 1);
        assert!(client.replace(b"s", None).is_some());
        assert_eq!(client.bytes, 0);
        assert!(client.get(b"s").is_none());
        assert!(client.get(b"").is_some());
        assert!(client.replace(b"", None).is_some());
        assert!(client.get(b"").is_none());
        client.prepared_by_sql(b"q");
        assert!(client.is_taken(b"q") && !client.is_taken(b"s"));
        client.freed_by_sql(b"q");
        assert!(!client.is_taken(b"q"));
    }
}
