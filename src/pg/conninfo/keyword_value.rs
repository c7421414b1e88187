//! The keyword/value form: `host=a,b user=app password='it\'s'`.

use super::{ConnInfoError, Words};

pub(super) fn parse(text: &str) -> Result<Words, ConnInfoError> {
    let mut words = Words::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(ConnInfoError(missing_equals(keyword)));
        };
        let (value, after) = value(after.trim_start())
            .ok_or_else(|| ConnInfoError(format!("the quoted value of \"{keyword}\" is not closed")))?;
        words.set(keyword, value);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Takes one value off the front: quoted or bare, a backslash making the next character literal.
/// `None` when a quote stays open.
fn value(text: &str) -> Option<(String, &str)> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, literal)| literal)),
            '\'' if quoted => return Some((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Some((value, &body[at..])),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

/// What stands before the missing `=` may be a stray piece of a password, so only a plain word is shown.
fn missing_equals(keyword: &str) -> String {
    let plain = !keyword.is_empty() && keyword.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    match plain {
        true => format!("no \"=\" after \"{keyword}\" (the other form begins with postgres://)"),
        false => "expected keyword=value pairs, or a URI that begins with postgres://".to_owned(),
    }
}
