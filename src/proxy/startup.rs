//! What a startup packet asks for: user, database, replication, settings.

use crate::pg::SqlState;
use crate::routing::{OwnSetting, Wishes};
use crate::session::Settings;
use crate::sql::OWN_PREFIX;
use crate::wire::error_response::PgError;
use crate::wire::startup::{ProtocolVersion, Startup};

/// A startup packet, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub user: String,
    /// Which database; the user's name when none was named.
    pub database: String,
    /// Version spoken from here on.
    pub version: ProtocolVersion,
    /// Whether the client asked for something we do not know, and must be told what we speak.
    pub negotiate: bool,
    /// Protocol options it asked for; none is known.
    pub unknown_options: Vec<String>,
    /// Replication, if it is that: physical (`true`) or logical (`database`).
    pub replication: Option<Replication>,
    /// Settings of the session.
    pub settings: Settings,
    /// The proxy's own settings among them, with their values.
    pub own: Vec<(OwnSetting, String)>,
    /// Every parameter but user and database, for a connection that is passed through.
    pub parameters: Vec<(String, String)>,
}

/// Kinds of replication connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// `replication=true`: WAL of the whole cluster; there is no database.
    Physical,
    /// `replication=database`.
    Logical,
}

/// Reads the parameters of a startup packet by the rules of `ProcessStartupPacket()`.
pub fn read(startup: &Startup<'_>) -> Result<Request, PgError> {
    let user = startup.get("user").filter(|user| !user.is_empty()).ok_or_else(|| {
        PgError::fatal(SqlState::INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet")
    })?;
    let database = startup.get("database").filter(|database| !database.is_empty()).unwrap_or(user);
    let replication = startup.get("replication").map_or(Ok(None), read_replication)?;
    let unknown_options: Vec<String> = startup.protocol_options().map(str::to_owned).collect();
    let version = startup.version.negotiated();
    let ours = |name: &str| matches!(name, "user" | "database") || name.starts_with("_pq_.");
    let parameters: Vec<(String, String)> = startup
        .parameters
        .iter()
        .filter(|(name, _)| !ours(name))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    // Options of the command line come first, so that parameters of their own win, as in process_startup_options().
    let mut settings = startup.get("options").map_or(Ok(Vec::new()), read_options)?;
    settings
        .extend(parameters.iter().filter(|(name, _)| !matches!(&**name, "options" | "replication")).cloned());
    let own = take_own(&mut settings)?;
    Ok(Request {
        user: user.to_owned(),
        database: database.to_owned(),
        negotiate: version != startup.version || !unknown_options.is_empty(),
        version,
        unknown_options,
        replication,
        settings: Settings::new(settings),
        own,
        parameters,
    })
}

/// Takes the proxy's own settings out of those for servers.
fn take_own(settings: &mut Vec<(String, String)>) -> Result<Vec<(OwnSetting, String)>, PgError> {
    let mut own = Vec::new();
    let is_own = |name: &str| name.to_ascii_lowercase().starts_with(OWN_PREFIX);
    for (name, value) in settings.extract_if(.., |(name, _)| is_own(name)) {
        let setting = OwnSetting::named(&name.to_ascii_lowercase()).ok_or_else(|| {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            PgError::fatal(SqlState::UNDEFINED_OBJECT, message)
        })?;
        // Said now, before anything else is done for the client.
        Wishes::default().set(setting, &value).map_err(|bad| {
            PgError::fatal(SqlState::INVALID_PARAMETER_VALUE, bad.to_string()).hint(bad.hint)
        })?;
        own.push((setting, value));
    }
    Ok(own)
}

fn read_replication(value: &str) -> Result<Option<Replication>, PgError> {
    match &*value.to_ascii_lowercase() {
        "database" => Ok(Some(Replication::Logical)),
        "true" | "on" | "yes" | "1" | "t" | "y" => Ok(Some(Replication::Physical)),
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(None),
        _ => {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            let hint = "Valid values are: \"false\", 0, \"true\", 1, \"database\".";
            Err(PgError::fatal(SqlState::INVALID_PARAMETER_VALUE, message).hint(hint))
        }
    }
}

/// Reads settings out of `options`: `-c name=value`, `-cname=value` and `--name=value`, split at white space that no
/// backslash precedes (`pg_split_opts()`).
fn read_options(options: &str) -> Result<Vec<(String, String)>, PgError> {
    let mut settings = Vec::new();
    let mut words = split_options(options).into_iter();
    while let Some(word) = words.next() {
        let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(rest), _) => rest.to_owned(),
            (None, Some("")) => words.next().ok_or_else(|| bad_option(&word))?,
            (None, Some(rest)) => rest.to_owned(),
            _ => return Err(bad_option(&word)),
        };
        let (name, value) = assignment.split_once('=').ok_or_else(|| bad_option(&assignment))?;
        settings.push((name.trim().replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

fn bad_option(option: &str) -> PgError {
    let message = format!("invalid command-line argument for server process: {option}");
    PgError::fatal(SqlState::SYNTAX_ERROR, message)
        .hint("Settings are given as \"-c name=value\" or \"--name=value\".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup<'a>(parameters: &[(&'a str, &'a str)]) -> Startup<'a> {
        Startup { version: ProtocolVersion::V3_0, parameters: parameters.to_vec() }
    }

    #[test]
    fn the_database_is_the_users_unless_named() {
        let request = read(&startup(&[("user", "ann"), ("application_name", "x")])).expect("a startup");
        assert_eq!((&*request.user, &*request.database), ("ann", "ann"));
        assert_eq!(request.settings.get("application_name"), Some("x"));
        assert!(!request.negotiate);
        assert_eq!(
            read(&startup(&[("database", "d")])).map_err(|e| e.code),
            Err(SqlState::INVALID_AUTHORIZATION)
        );
    }

    #[test]
    fn options_are_settings_and_parameters_go_before_them() {
        let options = r"-c work_mem=1MB --enable-seqscan=off -capplication_name=from\ options";
        let sent = [("user", "u"), ("options", options), ("work_mem", "2MB"), ("replication", "off")];
        let request = read(&startup(&sent)).expect("a startup");
        let settings: Vec<_> = request.settings.iter().collect();
        let expected = [("application_name", "from options"), ("enable_seqscan", "off"), ("work_mem", "2MB")];
        assert_eq!(settings, expected);
        for bad in ["-c", "-c x", "-d 5", "x"] {
            assert!(read(&startup(&[("user", "u"), ("options", bad)])).is_err(), "{bad}");
        }
    }

    #[test]
    fn own_settings_are_kept_from_servers() {
        let sent = [
            ("user", "u"),
            ("options", "-c Bellwether.route=standby -c a.b=1"),
            ("bellwether.route", "primary"),
        ];
        let request = read(&startup(&sent)).expect("a startup");
        assert_eq!(request.settings.iter().collect::<Vec<_>>(), [("a.b", "1")]);
        let own = [(OwnSetting::Route, "standby".to_owned()), (OwnSetting::Route, "primary".to_owned())];
        assert_eq!(request.own, own);
        for (name, value, code) in [
            ("bellwether.route", "up", SqlState::INVALID_PARAMETER_VALUE),
            ("bellwether.rout", "auto", SqlState::UNDEFINED_OBJECT),
        ] {
            assert_eq!(read(&startup(&[("user", "u"), (name, value)])).map_err(|e| e.code), Err(code));
        }
    }

    #[test]
    fn replication_and_unknown_options_are_seen() {
        let read_kind =
            |value| read(&startup(&[("user", "u"), ("replication", value)])).map(|r| r.replication);
        assert_eq!(read_kind("database"), Ok(Some(Replication::Logical)));
        assert_eq!(read_kind("on"), Ok(Some(Replication::Physical)));
        assert_eq!(read_kind("0"), Ok(None));
        assert!(read_kind("maybe").is_err());
        let mut newer = startup(&[("user", "u"), ("_pq_.magic", "1")]);
        newer.version = ProtocolVersion((3 << 16) | 7);
        let request = read(&newer).expect("a startup");
        assert_eq!((request.negotiate, request.version), (true, ProtocolVersion::V3_2));
        assert_eq!(request.unknown_options, ["_pq_.magic"]);
        assert!(request.settings.is_empty());
    }
}
