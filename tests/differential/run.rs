//! Runs a script over one way, and keeps what its clients were told.

use std::time::{Duration, Instant};

use crate::grounds::{Grounds, Keeper, Way};
use crate::message::Numbers;
use crate::script::{Act, Script, Step};
use crate::session::{PATIENCE, Session};

/// What was told, step by step.
pub type Transcript = Vec<Told>;

/// What the clients were told in one step: the same in the same order, or there is a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub step: String,
    pub lines: Vec<String>,
}

/// Runs it in its home, which is tidied first.
pub fn run(script: &Script, numbers: Numbers, way: Way, grounds: &Grounds, keeper: &Keeper) -> Transcript {
    let mut told = Vec::new();
    if let Err(error) = keeper.tidy(numbers) {
        return vec![Told { step: "before the first".into(), lines: vec![error] }];
    }
    let open = || Session::open(grounds.port(way), way.database(), numbers);
    let mut sessions: Vec<Session> = (0..script.clients()).map(|_| open()).collect();
    for (client, session) in sessions.iter_mut().enumerate() {
        told.push(Told { step: format!("{} logs in", letter(client)), lines: session.take_told() });
    }
    for step in &script.steps {
        let session = &mut sessions[step.client];
        if matches!(step.act, Act::Reconnect) {
            session.goodbye();
            let lines = session.take_told();
            *session = open();
            told.push(Told { step: step.text.clone(), lines: [lines, session.take_told()].concat() });
            continue;
        }
        carry_out(step, session, numbers, keeper);
        told.push(Told { step: step.text.clone(), lines: session.take_told() });
    }
    for (client, session) in sessions.iter_mut().enumerate() {
        session.goodbye();
        let lines = [session.take_told(), session.take_notifications()].concat();
        told.push(Told { step: format!("{} ends; its notifications", letter(client)), lines });
    }
    keeper.end_prepared(numbers);
    told
}

fn carry_out(step: &Step, session: &mut Session, numbers: Numbers, keeper: &Keeper) {
    match &step.act {
        Act::Say(messages, reading) => session.say(messages, numbers, *reading),
        Act::Answer => session.answer(),
        Act::Notified(count) => session.notified(*count),
        Act::Cancel => session.cancel(),
        Act::Goodbye => session.goodbye(),
        Act::Blocked => {
            let limit = Instant::now() + PATIENCE;
            while !session.has_answer() && !keeper.sees_waiting(numbers) && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Act::Reconnect => unreachable!("the caller opens sessions"),
    }
}

fn letter(client: usize) -> char {
    (b'A' + client as u8) as char
}
