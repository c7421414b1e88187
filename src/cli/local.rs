//! Shows work that is done on this very host, in the way of work that a proxy does; and finds the primary for it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::args::{Form, OutputArgs, QuestionArgs};
use super::confirm;
use super::context::{Context, understood};
use super::events::{End, Plan, Step};
use super::exit;
use super::failure::Failure;
use super::remote;
use super::render::{Screen, say, say_aside};
use super::status::Status;
use super::wish::{self, Heard};
use crate::pg::{Address, ConnInfo};

/// What is shown of it.
#[derive(Debug)]
pub struct Local {
    screen: Screen,
    began: Instant,
    plan: Value,
    steps: Vec<Value>,
}

/// What is done, with the figure that belongs to it.
pub type Act = (String, Option<String>);

impl Local {
    /// Looks at the terminal.
    pub fn new(output: OutputArgs, env: &BTreeMap<String, String>) -> Self {
        let screen = Screen::new(output, env.get("NO_COLOR").map(String::as_str));
        Local { screen, began: Instant::now(), plan: Value::Null, steps: Vec::new() }
    }

    /// Shows what would be done, and that is all.
    pub fn dry_run(mut self, acts: &[Act]) -> u8 {
        if self.screen.form == Form::Table {
            say(&wish::plan_text(&plan(acts)));
            return exit::DONE;
        }
        self.plan = json!({"steps": acts.iter().map(|(what, note)| json!({"what": what, "note": note})).collect::<Value>()});
        self.end("done", "nothing has been done", None, None)
    }

    /// Shows what will be done and asks. With `yes` nothing is asked.
    ///
    /// # Errors
    /// Nobody can be asked here, or the answer is no.
    pub fn confirm(&mut self, yes: bool, acts: &[Act]) -> Result<(), Failure> {
        let asked = confirm::here(yes, &wish::plan_text(&plan(acts)));
        self.began = Instant::now();
        asked
    }

    /// Shows a step that is behind us.
    pub fn step(&mut self, what: String, note: Option<String>) {
        let seconds = (self.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        self.steps.push(json!({"seconds": seconds, "what": what, "note": note}));
        wish::tell(&self.screen, &wish::step_line(&self.screen, seconds, &Step { what, note }));
    }

    /// Shows how it ended, in the API's word for the kind of end, and returns the exit code.
    pub fn end(self, outcome: &str, message: &str, cause: Option<String>, hint: Option<String>) -> u8 {
        let whole = json!({
            "schema": 1,
            "plan": self.plan,
            "steps": self.steps,
            "checks": [],
            "outcome": outcome,
            "message": message,
            "cause": cause,
            "hint": hint,
            "instead": [],
        });
        let (outcome, message) = (outcome.to_owned(), message.to_owned());
        let end = End { outcome, message, cause, hint, instead: Vec::new() };
        wish::finish(&self.screen, &Heard { plan: None, end, whole })
    }

    /// Shows why it did not even begin, and returns the exit code.
    pub fn failed(&self, failure: &Failure) -> u8 {
        say_aside(&format!("{failure}\n"));
        failure.code
    }
}

/// Asks the API who leads, and takes the login that the proxy's configuration has for the servers.
///
/// # Errors
/// Nobody tells, or nobody leads.
pub fn primary(asking: &QuestionArgs, env: BTreeMap<String, String>) -> Result<ConnInfo, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(exit::FAILED, "cannot wait for answers").cause(error.to_string()))?;
    let login = remote::interface(&asking.api, env.clone())?;
    let under_way = Cell::new(false);
    let context = Context::new(asking, env, &under_way)?;
    let status: Status = understood(&runtime.block_on(context.ask("/api/v1/status"))?)?;
    let leads = status.nodes.iter().find(|node| Some(&node.name) == status.primary.as_ref());
    let Some(leads) = leads else {
        let failure = Failure::new(exit::NO_PRIMARY, format!("{} has no primary to follow", status.cluster));
        return Err(failure.hint("bellwether explain says what is waited for"));
    };
    let address = address(&leads.address).ok_or_else(|| {
        let said = format!("the address of {} is not understood: {}", leads.name, leads.address);
        Failure::new(exit::FAILED, said)
    })?;
    let password = login.password.map(|password| ("password".to_owned(), password.expose().to_owned()));
    let settings = [("user".to_owned(), login.user)].into_iter().chain(password).collect();
    Ok(ConnInfo { hosts: vec![address], settings })
}

fn plan(acts: &[Act]) -> Plan {
    let step = |(what, note): &Act| Step { what: what.clone(), note: note.clone() };
    Plan { term: 0, steps: acts.iter().map(step).collect(), expected: None }
}

/// Reads an address as the API writes it.
fn address(text: &str) -> Option<Address> {
    if let Some((directory, port)) = text.split_once("/.s.PGSQL.") {
        return Some(Address::Unix { directory: directory.into(), port: port.parse().ok()? });
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(Address::Tcp { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        let addresses = [
            Address::Tcp { host: "h".into(), port: 1 },
            Address::Tcp { host: "::1".into(), port: 5432 },
            Address::Unix { directory: "/run/p".into(), port: 5432 },
        ];
        for known in addresses {
            assert_eq!(address(&known.to_string()), Some(known));
        }
        assert_eq!(address("nonsense"), None);
    }
}
