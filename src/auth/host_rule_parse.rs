//! Reads one line of host rules, in the syntax of `pg_hba.conf`; what we do not support is refused by name.

use std::net::IpAddr;

use super::host_rules::{AddressRange, ClientCert, HostRule, Kind, Method, Name};

/// What is wrong with a rule. The text names the field and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRuleError {
    /// The line ended too early.
    #[error("host rule ends before its {0}")]
    Missing(&'static str),
    /// A field that has no such value.
    #[error("host rule has {field} \"{found}\": expected {expected}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A quote without its end.
    #[error("host rule has a quoted name without its closing quote")]
    Quote,
    /// A method or option that this kind of connection cannot have.
    #[error("host rule has {0}, which only \"hostssl\" can have")]
    NeedsTls(&'static str),
}

/// Reads a line; `None` when it is empty or a comment.
pub(super) fn parse_rule(line: &str) -> Result<Option<HostRule>, HostRuleError> {
    let mut fields = fields(line)?.into_iter();
    let Some(kind) = fields.next() else { return Ok(None) };
    let kind = parse_kind(&kind)?;
    let mut next = |name| fields.next().ok_or(HostRuleError::Missing(name));
    let databases = names(next("database")?, parse_database)?;
    let users = names(next("user")?, parse_user)?;
    let address = match kind {
        Kind::Local => AddressRange::All,
        _ => parse_address(&single(next("address")?, "address")?, &mut next)?,
    };
    let method = parse_method(&single(next("method")?, "method")?)?;
    let mut client_cert = ClientCert::Off;
    for option in fields {
        client_cert = parse_option(&single(option, "option")?)?;
    }
    if kind != Kind::HostSsl && method == Method::Cert {
        return Err(HostRuleError::NeedsTls("method \"cert\""));
    }
    if kind != Kind::HostSsl && client_cert != ClientCert::Off {
        return Err(HostRuleError::NeedsTls("option \"clientcert\""));
    }
    Ok(Some(HostRule { kind, databases, users, address, method, client_cert }))
}

/// One word of a list; quoted words are never keywords.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    quoted: bool,
}

/// Cuts a line into fields at white space, and those into words at commas. As in `pg_hba.conf` a list may go on after a
/// comma and a space.
fn fields(line: &str) -> Result<Vec<Vec<Word>>, HostRuleError> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut rest = line.trim_start();
    let mut goes_on = false;
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = word(rest)?;
        match fields.last_mut() {
            Some(list) if goes_on => list.push(word),
            _ => fields.push(vec![word]),
        }
        let trimmed = after.trim_start();
        goes_on = after.starts_with(',');
        rest = after.strip_prefix(',').unwrap_or(trimmed).trim_start();
    }
    Ok(fields)
}

fn word(text: &str) -> Result<(Word, &str), HostRuleError> {
    let mut word = Word { text: String::new(), quoted: text.starts_with('"') };
    let mut in_quotes = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            // Doubled within quotes, it is part of the name.
            '"' if in_quotes && characters.next_if(|(_, next)| *next == '"').is_some() => word.text.push('"'),
            '"' => in_quotes = !in_quotes,
            ',' | '#' if !in_quotes => return Ok((word, &text[at..])),
            other if !in_quotes && other.is_whitespace() => return Ok((word, &text[at..])),
            other => word.text.push(other),
        }
    }
    if in_quotes { Err(HostRuleError::Quote) } else { Ok((word, "")) }
}

fn single(mut words: Vec<Word>, field: &'static str) -> Result<String, HostRuleError> {
    match (words.pop(), words.is_empty()) {
        (Some(word), true) => Ok(word.text),
        (word, _) => Err(HostRuleError::Invalid {
            field,
            found: word.map(|word| word.text).unwrap_or_default(),
            expected: "one value, not a list",
        }),
    }
}

fn names(
    words: Vec<Word>,
    parse: fn(String) -> Result<Name, HostRuleError>,
) -> Result<Vec<Name>, HostRuleError> {
    words
        .into_iter()
        .map(|word| if word.quoted { Ok(Name::Is(word.text)) } else { parse(word.text) })
        .collect()
}

fn parse_kind(words: &[Word]) -> Result<Kind, HostRuleError> {
    let found = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(",");
    Ok(match found.as_str() {
        "local" => Kind::Local,
        "host" => Kind::Host,
        "hostssl" => Kind::HostSsl,
        "hostnossl" => Kind::HostNoSsl,
        _ => {
            let expected = "local, host, hostssl or hostnossl";
            return Err(HostRuleError::Invalid { field: "type", found, expected });
        }
    })
}

fn parse_database(text: String) -> Result<Name, HostRuleError> {
    Ok(match text.as_str() {
        "all" => Name::All,
        "sameuser" => Name::SameUser,
        "replication" => Name::Replication,
        "samerole" | "samegroup" => return Err(unsupported("database", text)),
        _ if text.starts_with(['@', '/']) => return Err(unsupported("database", text)),
        _ => Name::Is(text),
    })
}

fn parse_user(text: String) -> Result<Name, HostRuleError> {
    match text.as_str() {
        "all" => Ok(Name::All),
        _ if text.starts_with(['@', '/', '+']) => Err(unsupported("user", text)),
        _ => Ok(Name::Is(text)),
    }
}

fn unsupported(field: &'static str, found: String) -> HostRuleError {
    let expected = "a name, \"all\" or, for databases, \"sameuser\" or \"replication\"; roles, files and patterns are not supported";
    HostRuleError::Invalid { field, found, expected }
}

fn parse_address(
    text: &str,
    next: &mut impl FnMut(&'static str) -> Result<Vec<Word>, HostRuleError>,
) -> Result<AddressRange, HostRuleError> {
    if text == "all" {
        return Ok(AddressRange::All);
    }
    let invalid = || HostRuleError::Invalid {
        field: "address",
        found: text.to_owned(),
        expected: "\"all\", ADDRESS/BITS, or an address and a mask; host names are not supported",
    };
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse().map_err(|_| invalid())?),
        None => {
            text.parse::<IpAddr>().map_err(|_| invalid())?;
            (text, parse_mask(&single(next("mask")?, "mask")?)?)
        }
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits > most {
        return Err(invalid());
    }
    Ok(AddressRange::Network { address, bits })
}

/// Counts the bits of a mask such as 255.255.0.0.
fn parse_mask(text: &str) -> Result<u8, HostRuleError> {
    let invalid = || HostRuleError::Invalid {
        field: "mask",
        found: text.to_owned(),
        expected: "a mask such as 255.255.0.0",
    };
    let (ones, zeros, width) = match text.parse().map_err(|_| invalid())? {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 32),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 128),
    };
    let bits = u8::try_from(ones).map_err(|_| invalid())?;
    if ones + zeros == width { Ok(bits) } else { Err(invalid()) }
}

fn parse_method(text: &str) -> Result<Method, HostRuleError> {
    Ok(match text {
        "trust" => Method::Trust,
        "reject" => Method::Reject,
        "password" => Method::Password,
        "md5" => Method::Md5,
        "scram-sha-256" => Method::Scram,
        "cert" => Method::Cert,
        _ => {
            let expected = "trust, reject, password, md5, scram-sha-256 or cert";
            return Err(HostRuleError::Invalid { field: "method", found: text.to_owned(), expected });
        }
    })
}

fn parse_option(text: &str) -> Result<ClientCert, HostRuleError> {
    match text {
        "clientcert=verify-ca" => Ok(ClientCert::VerifyCa),
        "clientcert=verify-full" => Ok(ClientCert::VerifyFull),
        _ => Err(HostRuleError::Invalid {
            field: "option",
            found: text.to_owned(),
            expected: "clientcert=verify-ca or clientcert=verify-full",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        for (line, error) in [
            ("foo all all all trust", "type \"foo\""),
            ("host", "before its database"),
            ("host all", "before its user"),
            ("host all all", "before its address"),
            ("host all all all", "before its method"),
            ("local all all", "before its method"),
            ("host samerole all all trust", "database \"samerole\""),
            ("host all +admins all trust", "user \"+admins\""),
            ("host all /^a all trust", "user \"/^a\""),
            ("host all all samehost trust", "address \"samehost\""),
            ("host all all 1.2.3.4/33 trust", "address \"1.2.3.4/33\""),
            ("host all all 1.2.3.4 255.0.255.0 trust", "mask \"255.0.255.0\""),
            ("host all all 1.2.3.4 trust", "mask \"trust\""),
            ("host all all ::/129 trust", "address \"::/129\""),
            ("host all all all scram", "method \"scram\""),
            ("host all all all cert", "method \"cert\", which only"),
            ("host all all all trust clientcert=verify-ca", "option \"clientcert\", which only"),
            ("hostssl all all all cert map=m", "option \"map=m\""),
            ("host all \"ann all trust", "closing quote"),
            ("host,local all all all trust", "type \"host,local\""),
            ("host all all all trust,md5", "one value"),
        ] {
            let found = parse_rule(line).unwrap_err().to_string();
            assert!(found.contains(error), "{line}: {found}");
        }
    }

    #[test]
    fn lists_quotes_and_comments() {
        let line =
            "hostssl a,\"b c\" , \"d\"\"e\"  \"all\", bob all scram-sha-256 clientcert=verify-full # last";
        assert!(parse_rule(line).is_err(), "a comma after a space starts a field without a name");
        let rule = parse_rule(&line.replace(" , ", ", ")).unwrap().unwrap();
        let is = |text: &str| Name::Is(text.to_owned());
        assert_eq!(rule.databases, [is("a"), is("b c"), is("d\"e")]);
        assert_eq!(rule.users, [is("all"), is("bob")]);
        assert_eq!((rule.method, rule.client_cert), (Method::Scram, ClientCert::VerifyFull));
        assert_eq!(parse_rule("  # nothing"), Ok(None));
        assert_eq!(parse_rule(""), Ok(None));
    }

    #[test]
    fn masks_and_widths() {
        let range = |line: &str| parse_rule(line).unwrap().unwrap().address;
        let network = |address: &str, bits| AddressRange::Network { address: address.parse().unwrap(), bits };
        assert_eq!(range("host all all 1.2.0.0 255.255.0.0 trust"), network("1.2.0.0", 16));
        assert_eq!(range("host all all 0.0.0.0/0 trust"), network("0.0.0.0", 0));
        assert_eq!(range("host all all fe80::/10 trust"), network("fe80::", 10));
        assert_eq!(range("host all all :: :: trust"), network("::", 0));
    }
}
