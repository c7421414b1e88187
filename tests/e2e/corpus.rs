//! Reads the corpus of statements and what is expected of each; see the head of `oracle/corpus.txt`.

/// One statement of the corpus.
pub struct Case {
    /// Where it stands.
    pub line: usize,
    /// The search path it is for; `None` for the default.
    pub path: Option<&'static str>,
    pub text: &'static str,
    pub expected: Expected,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// To a standby.
    Standby {
        /// The answer is never twice the same.
        varies: bool,
    },
    /// To a standby for another reason than proof, so that the answers are not compared.
    Asked(&'static str),
    /// To the primary, for this reason.
    Primary(&'static str),
}

/// Returns the whole corpus.
pub fn cases() -> Vec<Case> {
    let mut path = None;
    let mut cases = Vec::new();
    for (line, text) in (1..).zip(include_str!("oracle/corpus.txt").lines()) {
        if let Some(given) = text.strip_prefix("@search_path") {
            path = Some(given.trim()).filter(|path| !path.is_empty());
        } else if !text.is_empty() && !text.starts_with('#') {
            let (text, expected) = text
                .rsplit_once("  =>  ")
                .unwrap_or_else(|| panic!("line {line} of the corpus has no arrow"));
            let expected = match expected {
                "standby" => Expected::Standby { varies: false },
                "standby, varies" => Expected::Standby { varies: true },
                other => match other.split_once(": ") {
                    Some(("standby", reason)) => Expected::Asked(reason),
                    Some(("primary", reason)) => Expected::Primary(reason),
                    _ => panic!("line {line} of the corpus: {other:?} is no expectation"),
                },
            };
            cases.push(Case { line, path, text, expected });
        }
    }
    cases
}
