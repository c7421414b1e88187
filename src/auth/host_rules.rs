//! Who may connect from where, and how it must prove itself: ordered rules like those of `pg_hba.conf`.

use std::net::IpAddr;

use crate::pg::SqlState;
use crate::wire::error_response::PgError;

use super::host_rule_parse::{HostRuleError, parse_rule};

/// How a client proves that it is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It need not.
    Trust,
    /// It cannot.
    Reject,
    /// By the password in clear.
    Password,
    /// By md5 where the verifier is an md5 hash or plain, else by SCRAM, as PostgreSQL does.
    Md5,
    /// By SCRAM-SHA-256, with channel binding where the client is on TLS.
    Scram,
    /// By a certificate whose common name is the user.
    Cert,
}

/// What a rule wants of a client's certificate besides the method (`clientcert`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCert {
    /// Nothing.
    #[default]
    Off,
    /// A valid one.
    VerifyCa,
    /// A valid one whose common name is the user.
    VerifyFull,
}

/// What is known of a connection once its startup packet is read.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// The client's address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether the client is on TLS.
    pub tls: bool,
    /// The user it named.
    pub user: &'a str,
    /// The database it named, or the user's name where it named none.
    pub database: &'a str,
    /// Whether it asks for physical replication (`replication=true`), which has no database.
    pub replication: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    pub(super) kind: Kind,
    pub(super) databases: Vec<Name>,
    pub(super) users: Vec<Name>,
    pub(super) address: AddressRange,
    /// How the client proves itself.
    pub method: Method,
    /// What else it must show.
    pub client_cert: ClientCert,
}

/// Which kinds of connection a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
}

/// An element of the list of databases or users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    All,
    SameUser,
    Replication,
    Is(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressRange {
    All,
    Network { address: IpAddr, bits: u8 },
}

/// The rules in their order: the first that fits decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRules {
    rules: Vec<HostRule>,
}

impl Default for HostRules {
    /// Everyone from everywhere by SCRAM: what PostgreSQL's own verifiers are for since version 14, and the only
    /// method by which a login here also opens the servers without a list of users.
    fn default() -> Self {
        let any = |kind| HostRule {
            kind,
            databases: vec![Name::All, Name::Replication],
            users: vec![Name::All],
            address: AddressRange::All,
            method: Method::Scram,
            client_cert: ClientCert::Off,
        };
        HostRules { rules: vec![any(Kind::Local), any(Kind::Host)] }
    }
}

impl HostRules {
    /// Reads rules, one per line; empty lines and comments (`#`) are passed over. No rule at all means that nobody may
    /// connect: for the default use [`HostRules::default`].
    ///
    /// The error has the number of the line, from 1.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, (usize, HostRuleError)> {
        let mut rules = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            rules.extend(parse_rule(line).map_err(|error| (index + 1, error))?);
        }
        Ok(HostRules { rules })
    }

    /// Returns the rule for a connection.
    ///
    /// The error is PostgreSQL's for a rule that rejects, and for no rule at all: to be sent before anything is asked.
    pub fn decide(&self, connection: &ConnectionFacts<'_>) -> Result<&HostRule, PgError> {
        let address = connection.address.map(|address| address.to_canonical());
        let connection = ConnectionFacts { address, ..*connection };
        match self.rules.iter().find(|rule| rule.fits(&connection)) {
            Some(rule) if rule.method == Method::Reject => Err(refused(
                &connection,
                "pg_hba.conf rejects replication connection for",
                "pg_hba.conf rejects connection for",
            )),
            Some(rule) => Ok(rule),
            None => Err(refused(
                &connection,
                "no pg_hba.conf entry for replication connection from",
                "no pg_hba.conf entry for",
            )),
        }
    }

    /// Tells whether any rule wants a certificate of the client: then TLS needs a client CA.
    pub fn want_certificates(&self) -> bool {
        self.rules.iter().any(|rule| rule.method == Method::Cert || rule.client_cert != ClientCert::Off)
    }
}

impl HostRule {
    fn fits(&self, connection: &ConnectionFacts<'_>) -> bool {
        let kind = match (self.kind, connection.address) {
            (Kind::Local, address) => address.is_none(),
            (_, None) => false,
            (Kind::Host, Some(_)) => true,
            (Kind::HostSsl, Some(_)) => connection.tls,
            (Kind::HostNoSsl, Some(_)) => !connection.tls,
        };
        kind && connection.address.is_none_or(|address| self.address.contains(address))
            && self.databases.iter().any(|name| name.is_database_of(connection))
            && self.users.iter().any(|name| *name == Name::All || name.is(connection.user))
    }
}

impl Name {
    fn is(&self, text: &str) -> bool {
        matches!(self, Name::Is(name) if name == text)
    }

    /// `check_db`: for physical replication only the keyword counts.
    fn is_database_of(&self, connection: &ConnectionFacts<'_>) -> bool {
        match self {
            Name::Replication => connection.replication,
            _ if connection.replication => false,
            Name::All => true,
            Name::SameUser => connection.database == connection.user,
            Name::Is(name) => name == connection.database,
        }
    }
}

impl AddressRange {
    fn contains(self, client: IpAddr) -> bool {
        let AddressRange::Network { address, bits } = self else { return true };
        match (address, client) {
            (IpAddr::V4(network), IpAddr::V4(client)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                (network.to_bits() ^ client.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(client)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                (network.to_bits() ^ client.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

fn refused(connection: &ConnectionFacts<'_>, replication: &str, session: &str) -> PgError {
    let ConnectionFacts { user, database, .. } = connection;
    let host = connection.address.map_or_else(|| "[local]".to_owned(), |address| address.to_string());
    let encryption = if connection.tls { "SSL encryption" } else { "no encryption" };
    let message = if connection.replication {
        format!("{replication} host \"{host}\", user \"{user}\", {encryption}")
    } else {
        format!("{session} host \"{host}\", user \"{user}\", database \"{database}\", {encryption}")
    };
    PgError::fatal(SqlState::INVALID_AUTHORIZATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(rules: &str, address: &str, tls: bool, user: &str, database: &str) -> Result<Method, String> {
        let rules = HostRules::parse(rules.lines()).unwrap();
        let address = (!address.is_empty()).then(|| address.parse().unwrap());
        let facts = ConnectionFacts { address, tls, user, database, replication: database == "replication" };
        rules.decide(&facts).map(|rule| rule.method).map_err(|error| error.message)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = "# who\n\
            local all all trust\n\
            host app,shop ann,bob 10.0.0.0/8 scram-sha-256\n\
            hostssl sameuser all ::/0 cert\n\
            hostnossl all eve all reject\n\
            host \"all\" all 192.168.1.7/32 password\n\
            host replication rep samehost.none.0 md5";
        assert!(HostRules::parse(rules.lines()).is_err());
        let rules = rules.replace("samehost.none.0", "127.0.0.1 255.0.0.0");
        let decide = |address, tls, user, database| decide(&rules, address, tls, user, database);
        assert_eq!(decide("", false, "zoe", "x"), Ok(Method::Trust));
        assert_eq!(decide("10.9.8.7", false, "bob", "shop"), Ok(Method::Scram));
        assert_eq!(decide("::ffff:10.9.8.7", false, "bob", "shop"), Ok(Method::Scram));
        assert!(decide("11.9.8.7", false, "bob", "shop").is_err());
        assert_eq!(decide("fe80::1", true, "bob", "bob"), Ok(Method::Cert));
        assert!(decide("fe80::1", true, "bob", "shop").is_err());
        assert_eq!(decide("192.168.1.7", false, "bob", "all"), Ok(Method::Password));
        assert!(decide("192.168.1.7", false, "bob", "other").is_err());
        assert_eq!(decide("127.9.9.9", false, "rep", "replication"), Ok(Method::Md5));
    }

    #[test]
    fn refusals_have_postgresqls_words() {
        assert_eq!(
            decide("", "1.2.3.4", false, "x", "y").unwrap_err(),
            "no pg_hba.conf entry for host \"1.2.3.4\", user \"x\", database \"y\", no encryption"
        );
        assert_eq!(
            decide("", "", false, "x", "replication").unwrap_err(),
            "no pg_hba.conf entry for replication connection from host \"[local]\", user \"x\", no encryption"
        );
        assert_eq!(
            decide("host all all all reject", "::1", true, "x", "y").unwrap_err(),
            "pg_hba.conf rejects connection for host \"::1\", user \"x\", database \"y\", SSL encryption"
        );
    }

    #[test]
    fn by_default_everyone_uses_scram() {
        let rules = HostRules::default();
        for (address, replication) in [(None, false), (Some([1, 2, 3, 4].into()), true)] {
            let facts = ConnectionFacts { address, tls: false, user: "x", database: "y", replication };
            assert_eq!(rules.decide(&facts).map(|rule| rule.method), Ok(Method::Scram));
        }
        assert!(!rules.want_certificates());
    }
}
