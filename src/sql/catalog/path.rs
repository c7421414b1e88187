//! The `search_path` of a session: the schemas that unqualified names may come from.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// A search path as a session has set it, or the one it started with.
#[derive(Debug, PartialEq, Eq)]
pub struct SearchPath {
    id: u32,
    /// `None` when the session has set none, or one that cannot be read.
    names: Option<Box<[Box<str>]>>,
    has_user: bool,
}

impl SearchPath {
    /// Reads the value of the setting; `None` stands for what the server has by itself.
    fn read(id: u32, setting: Option<&str>) -> SearchPath {
        let names = setting.and_then(|text| identifiers(text, ','));
        let has_user = names.as_ref().is_some_and(|names| names.iter().any(|name| &**name == "$user"));
        SearchPath { id, names: names.map(Into::into), has_user }
    }

    /// Returns the path of a session that has set none.
    pub fn of_server() -> SearchPath {
        SearchPath::read(1, None)
    }

    pub(super) fn unnumbered(setting: &str) -> SearchPath {
        SearchPath::read(0, Some(setting))
    }

    /// Returns the number of this path, the same for the same text; 0 is not a number.
    pub(in crate::sql) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn names(&self) -> Option<&[Box<str>]> {
        self.names.as_deref()
    }

    pub(super) fn has_user(&self) -> bool {
        self.has_user
    }
}

/// The search paths in use, each with its number. One for each worker.
#[derive(Debug)]
pub struct SearchPaths {
    of_server: Arc<SearchPath>,
    by_text: HashMap<Box<str>, Arc<SearchPath>, RandomState>,
    last: u32,
}

/// Most paths remembered; when there are more, all get new numbers.
const MOST: usize = 10_000;

impl SearchPaths {
    /// Returns the path of a session whose setting is `setting`; `None` when it has set none.
    pub fn get(&mut self, setting: Option<&str>) -> Arc<SearchPath> {
        let Some(text) = setting else { return self.of_server.clone() };
        if let Some(known) = self.by_text.get(text) {
            return known.clone();
        }
        if self.by_text.len() >= MOST {
            self.by_text.clear();
        }
        // Numbers are never used twice. There are enough of them for years; then nothing is remembered by them.
        self.last = self.last.saturating_add(1);
        let path = Arc::new(SearchPath::read(self.last, Some(text)));
        self.by_text.insert(text.into(), path.clone());
        path
    }
}

impl Default for SearchPaths {
    fn default() -> SearchPaths {
        let of_server = Arc::new(SearchPath::of_server());
        SearchPaths { last: of_server.id, of_server, by_text: HashMap::default() }
    }
}

/// Splits a list of identifiers as PostgreSQL does (`SplitIdentifierString()` in `varlena.c`): blanks around them are
/// left out, what is not in double quotes is folded, and all are cut to 63 bytes. `None` if it is no such list.
pub(super) fn identifiers(text: &str, separator: char) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    let mut rest = text.trim_matches(is_blank);
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_identifier(quoted)?,
            None => {
                let end = rest.find(|c| c == separator || is_blank(c)).unwrap_or(rest.len());
                (rest[..end].to_ascii_lowercase(), &rest[end..])
            }
        };
        if name.is_empty() {
            return None;
        }
        names.push(cut(&name).into());
        let behind = behind.trim_start_matches(is_blank);
        if behind.is_empty() {
            return Some(names);
        }
        rest = behind.strip_prefix(separator)?.trim_start_matches(is_blank);
    }
}

fn quoted_identifier(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once('"')?;
        name.push_str(before);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_as_the_server_splits_them() {
        let split = |text| identifiers(text, ',').map(|names| names.join("|"));
        assert_eq!(split(r#""$user", public"#).as_deref(), Some("$user|public"));
        assert_eq!(split(r#" App ,"My ""Own"", x" "#).as_deref(), Some(r#"app|My "Own", x"#));
        assert_eq!(split("").as_deref(), Some(""));
        for bad in [",", "a,", "a b", "\"a", "\"\""] {
            assert_eq!(split(bad), None, "{bad}");
        }
        assert_eq!(identifiers("a.\"B\"", '.'), Some(vec!["a".into(), "B".into()]));
        assert_eq!(split(&"ä".repeat(40)).unwrap().len(), 62);
    }

    #[test]
    fn a_path_keeps_its_number() {
        let mut paths = SearchPaths::default();
        let (a, b) = (paths.get(Some("a")), paths.get(Some("b")));
        assert_ne!(a.id(), b.id());
        assert_eq!(paths.get(Some("a")).id(), a.id());
        assert_eq!(paths.get(None).id(), SearchPath::of_server().id());
        assert!(paths.get(Some("\"$user\"")).has_user() && !a.has_user());
        for index in 0..2 * MOST {
            paths.get(Some(&format!("s{index}")));
        }
        assert!(paths.by_text.len() <= MOST);
        assert_ne!(paths.get(Some("a")).id(), b.id());
    }
}
