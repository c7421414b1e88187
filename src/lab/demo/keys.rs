//! The demo's keys: one press breaks something, and the screen tells what becomes of it.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::ending::Reason;
use super::report::told;
use super::stage::{PATIENCE, Stage};

/// What is said about them at the start, a line each.
pub(super) const HELP: [&str; 2] = [
    "keys: k kill the primary   f freeze the primary   s switchover   p pause/resume",
    "      e stop/start etcd    t status               q quit",
];

/// Obeys the keys until the end; at once when nobody sits at a terminal.
pub(super) fn obey(stage: &Stage<'_>) {
    let Some(_mode) = SingleKeys::begin() else { return };
    let keys = pressed();
    let (queue, changes) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut board = Board { stage, paused: false, etcd_stopped: false };
            changes
                .into_iter()
                .take_while(|_| stage.ending.reason().is_none())
                .for_each(|key| board.press(key));
        });
        while stage.ending.reason().is_none() {
            match keys.recv_timeout(Duration::from_millis(100)) {
                Ok(key) => press(stage, key, &queue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(queue);
    });
}

/// What changes something waits for its turn; to look, and to leave, nobody has to wait.
fn press(stage: &Stage<'_>, key: u8, queue: &Sender<u8>) {
    match key.to_ascii_lowercase() {
        b't' => say(stage, status(stage)),
        b'q' => stage.ending.end(Reason::Quit),
        // Its receiver is gone only at the end.
        key @ (b'k' | b'f' | b's' | b'e' | b'p') => drop(queue.send(key)),
        _ => HELP.iter().for_each(|line| stage.output.text(&format!("  {line}"))),
    }
}

fn status(stage: &Stage<'_>) -> Result<(), String> {
    if let Some(workload) = &*stage.workload() {
        let progress = workload.progress();
        stage.output.text(&format!(
            "  workload: {} writes acknowledged, {} reads, {} of them stale; errors {}",
            progress.writes,
            progress.reads,
            progress.stale,
            told(&progress.errors)
        ));
    }
    stage.bellwether(&["status"])
}

fn say(stage: &Stage<'_>, done: Result<(), String>) {
    if let Err(why) = done {
        stage.output.text(&format!("  {why}"));
    }
}

/// Reads the terminal from a thread that nobody waits for: it sits in a read until the process ends.
fn pressed() -> Receiver<u8> {
    let (sender, keys) = channel();
    std::thread::spawn(move || {
        let mut key = [0];
        while matches!(std::io::stdin().read(&mut key), Ok(1)) {
            if sender.send(key[0]).is_err() {
                return;
            }
        }
    });
    keys
}

/// The terminal gives keys one by one and shows none; as before when dropped. Ctrl-C stays what it is.
struct SingleKeys(Termios);

impl SingleKeys {
    fn begin() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut mode = before.clone();
        mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &mode).ok()?;
        Some(SingleKeys(before))
    }
}

impl Drop for SingleKeys {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

struct Board<'a, 'b> {
    stage: &'a Stage<'b>,
    paused: bool,
    etcd_stopped: bool,
}

impl Board<'_, '_> {
    fn press(&mut self, key: u8) {
        let done = match key {
            b'k' => self.lose_primary("killed (SIGKILL)", Loss::Killed),
            b'f' => self.lose_primary("frozen (SIGSTOP)", Loss::Frozen),
            b's' => self.switch_over(),
            b'e' => self.toggle_etcd(),
            _ => self.toggle_pause(),
        };
        // Whatever fails because all ends is nobody's news.
        if self.stage.ending.reason().is_none() {
            say(self.stage, done);
        }
    }

    /// Takes the primary away, watches the others go on, and brings it back as a standby.
    fn lose_primary(&self, how: &str, loss: Loss) -> Result<(), String> {
        let stage = self.stage;
        let old = stage.primary().ok_or("there is no primary to lose")?;
        let errors = self.errors();
        let began = Instant::now();
        let taken = match loss {
            Loss::Killed => stage.kill(&old),
            Loss::Frozen => stage.cluster.freeze(&old),
        };
        taken.map_err(|error| error.to_string())?;
        let tell =
            |what: &str| stage.output.text(&format!("  {:6.2}  {what}", began.elapsed().as_secs_f64()));
        tell(&format!("{old} {how}"));
        let new = self.next_primary(&old)?;
        tell(&format!("{new} leads"));
        stage.wait_writable(PATIENCE)?;
        tell(&format!("writes go on; errors that reached a client: {}", since(&errors, &self.errors())));
        if loss == Loss::Frozen {
            stage.cluster.thaw(&old).map_err(|error| error.to_string())?;
            tell(&format!("{old} thawed: it still takes itself for the primary, and nobody talks to it"));
            stage.ending.wait(Duration::from_secs(1));
            stage.kill(&old).map_err(|error| error.to_string())?;
        }
        stage.rejoin(&old)?;
        tell(&format!("{old} rewound, and back as a standby"));
        Ok(())
    }

    fn switch_over(&self) -> Result<(), String> {
        let stage = self.stage;
        let old = stage.primary().ok_or("there is no primary to move")?;
        stage.switchover(None)?;
        stage.demote(&old)?;
        stage.output.text(&format!("         {old} is back as a standby"));
        Ok(())
    }

    fn next_primary(&self, old: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(new) = self.stage.primary().filter(|new| new != old) {
                return Ok(new);
            }
            if Instant::now() > deadline || self.stage.ending.wait(Duration::from_millis(20)).is_some() {
                return Err(format!("nobody leads in place of {old}: `bellwether explain` says why"));
            }
        }
    }

    fn toggle_etcd(&mut self) -> Result<(), String> {
        let said = match self.etcd_stopped {
            false => {
                self.stage.stop_etcd()?;
                "etcd stopped: reads go on; writes are held once the permission runs out, and then refused"
            }
            true => {
                self.stage.start_etcd()?;
                "etcd started: writes go on by themselves"
            }
        };
        self.etcd_stopped = !self.etcd_stopped;
        self.stage.output.text(&format!("  {said}"));
        Ok(())
    }

    fn toggle_pause(&mut self) -> Result<(), String> {
        self.stage.bellwether(&[if self.paused { "resume" } else { "pause" }])?;
        self.paused = !self.paused;
        Ok(())
    }

    fn errors(&self) -> BTreeMap<String, u64> {
        self.stage.workload().as_ref().map(|workload| workload.progress().errors).unwrap_or_default()
    }
}

/// Tells the errors of `now` that were not there `before`.
fn since(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> String {
    let more = now.iter().map(|(code, count)| (code.clone(), count - before.get(code).unwrap_or(&0)));
    told(&more.filter(|(_, count)| *count > 0).collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Killed,
    Frozen,
}
