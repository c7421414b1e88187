//! Hints in comments: `/* bellwether: primary */` or `/* bellwether: standby */` at the head or the tail of a text.
//!
//! At the head a comment is a comment whatever follows. Where the tail begins only the grammar can tell, so it is
//! asked: what stands in front of a comment must be complete without it. A string that looks like a comment never is.

use super::parse;

/// What the comments around a text ask of routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The primary.
    Primary,
    /// A standby.
    Standby,
    /// Something else, or both. It is ignored, and counted.
    Malformed,
}

/// Returns what the comments at the head and the tail of `text` ask for; `None` when they say nothing to us. In a text
/// that the grammar does not take, the tail is not found.
pub(super) fn find(text: &[u8], standard_conforming_strings: bool) -> Option<Hint> {
    if !mentions(text) {
        return None;
    }
    let mut hint = None;
    let head = comments(text, 0, |body| add(&mut hint, body));
    if let Some(at) = tail(text, head, standard_conforming_strings) {
        comments(text, at, |body| add(&mut hint, body));
    }
    hint
}

/// Passes over blanks and comments (`scan.l`) from `at` on; returns where they end.
pub(super) fn skip_blank(text: &[u8], at: usize) -> usize {
    comments(text, at, |_| {})
}

/// What a hint begins with.
const KEYWORD: &[u8] = b"bellwether:";

/// The tail is looked for in this much of the end of a text, and so many places where it may begin are tried, each at
/// the cost of parsing the text: a text made to be slow is not.
const LONGEST_TAIL: usize = 1024;
const MOST_TRIES: usize = 8;

/// Tells whether `text` can hold a hint at all: nearly none does, and is looked at no further.
fn mentions(text: &[u8]) -> bool {
    let ends = memchr::memchr_iter(b':', text);
    ends.into_iter().any(|colon| {
        let begins = (colon + 1).checked_sub(KEYWORD.len());
        begins.is_some_and(|begins| text[begins..=colon].eq_ignore_ascii_case(KEYWORD))
    })
}

fn add(hint: &mut Option<Hint>, comment: &[u8]) {
    let comment = comment.trim_ascii();
    let Some((keyword, asked)) = comment.split_at_checked(KEYWORD.len()) else { return };
    if !keyword.eq_ignore_ascii_case(KEYWORD) {
        return;
    }
    let asked = match asked.trim_ascii() {
        word if word.eq_ignore_ascii_case(b"primary") => Hint::Primary,
        word if word.eq_ignore_ascii_case(b"standby") => Hint::Standby,
        _ => Hint::Malformed,
    };
    *hint = Some(match hint {
        Some(known) if *known != asked => Hint::Malformed,
        _ => asked,
    });
}

/// Returns where the comments at the end of `text` begin, not before `from`; `None` when there are none.
fn tail(text: &[u8], from: usize, standard_conforming_strings: bool) -> Option<usize> {
    let complete = |text: &[u8]| parse::parse(text, standard_conforming_strings).is_some();
    let from = from.max(text.len().saturating_sub(LONGEST_TAIL));
    let starts = memchr::memchr2_iter(b'/', b'-', text.get(from..)?).map(|at| from + at);
    let starts =
        starts.filter(|at| matches!(text.get(*at..at + 2), Some(b"/*" | b"--")) && is_tail(text, *at));
    starts.take(MOST_TRIES).find(|at| {
        let before = &text[..*at];
        // Behind a quote the grammar takes nothing, unless all of it is in a comment that ends with its line.
        complete(before) && !complete(&[before, b"'"].concat())
    })
}

/// Tells whether there is nothing but comments, blanks and semicolons from `at` on.
fn is_tail(text: &[u8], mut at: usize) -> bool {
    loop {
        at = skip_blank(text, at);
        match text.get(at) {
            Some(b';') => at += 1,
            Some(_) => return false,
            None => return true,
        }
    }
}

/// Shows each comment's text from `at` on, as far as there is nothing else but blanks; returns where that ends.
/// Comments may be nested.
fn comments<'a>(text: &'a [u8], mut at: usize, mut seen: impl FnMut(&'a [u8])) -> usize {
    loop {
        match text.get(at..).unwrap_or_default() {
            [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..] => at += 1,
            [b'-', b'-', rest @ ..] => {
                let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                seen(&rest[..length]);
                at += 2 + length;
            }
            [b'/', b'*', rest @ ..] => {
                let length = comment(rest);
                seen(rest[..length].strip_suffix(b"*/").unwrap_or(&rest[..length]));
                at += 2 + length;
            }
            _ => return at,
        }
    }
}

/// Returns the length of a comment whose beginning has been read.
fn comment(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 1);
    while depth > 0 {
        match text.get(at..).unwrap_or_default() {
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [_, ..] => at += 1,
            [] => return at,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(text: &str) -> Option<Hint> {
        find(text.as_bytes(), true)
    }

    #[test]
    fn hints_stand_at_the_head_and_the_tail() {
        let (primary, standby) = (Some(Hint::Primary), Some(Hint::Standby));
        for (text, found) in [
            ("/* bellwether: primary */ select 1", primary),
            ("/*BELLWETHER:Standby*/select 1", standby),
            ("-- bellwether: primary\nselect 1", primary),
            ("/* app */ -- more\n /* bellwether:standby */ select 1; select 2", standby),
            ("select 1 /* bellwether: primary */", primary),
            ("select 1; /* bellwether: primary */ ; -- end", primary),
            ("select 1 + 2--bellwether: standby", standby),
            ("select 'it''s' /* a */ /* bellwether: standby */\n", standby),
            ("/* bellwether: primary */", primary),
            ("/* bellwether: primary */ selec", primary),
            ("/* bellwether: primary */ select 1 /* bellwether: primary */", primary),
            ("select 1 /* a /* b */ */ -- bellwether: primary", primary),
        ] {
            assert_eq!(hint(text), found, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for text in [
            "select '/* bellwether: primary */'",
            "select 'x -- bellwether: primary'",
            "select 'x\n/* bellwether: primary */ --'",
            "select $a$ /* bellwether: primary */ -- $a$",
            "select $$\n-- bellwether: primary\n$$",
            "select \"-- bellwether: primary\"",
            "select e'\\' /* bellwether: primary */ -- '",
            "select 1 -- /* bellwether: primary */",
            "select /* bellwether: primary */ 1",
            "select 1; /* bellwether: primary */ select 2",
            "/* the bellwether: primary */ select 1",
            "/* /* bellwether: primary */ */ select 1",
            "/* bellwether primary */ select 1",
            "selec /* bellwether: primary */",
            "select 1",
            "",
        ] {
            assert_eq!(hint(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_malformed() {
        for text in [
            "/* bellwether: replica */ select 1",
            "/* bellwether: */ select 1",
            "/* bellwether: primary, please */ select 1",
            "/* bellwether: primary */ select 1 /* bellwether: standby */",
            "select 1 -- bellwether: primary standby",
        ] {
            assert_eq!(hint(text), Some(Hint::Malformed), "{text}");
        }
    }

    #[test]
    fn a_text_made_to_be_slow_is_not() {
        let text = format!("select 1 {}bellwether: primary", "/*".repeat(400_000));
        assert_eq!(hint(&text), None);
        let text = format!("select 1 {}bellwether: primary*/", "/**/".repeat(200_000));
        assert_eq!(hint(&text), None);
    }
}
