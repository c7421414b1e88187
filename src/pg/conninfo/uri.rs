//! The URI form: `postgres://user:password@host:port,host/dbname?keyword=value`.

use super::{ConnInfoError, Words, fault};

pub(super) fn without_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

pub(super) fn parse(text: &str) -> Result<Words, ConnInfoError> {
    let mut words = Words::default();
    // As in libpq the user part ends at the first "@" before any "/".
    let authority_end = text.find('/').unwrap_or(text.len());
    let rest = match text[..authority_end].find('@') {
        Some(at) => {
            user_part(&text[..at], &mut words)?;
            &text[at + 1..]
        }
        None => text,
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let (hosts, database) = match path.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (path, None),
    };
    host_part(hosts, &mut words)?;
    if let Some(database) = database.filter(|name| !name.is_empty()) {
        words.set("dbname", decoded(database, "the database name")?);
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        parameter(pair, &mut words)?;
    }
    Ok(words)
}

fn user_part(text: &str, words: &mut Words) -> Result<(), ConnInfoError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if !user.is_empty() {
        words.set("user", decoded(user, "the user")?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        words.set("password", decoded(password, "the password")?);
    }
    Ok(())
}

/// Splits `host:port,[v6]:port` into the lists `host` and `port`.
fn host_part(text: &str, words: &mut Words) -> Result<(), ConnInfoError> {
    if text.is_empty() {
        return Ok(());
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for spec in text.split(',') {
        let (host, port) = match spec.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']').ok_or_else(|| fault("\"[\" without \"]\""))?;
                match (after.is_empty(), after.strip_prefix(':')) {
                    (true, _) => (host, ""),
                    (false, Some(port)) => (host, port),
                    (false, None) => return Err(fault("after \"]\" only \":\" and a port may follow")),
                }
            }
            None => spec.split_once(':').unwrap_or((spec, "")),
        };
        let host = decoded(host, "a host")?;
        if host.contains(',') {
            return Err(fault("a host contains an escaped comma"));
        }
        hosts.push(host);
        ports.push(port);
    }
    words.set("host", hosts.join(","));
    // Nothing but commas means no port was written, and so that `?port=` alone serves every host.
    if ports.iter().any(|port| !port.is_empty()) {
        words.set("port", ports.join(","));
    }
    Ok(())
}

fn parameter(pair: &str, words: &mut Words) -> Result<(), ConnInfoError> {
    let Some((keyword, value)) = pair.split_once('=') else {
        return Err(fault("a parameter after \"?\" has no \"=\""));
    };
    let keyword = decoded(keyword, "a parameter's name")?;
    if value.contains('=') {
        return Err(ConnInfoError(format!("parameter \"{keyword}\" has a second \"=\"; write it as %3D")));
    }
    let value = decoded(value, &format!("parameter \"{keyword}\""))?;
    match (keyword.as_str(), value.as_str()) {
        // JDBC's spelling, which libpq takes too.
        ("ssl", "true") => words.set("sslmode", "require".to_owned()),
        _ => words.set(&keyword, value),
    }
    Ok(())
}

/// Undoes percent-encoding. `what` names the part in the error; its text is not shown.
fn decoded(text: &str, what: &str) -> Result<String, ConnInfoError> {
    let wrong = |why: &str| ConnInfoError(format!("{what}: {why}"));
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong("\"%\" must be followed by two hexadecimal digits (a plain one is %25)"));
        };
        match u8::try_from(high << 4 | low) {
            Ok(0) | Err(_) => return Err(wrong("%00 is not allowed")),
            Ok(byte) => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| wrong("not valid UTF-8 after decoding"))
}
