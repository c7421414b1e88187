//! Further scripts that follow from one: said in the other protocol, pipelined, and with something in the middle.

use crate::message::Frontend;
use crate::script::{Act, Reading, Script, Step};

/// All that can be made of it. Whoever talks alone and only in Querys can say the same in every form; into every script
/// an error, a rollback and a cancel can come at the first quiet moment past its middle.
pub fn of(script: &Script) -> Vec<Script> {
    let mut made = Vec::new();
    if let Some(texts) = plain(script) {
        let with =
            |how: &str, steps| Script { name: format!("{} ({how})", script.name), steps, ..script.clone() };
        made.push(with("extended", texts.iter().map(|sql| extended(sql, &group(sql))).collect()));
        made.push(with("pipelined", vec![at_once(&texts, None)]));
        made.push(with("pipelined, with an error", vec![at_once(&texts, Some(texts.len() / 2))]));
        made.push(with("one group", vec![one_group(&texts)]));
    }
    made.extend(inserted(script, "an error", &[query("SELECT 1 / 0")]));
    made.extend(inserted(script, "a cancel", &cancelled()));
    made.extend(inserted(script, "a rollback", &[query("ROLLBACK")]).map(|mut script| {
        script.steps.insert(0, query("BEGIN"));
        script
    }));
    made
}

/// The texts, if there is nothing but Querys of one client.
fn plain(script: &Script) -> Option<Vec<&str>> {
    let texts = script.steps.iter().map(|step| match &step.act {
        Act::Say(messages, Reading::Answers) if step.client == 0 => match &messages[..] {
            [Frontend::Query(sql)] if !copies_in(sql) => Some(sql.as_str()),
            _ => None,
        },
        _ => None,
    });
    texts.collect()
}

/// A script that says the data in messages of its own is left as it is.
fn copies_in(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("from stdin")
}

fn group(sql: &str) -> Vec<Frontend> {
    [unsynced(sql), vec![Frontend::Sync]].concat()
}

fn unsynced(sql: &str) -> Vec<Frontend> {
    let none = String::new;
    vec![
        Frontend::Parse { name: none(), types: Vec::new(), sql: sql.to_owned() },
        Frontend::Bind { portal: none(), statement: none(), values: Vec::new(), formats: Vec::new() },
        Frontend::Describe(b'P', none()),
        Frontend::Execute(none(), 0),
    ]
}

fn extended(sql: &str, messages: &[Frontend]) -> Step {
    Step::made(&format!("extended {sql}"), messages.to_vec(), Reading::Answers)
}

fn at_once(texts: &[&str], error_before: Option<usize>) -> Step {
    let mut messages = Vec::new();
    for (index, sql) in texts.iter().enumerate() {
        if error_before == Some(index) {
            messages.extend(group("SELECT 1 / 0"));
        }
        messages.extend(group(sql));
    }
    Step::made("all, each with its Sync, in one packet", messages, Reading::Answers)
}

fn one_group(texts: &[&str]) -> Step {
    let messages = texts.iter().flat_map(|sql| unsynced(sql)).chain([Frontend::Sync]).collect();
    Step::made("all up to one Sync", messages, Reading::Answers)
}

/// The script with `steps` of client A at the first quiet moment from its middle on; `None` where there is none.
fn inserted(script: &Script, what: &str, steps: &[Step]) -> Option<Script> {
    let middle = script.steps.len().div_ceil(2);
    let at = (middle..=script.steps.len()).find(|at| is_quiet(&script.steps, *at))?;
    let mut with = script.clone();
    with.name = format!("{} (with {what})", script.name);
    with.steps.splice(at..at, steps.iter().cloned());
    // What was to come may have been undone.
    for step in with.steps.iter_mut().filter(|step| matches!(step.act, Act::Notified(_))) {
        *step = Step { client: step.client, ..query("SELECT 'is there news'") };
    }
    Some(with)
}

/// Whether nobody waits for an answer or copies before step `at`.
fn is_quiet(steps: &[Step], at: usize) -> bool {
    let mut waiting = false;
    for step in &steps[..at] {
        match &step.act {
            Act::Say(_, Reading::Nothing) => waiting = true,
            Act::Answer => waiting = false,
            Act::Goodbye => return false,
            _ => {}
        }
    }
    let copies = |step: Option<&Step>, first: bool| {
        let message = step.and_then(|step| match &step.act {
            Act::Say(messages, _) => {
                if first {
                    messages.first()
                } else {
                    messages.last()
                }
            }
            _ => None,
        });
        matches!(message, Some(Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_)))
    };
    let unsynced = |step: &Step| match &step.act {
        Act::Say(messages, _) => matches!(messages.last(), Some(Frontend::Flush)),
        _ => false,
    };
    // Behind a copy of the extended protocol comes a Sync.
    let behind = at.checked_sub(1).and_then(|before| steps.get(before));
    !waiting && !copies(steps.get(at), true) && !copies(behind, false) && !behind.is_some_and(unsynced)
}

fn query(sql: &str) -> Step {
    Step::made(&format!("Q {sql}"), vec![Frontend::Query(sql.to_owned())], Reading::Answers)
}

fn cancelled() -> Vec<Step> {
    let step = |text: &str, act| Step { text: text.to_owned(), client: 0, act };
    let sleeps = vec![Frontend::Query("SELECT pg_sleep(60) /* {key} */".to_owned())];
    vec![
        step("Q& SELECT pg_sleep(60)", Act::Say(sleeps, Reading::Nothing)),
        step("blocked", Act::Blocked),
        step("cancel", Act::Cancel),
        step("answer", Act::Answer),
    ]
}
