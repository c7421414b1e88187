//! What a session may ask of routing by the proxy's own settings, `bellwether.*`: their names, values and spelling.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Route;
use super::quantity::{self, Unit};
use crate::pg::{Lsn, Timeline};

/// One of the proxy's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // See the fields of `Wishes`.
pub enum OwnSetting {
    Route,
    Consistency,
    MaxStalenessBytes,
    MaxStaleness,
    OnStale,
    WaitLimit,
    Token,
}

impl OwnSetting {
    /// All of them with their names.
    pub const NAMES: [(&'static str, OwnSetting); 7] = [
        ("bellwether.route", OwnSetting::Route),
        ("bellwether.consistency", OwnSetting::Consistency),
        ("bellwether.max_staleness_bytes", OwnSetting::MaxStalenessBytes),
        ("bellwether.max_staleness", OwnSetting::MaxStaleness),
        ("bellwether.on_stale", OwnSetting::OnStale),
        ("bellwether.wait_limit", OwnSetting::WaitLimit),
        ("bellwether.token", OwnSetting::Token),
    ];

    /// Returns the setting called `name`, in lower case; `None` if there is none.
    pub fn named(name: &str) -> Option<OwnSetting> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, setting)| *setting)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// How fresh what a session reads must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// It sees what it wrote, and what it saw before.
    #[default]
    Session,
    /// Whatever the standby has.
    Eventual,
    /// No staler than a limit.
    Bounded,
    /// The latest commit.
    Strong,
}

impl Consistency {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Consistency); 4] = [
        ("session", Consistency::Session),
        ("eventual", Consistency::Eventual),
        ("bounded", Consistency::Bounded),
        ("strong", Consistency::Strong),
    ];
}

/// What becomes of a read for which no standby is fresh enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStale {
    /// It waits for a standby, up to the limit, and then runs on the primary.
    Wait,
    /// It runs on the primary.
    #[default]
    Primary,
    /// It waits up to the limit, and then fails.
    Error,
}

impl OnStale {
    /// All of them with their names.
    pub const NAMES: [(&'static str, OnStale); 3] =
        [("wait", OnStale::Wait), ("primary", OnStale::Primary), ("error", OnStale::Error)];
}

/// A place in the history of writes: what a session must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The WAL history that the position belongs to.
    pub timeline: Timeline,
    /// The position.
    pub lsn: Lsn,
}

impl fmt::Display for Token {
    /// Writes `timeline:position`, such as `1:0/3000060`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.timeline, self.lsn)
    }
}

/// A text that is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: expected a timeline and a WAL position, such as 1:0/3000060")]
pub struct ParseTokenError;

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (timeline, lsn) = text.split_once(':').ok_or(ParseTokenError)?;
        let digits = !timeline.is_empty() && timeline.bytes().all(|byte| byte.is_ascii_digit());
        let timeline = timeline.parse().ok().filter(|timeline| digits && *timeline > 0);
        let lsn = lsn.parse().map_err(|_| ParseTokenError)?;
        Ok(Token { timeline: Timeline(timeline.ok_or(ParseTokenError)?), lsn })
    }
}

/// The proxy's own settings of one session, read once when one of them changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Which kind of node statements go to.
    pub route: Route,
    /// How fresh reads must be.
    pub consistency: Consistency,
    /// For `bounded`: how many bytes of WAL a standby may be behind.
    pub max_staleness_bytes: u64,
    /// For `bounded`: how old what a standby shows may be, to the millisecond.
    pub max_staleness: Duration,
    /// What becomes of a read for which no standby is fresh enough.
    pub on_stale: OnStale,
    /// How long such a read may wait, to the millisecond.
    pub wait_limit: Duration,
    /// What the client has asked to see, besides what the session wrote and saw itself.
    pub token: Option<Token>,
}

impl Default for Wishes {
    /// A session that has asked for nothing. The limit of bytes is one WAL segment; ten seconds are what people take
    /// for a slow page, and longer is an outage.
    fn default() -> Self {
        Wishes {
            route: Route::Auto,
            consistency: Consistency::Session,
            max_staleness_bytes: 16 << 20,
            max_staleness: Duration::from_secs(10),
            on_stale: OnStale::Primary,
            wait_limit: Duration::from_millis(500),
            token: None,
        }
    }
}

/// A value that a setting cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for parameter \"{}\": \"{value}\"", .setting.name())]
pub struct BadValue {
    /// The setting.
    pub setting: OwnSetting,
    /// What was given.
    pub value: String,
    /// What it can have, a whole sentence.
    pub hint: String,
}

impl Wishes {
    /// Sets `setting` to `value`, as the client wrote it.
    pub fn set(&mut self, setting: OwnSetting, value: &str) -> Result<(), BadValue> {
        let bad = |hint: String| BadValue { setting, value: value.to_owned(), hint };
        match setting {
            OwnSetting::Route => self.route = choice(value, &Route::NAMES).map_err(bad)?,
            OwnSetting::Consistency => self.consistency = choice(value, &Consistency::NAMES).map_err(bad)?,
            OwnSetting::OnStale => self.on_stale = choice(value, &OnStale::NAMES).map_err(bad)?,
            OwnSetting::MaxStalenessBytes => {
                self.max_staleness_bytes = quantity::read(value, Unit::Bytes).map_err(bad)?;
            }
            OwnSetting::MaxStaleness => self.max_staleness = time(value).map_err(bad)?,
            OwnSetting::WaitLimit => self.wait_limit = time(value).map_err(bad)?,
            OwnSetting::Token if value.is_empty() => self.token = None,
            OwnSetting::Token => {
                let hint = "A token is a timeline and a WAL position, such as \"1:0/3000060\".";
                self.token = Some(value.parse().map_err(|_| bad(hint.to_owned()))?);
            }
        }
        Ok(())
    }

    /// Sets `setting` to what it is in `to`.
    pub fn reset(&mut self, setting: OwnSetting, to: &Wishes) {
        match setting {
            OwnSetting::Route => self.route = to.route,
            OwnSetting::Consistency => self.consistency = to.consistency,
            OwnSetting::MaxStalenessBytes => self.max_staleness_bytes = to.max_staleness_bytes,
            OwnSetting::MaxStaleness => self.max_staleness = to.max_staleness,
            OwnSetting::OnStale => self.on_stale = to.on_stale,
            OwnSetting::WaitLimit => self.wait_limit = to.wait_limit,
            OwnSetting::Token => self.token = to.token,
        }
    }

    /// Returns the value of `setting` as SHOW prints it. Of the token only what the client has set; where the session
    /// stands is for the shell to say.
    pub fn show(&self, setting: OwnSetting) -> String {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match setting {
            OwnSetting::Route => self.route.name().to_owned(),
            OwnSetting::Consistency => name_of(self.consistency, &Consistency::NAMES).to_owned(),
            OwnSetting::MaxStalenessBytes => quantity::show(self.max_staleness_bytes, Unit::Bytes),
            OwnSetting::MaxStaleness => quantity::show(millis(self.max_staleness), Unit::Milliseconds),
            OwnSetting::OnStale => name_of(self.on_stale, &OnStale::NAMES).to_owned(),
            OwnSetting::WaitLimit => quantity::show(millis(self.wait_limit), Unit::Milliseconds),
            OwnSetting::Token => self.token.map(|token| token.to_string()).unwrap_or_default(),
        }
    }
}

fn time(value: &str) -> Result<Duration, String> {
    quantity::read(value, Unit::Milliseconds).map(Duration::from_millis)
}

/// Reads one of several names, whatever its case; the error lists them as PostgreSQL does.
fn choice<T: Copy>(value: &str, names: &[(&str, T)]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("Available values: {}.", names.join(", "))
    })
}

fn name_of<T: PartialEq>(choice: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, known)| *known == choice).map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_shown_and_reset() {
        let start = Wishes::default();
        let mut wishes = start;
        let values = ["STANDBY", "bounded", "1024kB", "1500", "error", "2 s", "7:16/B374D848"];
        let shown = ["standby", "bounded", "1MB", "1500ms", "error", "2s", "7:16/B374D848"];
        for ((name, setting), (value, shown)) in
            OwnSetting::NAMES.into_iter().zip(values.into_iter().zip(shown))
        {
            assert_eq!((setting.name(), OwnSetting::named(name)), (name, Some(setting)));
            assert_eq!(wishes.set(setting, value), Ok(()));
            assert_eq!(wishes.show(setting), shown);
            assert_ne!(wishes.show(setting), start.show(setting));
        }
        for (_, setting) in OwnSetting::NAMES {
            wishes.reset(setting, &start);
        }
        assert_eq!(wishes, start);
    }

    #[test]
    fn a_bad_value_is_refused_in_the_words_of_postgresql() {
        let mut wishes = Wishes::default();
        let error = wishes.set(OwnSetting::Route, "replica").expect_err("no route");
        assert_eq!(error.to_string(), "invalid value for parameter \"bellwether.route\": \"replica\"");
        assert_eq!(error.hint, "Available values: auto, primary, standby.");
        for token in ["1", "0:0/1", ":0/1", "1:0", "-1:0/1", "+1:0/1", "4294967296:0/1", "1:0/1 "] {
            assert!(wishes.set(OwnSetting::Token, token).is_err(), "{token}");
        }
        assert_eq!(wishes, Wishes::default());
    }
}
