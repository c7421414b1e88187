//! What every verb of an operator works with: whom to ask, where to write, and whether something is under way.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{ApiArgs, OutputArgs, QuestionArgs};
use super::client::{Client, Reply};
use super::exit;
use super::failure::Failure;
use super::remote;
use super::render::Screen;

/// Made once for a verb.
pub struct Context<'a> {
    /// The proxy's API.
    pub client: Client,
    /// Where output goes.
    pub screen: Screen,
    /// Set while a change that was asked for has not ended, for whoever interrupts.
    pub under_way: &'a Cell<bool>,
    /// Who asks, such as `ops@bastion`.
    pub by: Option<String>,
}

impl<'a> Context<'a> {
    /// Makes it from the options and the environment.
    ///
    /// # Errors
    /// There is no telling whom to ask.
    pub fn new(
        asking: &QuestionArgs,
        env: BTreeMap<String, String>,
        under_way: &'a Cell<bool>,
    ) -> Result<Self, Failure> {
        Context::of(&asking.api, asking.output, env, under_way)
    }

    /// The same for a verb without output of its own.
    ///
    /// # Errors
    /// As with [`new`](Self::new).
    pub fn of(
        api: &ApiArgs,
        output: OutputArgs,
        env: BTreeMap<String, String>,
        under_way: &'a Cell<bool>,
    ) -> Result<Self, Failure> {
        let screen = Screen::new(output, env.get("NO_COLOR").map(String::as_str));
        let by = requester(&env);
        Ok(Context { client: remote::client(api, env)?, screen, under_way, by })
    }

    /// Asks for `path`, and expects an answer rather than a refusal.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(&self, path: &str) -> Result<Value, Failure> {
        let reply = self.client.get(path).await?;
        if reply.status == 200 { Ok(reply.body) } else { Err(refusal(&reply)) }
    }
}

/// Reads the part of an answer that tables show.
///
/// # Errors
/// The answer lacks it: the proxy is of another version.
pub fn understood<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    serde_json::from_value(answer.clone()).map_err(|error| {
        Failure::new(exit::FAILED, "the answer of the API is not understood")
            .cause(error.to_string())
            .hint("the proxy is of another version than this program; -o json shows what it says")
    })
}

/// What an answer means that is an error.
pub fn refusal(reply: &Reply) -> Failure {
    let text = |key: &str| reply.body[key].as_str().map(str::to_owned);
    let code = match reply.status {
        400 | 401 | 403 | 404 | 413 | 431 | 501 => exit::USAGE,
        409 | 412 => exit::REFUSED,
        503 => exit::UNREACHABLE,
        504 => exit::UNKNOWN,
        _ => exit::FAILED,
    };
    let said = text("error").unwrap_or_else(|| format!("the API answers with HTTP status {}", reply.status));
    Failure::new(code, said).with(text("cause"), text("hint"))
}

/// Who asks: the user behind sudo, at this host.
fn requester(env: &BTreeMap<String, String>) -> Option<String> {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| env.get(name))?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => Some(user.clone()),
        host => Some(format!("{user}@{host}")),
    }
}
