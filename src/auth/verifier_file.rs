//! A file of verifiers, in the syntax of `PgBouncer`'s `userlist.txt`: `"user" "verifier"`, one a line.

use std::collections::BTreeMap;

use super::verifier::Verifier;

/// The users of a verifier file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifierFile {
    users: BTreeMap<String, Option<Verifier>>,
}

/// What is wrong with a verifier file. Says nothing of what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("verifier file, line {line}: {problem}")]
pub struct VerifierFileError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl VerifierFile {
    /// Reads the text of a file. `;` and `#` begin a comment line; `""` within quotes is one quote; what follows the second
    /// string on a line is passed over, as `PgBouncer` does. A user named twice is an error.
    pub fn parse(text: &str) -> Result<Self, VerifierFileError> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            let failed = |problem| VerifierFileError { line: index + 1, problem };
            let (user, rest) = quoted(line).map_err(failed)?;
            let (verifier, _) = quoted(rest.trim_start()).map_err(failed)?;
            if user.is_empty() {
                return Err(failed("user name is empty"));
            }
            if users.insert(user, Verifier::from_file(&verifier)).is_some() {
                return Err(failed("user is named a second time"));
            }
        }
        Ok(VerifierFile { users })
    }

    /// Looks a user up: the outer `None` when it is not in the file, the inner when it has no password there.
    pub fn get(&self, user: &str) -> Option<Option<&Verifier>> {
        self.users.get(user).map(Option::as_ref)
    }

    /// Returns how many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// Reads a string in double quotes; returns it and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut rest = text.strip_prefix('"').ok_or("expected a string in double quotes")?;
    let mut value = String::new();
    loop {
        let (before, after) = rest.split_once('"').ok_or("closing quote is missing")?;
        value.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Ok((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    #[test]
    fn users_comments_and_quotes() {
        let text =
            "; comment\n\n  # another\n\"ann\" \"hush\"\n\"a\"\"b\"\t\"p\"\"w\" ignored\n\"nobody\" \"\"\n";
        let file = VerifierFile::parse(text).unwrap();
        let plain = |text: &str| Verifier::Plain(Secret::from(text));
        assert_eq!(file.get("ann"), Some(Some(&plain("hush"))));
        assert_eq!(file.get("a\"b"), Some(Some(&plain("p\"w"))));
        assert_eq!(file.get("nobody"), Some(None));
        assert_eq!(file.get("bob"), None);
        assert_eq!(file.len(), 3);
        assert!(!format!("{file:?}").contains("hush"));
    }

    #[test]
    fn errors_have_the_line() {
        for (text, line) in [
            ("ann hush", 1),
            ("\n\"ann\"", 2),
            ("\"ann\" \"hush", 1),
            ("\"ann\" \"x\"\n;\n\"ann\" \"y\"", 3),
            ("\"\" \"x\"", 1),
        ] {
            assert_eq!(VerifierFile::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
