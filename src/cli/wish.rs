//! Asks for a change, shows what happens while it happens, and turns its end into an exit code.

use serde_json::{Value, json};

use super::args::Form;
use super::client::Stream;
use super::context::{Context, refusal};
use super::events::{Check, End, Event, Plan, Step};
use super::exit;
use super::failure::Failure;
use super::render::{Screen, Tone, clean, say, say_aside};

/// All that was heard.
#[derive(Debug)]
pub struct Heard {
    /// What would be done, where that was asked for.
    pub plan: Option<Plan>,
    /// How it ended.
    pub end: End,
    /// Everything as one object, for programs.
    pub whole: Value,
}

/// Asks at `path` for what `body` says, and listens to the end. What happens is shown to people as it happens; a
/// plan is left to the caller.
///
/// # Errors
/// It was not taken up, or its outcome is not known.
pub async fn ask(context: &Context<'_>, path: &str, mut body: Value) -> Result<Heard, Failure> {
    if let Some(by) = &context.by {
        body["by"] = json!(by);
    }
    context.under_way.set(body["dry_run"] != json!(true));
    let heard = listen(context, path, &body).await;
    context.under_way.set(false);
    heard
}

/// Shows how it ended, and returns the exit code.
pub fn finish(screen: &Screen, heard: &Heard) -> u8 {
    let (end, code) = (&heard.end, exit::of_outcome(&heard.end.outcome));
    if screen.form != Form::Table {
        screen.show(&heard.whole, String::new);
    }
    if code != exit::DONE {
        say_aside(&bad_end(end, code));
    } else if screen.form == Form::Table {
        say(&good_end(screen, end));
    }
    code
}

/// Asks for something that needs no confirmation, to the end.
///
/// # Errors
/// As with [`ask`].
pub async fn carry_out(context: &Context<'_>, path: &str, body: Value) -> Result<u8, Failure> {
    let heard = ask(context, path, body).await?;
    Ok(finish(&context.screen, &heard))
}

async fn listen(context: &Context<'_>, path: &str, body: &Value) -> Result<Heard, Failure> {
    let mut lines = match context.client.post(path, body).await? {
        Stream::Lines(lines) => lines,
        Stream::Reply(reply) => return Err(refusal(&reply)),
    };
    let mut whole = json!({"schema": 1, "plan": null, "steps": [], "checks": []});
    let mut plan = None;
    while let Some(mut line) = lines.next().await? {
        let event = Event::read(&line).map_err(|error| not_understood(&error))?;
        line.as_object_mut().map(|line| line.remove("event"));
        match event {
            Event::Plan(told) => {
                whole["plan"] = line;
                plan = Some(told);
            }
            Event::Step { seconds, step } => {
                tell(&context.screen, &step_line(&context.screen, seconds, &step));
                push(&mut whole["steps"], line);
            }
            Event::Check(check) => {
                tell(&context.screen, &check_line(&context.screen, &check));
                push(&mut whole["checks"], line);
            }
            Event::End(end) => {
                let Value::Object(ended) = line else {
                    return Err(not_understood("an end that is no object"));
                };
                whole.as_object_mut().expect("it was made as an object").extend(ended);
                return Ok(Heard { plan, end, whole });
            }
            Event::Other => {}
        }
    }
    Err(Failure::new(exit::UNKNOWN, "how it ended is not known")
        .cause("the proxy stopped telling")
        .hint("bellwether status shows where things stand, bellwether history what has happened"))
}

fn not_understood(error: &str) -> Failure {
    Failure::new(exit::UNKNOWN, "how it ended is not known")
        .cause(format!("what the proxy tells is not understood: {error}"))
        .hint("bellwether status shows where things stand")
}

fn push(list: &mut Value, item: Value) {
    if let Value::Array(items) = list {
        items.push(item);
    }
}

/// Shows a line to people.
pub fn tell(screen: &Screen, line: &str) {
    if screen.form == Form::Table {
        say(line);
    }
}

/// Writes a step that is behind us.
pub fn step_line(screen: &Screen, seconds: f64, step: &Step) -> String {
    let time = screen.paint(Tone::Dim, &format!("{seconds:>6.2}s"));
    noted(&format!("{time}  "), &clean(&step.what), 30, step.note.as_deref())
}

fn check_line(screen: &Screen, check: &Check) -> String {
    let (word, tone) = match check.good {
        Some(true) => ("ok", Tone::Good),
        Some(false) => ("missing", Tone::Bad),
        None => ("unknown", Tone::Warn),
    };
    let word = screen.paint(tone, &format!("{word:<7}"));
    let node = check.node.as_deref().unwrap_or("cluster");
    let mut line = format!("  {word}  {:<8}  {}\n", clean(node), clean(&check.what));
    for fix in check.fix.iter().flat_map(|fix| fix.lines()).filter(|_| check.good != Some(true)) {
        line += &format!("           {:<8}    {}\n", "", clean(fix));
    }
    line
}

/// Writes what would be done.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = "Plan (nothing has been done yet)\n".to_owned();
    let widest = plan.steps.iter().map(|step| step.what.chars().count()).max().unwrap_or(0);
    for (number, step) in plan.steps.iter().enumerate() {
        text += &noted(&format!("  {}  ", number + 1), &clean(&step.what), widest, step.note.as_deref());
    }
    if let Some(expected) = &plan.expected {
        text += &format!("  Expected: {}\n", clean(expected));
    }
    text
}

fn noted(before: &str, what: &str, width: usize, note: Option<&str>) -> String {
    match note {
        Some(note) => format!("{before}{what:<width$}  {}\n", clean(note)),
        None => format!("{before}{what}\n"),
    }
}

fn good_end(screen: &Screen, end: &End) -> String {
    let mut text = format!("{}\n", clean(&end.message));
    if let Some(hint) = &end.hint {
        text += &screen.paint(Tone::Dim, &format!("hint: {}", clean(hint)));
        text.push('\n');
    }
    text
}

/// Three lines, and the other ways there are.
fn bad_end(end: &End, code: u8) -> String {
    let failure = Failure::new(code, end.message.clone()).with(end.cause.clone(), end.hint.clone());
    let widest = end.instead.iter().map(|other| other.what.chars().count()).max().unwrap_or(0);
    let ways = end
        .instead
        .iter()
        .map(|other| format!("  {:<widest$}   {}\n", clean(&other.what), clean(&other.command)));
    format!("{failure}\n{}", ways.collect::<String>())
}
