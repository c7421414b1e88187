//! What the API tells while a wish is carried out, as far as this program understands it.

use serde::Deserialize;
use serde_json::Value;

/// One line.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What would be done.
    Plan(Plan),
    /// A step is behind us.
    Step {
        /// Seconds since the wish came.
        seconds: f64,
        /// Which.
        #[serde(flatten)]
        step: Step,
    },
    /// Something a preflight looked at.
    Check(Check),
    /// How it ended.
    End(End),
    /// Something that a newer proxy tells.
    #[serde(other)]
    Other,
}

/// What would be done.
#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    /// The term it holds in.
    pub term: u64,
    /// One after the other.
    pub steps: Vec<Step>,
    /// What clients will notice.
    #[serde(default)]
    pub expected: Option<String>,
}

/// A step, planned or done.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// What.
    pub what: String,
    /// The figure that belongs to it.
    #[serde(default)]
    pub note: Option<String>,
}

/// Something a preflight looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    /// On which node; `None` for the cluster as a whole.
    #[serde(default)]
    pub node: Option<String>,
    /// What was looked at.
    pub what: String,
    /// Whether it is as it must be.
    #[serde(default)]
    pub good: Option<bool>,
    /// What mends it.
    #[serde(default)]
    pub fix: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug, Deserialize)]
pub struct End {
    /// The API's word for the kind of end.
    pub outcome: String,
    /// In a sentence.
    pub message: String,
    /// What it comes from.
    #[serde(default)]
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
    /// Other ways, each with its command.
    #[serde(default)]
    pub instead: Vec<Instead>,
}

/// Another way.
#[derive(Clone, Debug, Deserialize)]
pub struct Instead {
    /// Such as `planned move`.
    pub what: String,
    /// The command line.
    pub command: String,
}

impl Event {
    /// Reads one line.
    ///
    /// # Errors
    /// What is missing in it.
    pub fn read(line: &Value) -> Result<Event, String> {
        serde_json::from_value(line.clone()).map_err(|error| error.to_string())
    }
}
