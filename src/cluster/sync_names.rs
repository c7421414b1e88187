//! `synchronous_standby_names`: the values we write and what they look like.

use std::collections::BTreeSet;
use std::fmt;

use crate::topology::NodeName;

/// What `synchronous_standby_names` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncNames {
    /// Empty: commits wait for nobody.
    Nobody,
    /// `ANY k (names)`: commits wait until `k` of the named standbys have flushed them. With fewer names than
    /// `k`, the list is filled up with a name nobody has, so that commits wait.
    Any {
        /// How many must have flushed.
        k: u32,
        /// The `application_name`s that count.
        names: BTreeSet<NodeName>,
    },
    /// The soft fence: a name nobody has. Commits wait until it is taken away.
    Fence,
    /// Written by somebody else.
    Foreign(String),
}

/// A name no walreceiver has.
const NOBODY: &str = "bellwether_nobody";

impl SyncNames {
    /// Reads what the server shows. Whatever we would not write ourselves is [`Foreign`](Self::Foreign).
    pub fn parse(text: &str) -> SyncNames {
        if text.trim().is_empty() {
            return SyncNames::Nobody;
        }
        if text == SyncNames::Fence.to_string() {
            return SyncNames::Fence;
        }
        let read = || {
            let (k, names) = text.strip_prefix("ANY ")?.split_once(" (")?;
            let mut found = BTreeSet::new();
            for name in names.strip_suffix(')')?.split(", ") {
                let name = name.strip_prefix('"')?.strip_suffix('"')?;
                if !name.starts_with(NOBODY) {
                    found.insert(NodeName::new(&name.replace("\"\"", "\"")));
                }
            }
            Some(SyncNames::Any { k: k.parse().ok()?, names: found })
        };
        match read() {
            Some(names) if names.to_string() == text => names,
            _ => SyncNames::Foreign(text.to_owned()),
        }
    }
}

impl fmt::Display for SyncNames {
    /// Writes the value for `ALTER SYSTEM SET synchronous_standby_names`, without the quotes of a literal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nobody = |index: usize| format!("\"{NOBODY}_{index}\"");
        match self {
            SyncNames::Nobody => Ok(()),
            SyncNames::Fence => write!(f, "ANY 1 ({})", nobody(0)),
            SyncNames::Foreign(text) => f.write_str(text),
            SyncNames::Any { k, names } => {
                let mut quoted: Vec<String> =
                    names.iter().map(|name| format!("\"{}\"", name.as_str().replace('"', "\"\""))).collect();
                quoted.extend((quoted.len() + 1..=*k as usize).map(nobody));
                write!(f, "ANY {k} ({})", quoted.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(k: u32, names: &[&str]) -> SyncNames {
        SyncNames::Any { k, names: names.iter().map(|name| NodeName::new(name)).collect() }
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        for names in
            [SyncNames::Nobody, SyncNames::Fence, any(1, &["n2", "n3"]), any(2, &["n2"]), any(1, &[])]
        {
            assert_eq!(SyncNames::parse(&names.to_string()), names, "{names}");
        }
        assert_eq!(any(1, &["n3", "n2"]).to_string(), "ANY 1 (\"n2\", \"n3\")");
        assert_eq!(any(2, &["n2"]).to_string(), "ANY 2 (\"n2\", \"bellwether_nobody_2\")");
        assert_eq!(SyncNames::parse("FIRST 1 (a)"), SyncNames::Foreign("FIRST 1 (a)".to_owned()));
        assert_eq!(SyncNames::parse("*"), SyncNames::Foreign("*".to_owned()));
    }
}
