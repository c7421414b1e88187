//! Questions on a terminal, which `script` provides.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use bellwether::api::{Outcome, Progress, Upon, Wish};

use super::api::{Api, TOKEN};
use super::program::BELLWETHER;
use super::scripted::{Scripted, end, planned};

/// The program on a terminal.
struct Terminal {
    child: Child,
    shown: String,
}

impl Terminal {
    fn run(api: &Api, line: &str) -> Terminal {
        // What hangs is ended, and its output then as well.
        let mut command = Command::new("timeout");
        let line = format!("stty cols 70; exec {BELLWETHER} {line}");
        command.args(["30", "script", "-qec", &line, "/dev/null"]);
        command.env("BELLWETHER_API", api.url()).env("BELLWETHER_HTTP_TOKEN", TOKEN).env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().expect("timeout is there, with every coreutils");
        Terminal { child, shown: String::new() }
    }

    /// Reads until `text` is shown.
    fn wait_for(&mut self, text: &str) {
        let out = self.child.stdout.as_mut().expect("it is piped");
        while !self.shown.contains(text) {
            let mut bytes = [0; 1024];
            let count = out.read(&mut bytes).expect("it can be read");
            assert!(count > 0, "{text:?} was not shown:\n{}", self.shown);
            self.shown += &String::from_utf8_lossy(&bytes[..count]);
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.child.stdin.as_mut().expect("it is piped").write_all(keys.as_bytes()).expect("it reads");
    }

    /// Waits for the end; returns the exit code and all that was shown.
    fn end(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        self.child.stdout.take().expect("it is piped").read_to_end(&mut rest).expect("it can be read");
        self.shown += &String::from_utf8_lossy(&rest);
        // It would take the end of its input for Ctrl-D.
        let stdin = self.child.stdin.take();
        let code = self.child.wait().expect("it ends").code().expect("it exits");
        drop(stdin);
        (code, self.shown)
    }
}

fn planning(wish: &Wish) -> Vec<Progress> {
    match wish {
        Wish::Switchover { upon: Upon { dry_run: true, .. }, .. } => vec![
            Progress::Plan { term: 8, steps: vec![planned("promote b", Some("timeline 8"))], expected: None },
            end(Outcome::Done, "it could be done"),
        ],
        Wish::Switchover { upon: Upon { term: Some(8), .. }, .. } => {
            vec![end(Outcome::Stale, "the plan was made in term 8, and this is term 9")]
        }
        Wish::Failover { .. } => vec![end(Outcome::Refused, "a is healthy")],
        _ => vec![end(Outcome::Done, "done")],
    }
}

#[test]
fn the_plan_that_was_agreed_to_is_the_one_asked_for() {
    let api = Api::serve(Scripted::answering(planning));
    let mut terminal = Terminal::run(&api, "switchover");
    terminal.wait_for("Proceed? [y/N] ");
    assert!(terminal.shown.contains("  1  promote b  timeline 8"), "{}", terminal.shown);
    terminal.type_in("y\n");
    let (code, shown) = terminal.end();
    // The cluster has changed meanwhile.
    assert!(shown.contains("refused: the plan was made in term 8"), "{shown}");
    assert_eq!(code, 5);
    let asked: Vec<Wish> =
        api.world.asked.lock().expect("no panic").iter().map(|(wish, _)| wish.clone()).collect();
    let upon = |dry_run, term| Wish::Switchover { to: None, at: None, upon: Upon { dry_run, term } };
    assert_eq!(asked, [upon(true, None), upon(false, Some(8))]);
}

#[test]
fn no_and_ctrl_c_do_nothing() {
    let api = Api::serve(Scripted::answering(planning));
    for (keys, expected) in [("\n", 1), ("no\n", 1), ("\x03", 130)] {
        let mut terminal = Terminal::run(&api, "switchover");
        terminal.wait_for("Proceed? [y/N] ");
        terminal.type_in(keys);
        let (code, shown) = terminal.end();
        assert_eq!(code, expected, "{shown}");
    }
    let asked = api.world.asked.lock().expect("no panic");
    let trial = |wish: &Wish| matches!(wish, Wish::Switchover { upon: Upon { dry_run: true, .. }, .. });
    assert!(asked.iter().all(|(wish, _)| trial(wish)), "{asked:?}");
}

#[test]
fn what_would_be_refused_is_not_asked() {
    let api = Api::serve(Scripted::answering(planning));
    let (code, shown) = Terminal::run(&api, "failover --to c").end();
    assert!(shown.contains("refused: a is healthy") && !shown.contains("Proceed?"), "{shown}");
    assert_eq!(code, 5);
    let mut terminal = Terminal::run(&api, "node remove c");
    terminal.wait_for("c will be no part of the cluster");
    terminal.wait_for("Proceed? [y/N] ");
    terminal.type_in("yes\n");
    assert_eq!(terminal.end().0, 0);
    assert_eq!(api.world.last_asked().0, Wish::Remove(bellwether::topology::NodeName::new("c")));
}

#[test]
fn the_status_fits_a_narrow_terminal_and_is_drawn_anew() {
    let api = Api::serve(Scripted::healthy());
    let mut terminal = Terminal::run(&api, "status --watch=100ms");
    for _ in 0..2 {
        terminal.wait_for("\x1b[H\x1b[2J");
        terminal.wait_for("NODE  ROLE          STATE      TL  LAG           CHECKED   NOTE\r\n");
        terminal.shown.clear();
    }
    terminal.type_in("\x03");
    assert_eq!(terminal.end().0, 130);
}
