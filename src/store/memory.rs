//! The store inside this process, with the same meaning as etcd's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{
    Answer, Attendance, Compare, Entry, Failure, Outcome, Presence, Reading, Revision, Store, Txn, Wanted,
    Watch, Write,
};

/// A store in memory. Clones share one content; each has its own [`Reach`], as if it stood on a host of its own.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Mutex<Content>>,
    reach: Arc<watch::Sender<Reach>>,
    timeout: Duration,
}

/// How far this handle's calls get: a store that is down or cut off, for tests and the demo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// There and back.
    #[default]
    Whole,
    /// Refused at once: nobody listens.
    Nowhere,
    /// Nothing arrives, nothing comes back.
    Void,
    /// Arrives and is done, but no answer comes back.
    ThereOnly,
}

#[derive(Debug)]
struct Content {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
    bells: Vec<(String, watch::Sender<u64>)>,
}

impl Memory {
    /// Makes an empty store whose calls give up after `timeout` when no answer comes.
    pub fn new(timeout: Duration) -> Self {
        // Revision 1 is etcd's first as well; 0 stands for "never".
        let content = Content { revision: Revision(1), entries: BTreeMap::new(), bells: Vec::new() };
        Memory { shared: Arc::new(Mutex::new(content)), reach: Arc::default(), timeout }
    }

    /// Changes how far this handle's calls get from now on.
    pub fn set_reach(&self, reach: Reach) {
        self.reach.send_replace(reach);
    }

    /// Does `call` on the content as far as it gets, and says what became of it.
    async fn reach<T>(&self, call: impl FnOnce(&mut Content) -> T) -> Result<T, Lost> {
        // A store at the end of a line lets others run meanwhile; a loop over this one must not starve them.
        tokio::task::yield_now().await;
        let reach = *self.reach.borrow();
        match reach {
            Reach::Whole => return Ok(call(&mut lock(&self.shared))),
            Reach::Nowhere => return Err(Lost::Before(unreachable())),
            Reach::Void => {}
            Reach::ThereOnly => drop(call(&mut lock(&self.shared))),
        }
        tokio::time::sleep(self.timeout).await;
        Err(Lost::OnTheWay(Failure::Silent { member: NAME.to_owned(), within: self.timeout }))
    }
}

/// A handle that reaches the same content, wherever the one it was made from gets.
impl Clone for Memory {
    fn clone(&self) -> Self {
        Memory { shared: Arc::clone(&self.shared), reach: Arc::default(), timeout: self.timeout }
    }
}

impl Store for Memory {
    fn read<'a>(&'a self, wanted: &'a [Wanted]) -> Answer<'a, Result<Reading, Failure>> {
        Box::pin(async move {
            let reading = self.reach(|content| content.read(wanted)).await;
            reading.map_err(|(Lost::Before(failure) | Lost::OnTheWay(failure))| failure)
        })
    }

    fn commit(&self, txn: Txn) -> Answer<'_, Outcome> {
        Box::pin(async move {
            match self.reach(|content| content.commit(txn)).await {
                Ok(outcome) => outcome,
                Err(Lost::Before(failure)) => Outcome::NotApplied(failure),
                Err(Lost::OnTheWay(failure)) => Outcome::Unknown(failure),
            }
        })
    }

    fn roll_call(&self) -> Answer<'_, Vec<Attendance>> {
        Box::pin(async move {
            let answers = self.reach(|_| ()).await.is_ok();
            vec![Attendance { member: NAME.to_owned(), answers }]
        })
    }

    fn watch(&self, prefix: &str) -> Watch {
        let (bell, rings) = watch::channel(0);
        lock(&self.shared).bells.push((prefix.to_owned(), bell));
        Watch::new(rings)
    }

    fn present(&self, key: &str, value: Vec<u8>, _lease: Duration) -> Presence {
        let (presence, mut values) = Presence::new(value);
        let (content, mut reach, key) = (Arc::clone(&self.shared), self.reach.subscribe(), key.to_owned());
        tokio::spawn(async move {
            loop {
                if reach.wait_for(|reach| *reach == Reach::Whole).await.is_ok() {
                    let shown = values.borrow_and_update().clone();
                    lock(&content).write(vec![Write::Put(key.clone(), shown)]);
                }
                if values.changed().await.is_err() {
                    break;
                }
            }
            lock(&content).write(vec![Write::Delete(key)]);
        });
        presence
    }
}

impl Content {
    fn read(&self, wanted: &[Wanted]) -> Reading {
        let asked = |key: &String| {
            wanted.iter().any(|wanted| match wanted {
                Wanted::Key(wanted) => key == wanted,
                Wanted::Prefix(prefix) => key.starts_with(prefix),
            })
        };
        let found = self.entries.iter().filter(|(key, _)| asked(key));
        let entries = found.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Reading { revision: self.revision, entries }
    }

    fn commit(&mut self, txn: Txn) -> Outcome {
        if txn.written_twice().is_some() {
            let message = "duplicate key given in txn request".to_owned();
            return Outcome::NotApplied(Failure::Refused { member: NAME.to_owned(), message });
        }
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            let keys = txn.compares.iter().map(|compare| Wanted::key(compare.key()));
            return Outcome::Conflict(self.read(&keys.collect::<Vec<_>>()));
        }
        self.write(txn.writes);
        Outcome::Applied(self.revision)
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = self.entries.get(compare.key());
        match compare {
            Compare::Absent(_) => entry.is_none(),
            Compare::Modified(_, at) => entry.map_or(Revision(0), |entry| entry.modified) == *at,
            Compare::Created(_, at) => entry.map_or(Revision(0), |entry| entry.created) == *at,
        }
    }

    /// As etcd does, deleting what is not there changes nothing, the revision included.
    fn write(&mut self, writes: Vec<Write>) {
        let next = Revision(self.revision.0 + 1);
        let mut touched = Vec::new();
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    let created = self.entries.get(&key).map_or(next, |entry| entry.created);
                    self.entries.insert(key.clone(), Entry { value, created, modified: next });
                    touched.push(key);
                }
                Write::Delete(key) => touched.extend(self.entries.remove(&key).map(|_| key)),
            }
        }
        if !touched.is_empty() {
            self.revision = next;
        }
        self.bells.retain(|(_, bell)| !bell.is_closed());
        for (prefix, bell) in &self.bells {
            if touched.iter().any(|key| key.starts_with(prefix)) {
                bell.send_modify(|rings| *rings += 1);
            }
        }
    }
}

/// Why no answer came.
enum Lost {
    /// The call did not arrive.
    Before(Failure),
    /// Nobody knows whether it did.
    OnTheWay(Failure),
}

/// What failures call this store.
const NAME: &str = "store in memory";

fn unreachable() -> Failure {
    Failure::Unreachable { member: NAME.to_owned(), reason: "it is stopped".to_owned() }
}

/// Every change is made whole before anything that could panic.
fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}
