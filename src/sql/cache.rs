//! Remembers what texts have been found to be, so that a text seen again costs one hash, and one that differs from it in
//! constants alone little more.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::classify::classify;
use super::constants;
use super::effects::{Classified, Effects, Prepared, SettingChange};
use super::own::{Own, OwnAct};

/// Classifies texts, through a cache. One for each worker: no lock, no sharing.
///
/// Two generations make the cache: what is used moves to the young one, and when that is full it becomes the
/// old one, whose unused entries are thereby gone. A hit does not allocate once the tables have grown.
#[derive(Debug)]
pub struct Classifier {
    conforming: Generations,
    /// Texts of sessions with `standard_conforming_strings` off: the same bytes may mean something else.
    escaping: Generations,
    /// The text at hand without its constants.
    plain: Vec<u8>,
    /// The text classified last: it is shown again once it has a server.
    last: Option<Last>,
    lookups: Lookups,
}

/// What is kept of the memory for these two, in bytes.
const LONGEST_KEPT: usize = 16 * 1024;

#[derive(Debug)]
struct Last {
    text: Vec<u8>,
    standard_conforming_strings: bool,
    found: Arc<Classified>,
}

/// How often a text was known, and how often it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub struct Lookups {
    pub hits: u64,
    pub misses: u64,
}

impl Classifier {
    /// Makes an empty cache for at most `entries` texts (at least two), and `bytes` of memory for texts and
    /// results. Sessions with `standard_conforming_strings` off, which should be none, have as much again.
    pub fn new(entries: usize, bytes: usize) -> Classifier {
        Classifier {
            conforming: Generations::new(entries / 2, bytes / 2),
            escaping: Generations::new(entries / 2, bytes / 2),
            plain: Vec::new(),
            last: None,
            lookups: Lookups::default(),
        }
    }

    /// Returns what a Query text or the text of a prepared statement is. Takes any bytes.
    pub fn classify(&mut self, text: &[u8], standard_conforming_strings: bool) -> Arc<Classified> {
        if let Some(last) = &self.last
            && last.standard_conforming_strings == standard_conforming_strings
            && last.text == text
        {
            self.lookups.hits += 1;
            return Arc::clone(&last.found);
        }
        let found = self.look_up(text, standard_conforming_strings);
        self.keep_last(text, standard_conforming_strings, &found);
        found
    }

    fn look_up(&mut self, text: &[u8], standard_conforming_strings: bool) -> Arc<Classified> {
        let cache = if standard_conforming_strings { &mut self.conforming } else { &mut self.escaping };
        self.lookups.hits += 1;
        if let Some(known) = cache.get(text) {
            return known;
        }
        let plain = constants::take_out(text, &mut self.plain);
        // A few constants make a text that the grammar refuses, and others in their place would be none the worse: `float(0)`.
        if plain && let Some(known) = cache.get(&self.plain).filter(|known| known.parsed) {
            return known;
        }
        self.lookups.hits -= 1;
        self.lookups.misses += 1;
        let found = Arc::new(classify(text, standard_conforming_strings));
        cache.insert(if plain && found.parsed { &self.plain } else { text }, Arc::clone(&found));
        if self.plain.capacity() > LONGEST_KEPT {
            self.plain = Vec::new();
        }
        found
    }

    fn keep_last(&mut self, text: &[u8], standard_conforming_strings: bool, found: &Arc<Classified>) {
        if text.len() > LONGEST_KEPT {
            self.last = None;
            return;
        }
        let mut kept = self.last.take().map_or_else(Vec::new, |last| last.text);
        kept.clear();
        kept.extend_from_slice(text);
        self.last = Some(Last { text: kept, standard_conforming_strings, found: Arc::clone(found) });
    }

    /// Takes the count of lookups since it was last taken.
    pub fn take_lookups(&mut self) -> Lookups {
        mem::take(&mut self.lookups)
    }

    /// Returns how many texts are remembered.
    pub fn remembered(&self) -> usize {
        self.conforming.len() + self.escaping.len()
    }
}

impl Default for Classifier {
    /// 8192 texts and 16 MiB: an application has some hundreds of statements.
    fn default() -> Classifier {
        Classifier::new(8192, 16 << 20)
    }
}

type Texts = HashMap<Box<[u8]>, Arc<Classified>, RandomState>;

#[derive(Debug)]
struct Generations {
    young: Texts,
    old: Texts,
    young_bytes: usize,
    /// Limits of one generation.
    most_entries: usize,
    most_bytes: usize,
}

impl Generations {
    fn new(most_entries: usize, most_bytes: usize) -> Generations {
        Generations {
            young: Texts::default(),
            old: Texts::default(),
            young_bytes: 0,
            most_entries: most_entries.max(1),
            most_bytes,
        }
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn get(&mut self, text: &[u8]) -> Option<Arc<Classified>> {
        if let Some(known) = self.young.get(text) {
            return Some(Arc::clone(known));
        }
        let (text, known) = self.old.remove_entry(text)?;
        self.put(text, Arc::clone(&known));
        Some(known)
    }

    fn insert(&mut self, text: &[u8], found: Arc<Classified>) {
        // One text must not drive out all others.
        if footprint(text, &found) <= self.most_bytes / 16 {
            self.put(text.into(), found);
        }
    }

    fn put(&mut self, text: Box<[u8]>, found: Arc<Classified>) {
        let bytes = footprint(&text, &found);
        if self.young.len() >= self.most_entries || self.young_bytes + bytes > self.most_bytes {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(text, found);
    }
}

/// Returns about how much memory an entry takes, in bytes.
fn footprint(text: &[u8], found: &Classified) -> usize {
    let fixed = size_of::<(Box<[u8]>, Arc<Classified>)>() + size_of::<Classified>();
    let effects: usize = found.statements.iter().map(effects_footprint).sum();
    fixed + text.len() + effects + found.uses.footprint()
}

fn effects_footprint(effects: &Effects) -> usize {
    // Names and values come out of the text, a little longer where they are quoted.
    let settings: usize = effects.settings.iter().map(setting_footprint).sum();
    let name = match &effects.prepared {
        Some(Prepared::Prepare(name) | Prepared::Execute(name) | Prepared::Deallocate(name)) => name.len(),
        Some(Prepared::DeallocateAll) | None => 0,
    };
    let own = effects.own.as_ref().map_or(0, |own| own_footprint(own));
    size_of::<Effects>() + settings + name + own
}

fn own_footprint(own: &Own) -> usize {
    let length = |value: &Option<Box<str>>| value.as_ref().map_or(0, |value| value.len());
    let strings = match &own.act {
        OwnAct::Set { name, value, .. } => name.len() + length(value),
        OwnAct::SetConfig { name, value, column, .. } => name.len() + length(value) + column.len(),
        OwnAct::Show(name) | OwnAct::Unclear(name) => name.len(),
        OwnAct::ExplainRoute(sql) => sql.len(),
    };
    size_of::<Own>() + strings
}

fn setting_footprint(change: &SettingChange) -> usize {
    let strings = match change {
        SettingChange::Set { name, value, .. } => name.len() + value.len(),
        SettingChange::Reset { name, .. } => name.len(),
        SettingChange::ResetAll | SettingChange::SetFromBind { .. } => 0,
    };
    size_of::<SettingChange>() + strings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_text_is_classified_once() {
        let mut classifier = Classifier::default();
        let first = classifier.classify(b"select 1", true);
        let second = classifier.classify(b"select 1", true);
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &classifier.classify(b"select 1", false)));
    }

    #[test]
    fn texts_that_differ_in_constants_are_one_where_these_decide_nothing() {
        let mut classifier = Classifier::default();
        let mut take = |text: &str| classifier.classify(text.as_bytes(), true);
        let first = take("select a from t where b = 5 and c = 'x'");
        assert!(Arc::ptr_eq(&first, &take("select a from t where b = 67 and c = 'it''s'")));
        assert!(!Arc::ptr_eq(&first, &take("select a from t where b = 67 and c = d")));
        let refused = take("select float(0) ''");
        assert!(!refused.parsed && take("select float(5) 'x'").parsed && take("select float(5) 'x'").parsed);
        assert_ne!(take("select set_config('a.b', '', true)"), take("select set_config('c.d', '', true)"));
        assert_eq!(classifier.take_lookups(), Lookups { hits: 2, misses: 6 });
    }

    #[test]
    fn entries_stay_within_the_limit_and_the_used_ones_stay() {
        let mut classifier = Classifier::new(64, 1 << 20);
        let hot = classifier.classify(b"select 'hot'", true);
        for n in 0..10_000 {
            classifier.classify(format!("select c{n}").as_bytes(), true);
            assert!(Arc::ptr_eq(&hot, &classifier.classify(b"select 'hot'", true)));
            assert!(classifier.remembered() <= 64);
        }
    }

    #[test]
    fn long_texts_are_not_kept() {
        let mut classifier = Classifier::new(64, 64 << 10);
        let long = format!("select {}", "x".repeat(5000));
        classifier.classify(long.as_bytes(), true);
        assert_eq!(classifier.remembered(), 0);
        for n in 0..1000 {
            classifier.classify(format!("select c{n}, {}", "x".repeat(1000)).as_bytes(), true);
            assert!(classifier.remembered() <= 64, "32 KiB a generation hold no more than 32 texts of 1 KiB");
        }
    }
}
