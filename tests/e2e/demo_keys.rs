//! The demo as somebody sees it who sits at a terminal, which `script` provides, and presses keys.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use crate::support::BELLWETHER;

struct Screen {
    child: Child,
    shown: String,
}

impl Screen {
    fn open() -> Screen {
        // What hangs is ended, and its output then as well.
        let mut command = Command::new("timeout");
        let line = format!("stty cols 80; exec {BELLWETHER} demo");
        command.args(["240", "script", "-qec", &line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Screen {
            child: command.spawn().expect("timeout is there, with every coreutils"),
            shown: String::new(),
        }
    }

    /// Presses a key and returns what was shown from then on until `text`.
    fn press(&mut self, key: &str, text: &str) -> String {
        self.child.stdin.as_mut().expect("it is piped").write_all(key.as_bytes()).expect("it reads");
        self.read_until(text)
    }

    fn read_until(&mut self, text: &str) -> String {
        let begin = self.shown.len();
        let out = self.child.stdout.as_mut().expect("it is piped");
        while !self.shown[begin..].contains(text) {
            let mut bytes = [0; 4096];
            let count = out.read(&mut bytes).expect("it can be read");
            assert!(count > 0, "{text:?} was not shown:\n{}", self.shown);
            self.shown += &String::from_utf8_lossy(&bytes[..count]);
        }
        self.shown[begin..].to_owned()
    }
}

#[test]
fn keys_break_the_cluster_and_the_screen_tells_what_becomes_of_it() {
    let mut screen = Screen::open();
    let start = screen.read_until("t status               q quit");
    assert!(start.contains("  etcd   http://127.0.0.1:") && start.contains("Ctrl-C ends it"), "{start}");
    screen.read_until(" tx/s");

    let told = screen.press("s", "is back as a standby");
    for step in ["clients are held", "is frozen", "is chosen and promoted", " leads in term 2"] {
        assert!(told.contains(step), "{step}: {told}");
    }
    // Keys that change something wait for their turn, and those that only look do not.
    screen.press("k", "killed (SIGKILL)");
    let told = screen.press("t", "NODE ");
    assert!(told.contains("writes acknowledged"), "{told}");
    let told = screen.read_until("rewound, and back as a standby");
    assert!(told.contains("errors that reached a client: "), "{told}");
    let told = screen.press("f", "rewound, and back as a standby");
    assert!(told.contains("frozen (SIGSTOP)") && told.contains("nobody talks to it"), "{told}");
    screen.press("e", "etcd stopped: reads go on");
    screen.press("e", "etcd started");
    screen.press("p", "paused: nobody is promoted");
    screen.press("p", "resumed: a standby is promoted");
    screen.press("x", "q quit");

    let rest = screen.press("q", "quit after ");
    let counted = rest.lines().find(|line| line.contains(" writes acknowledged")).unwrap_or_default();
    assert!(counted.contains(", 0 lost, 0 duplicated;") && counted.contains(", 0 stale"), "{rest}");
    assert!(rest.contains("longest pause"), "{rest}");
    assert_eq!(screen.child.wait().expect("it ends").code(), Some(0), "{rest}");

    // Only one row can be cleared when the line of the servers is drawn anew.
    let live = |row: &&str| row.contains(" tx/s") && row.contains(" \u{b7} ");
    let rows: Vec<&str> = screen.shown.split(['\r', '\n']).filter(live).collect();
    let drawn = rows.iter().map(|row| row.trim_start_matches("\u{1b}[2K").chars().count());
    assert!(!rows.is_empty() && drawn.max() < Some(80), "{rows:#?}");
}
