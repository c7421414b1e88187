//! The demo's keys: one press breaks something, and the screen tells what becomes of it.

use std::io::{IsTerminal, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::ending::Reason;
use super::stage::{PATIENCE, Stage};

/// What is said about them at the start.
pub(super) const HELP: &str = "keys: k kill the primary   s switchover   f freeze the primary   e etcd off/on   p pause/resume   t status   q quit";

/// Obeys the keys until the end; at once when nobody sits at a terminal.
pub(super) fn obey(stage: &Stage<'_>) {
    let Some(_mode) = SingleKeys::begin() else { return };
    let keys = pressed();
    let mut board = Board { stage, paused: false, etcd_stopped: false };
    while stage.ending.reason().is_none() {
        match keys.recv_timeout(Duration::from_millis(100)) {
            Ok(key) => board.press(key),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
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
        let done = match key.to_ascii_lowercase() {
            b'k' => self.lose_primary("killed (SIGKILL)", Loss::Killed),
            b'f' => self.lose_primary("frozen (SIGSTOP)", Loss::Frozen),
            b's' => self.switch_over(),
            b'e' => self.toggle_etcd(),
            b'p' => self.toggle_pause(),
            b't' => self.stage.bellwether(&["status"]),
            b'q' => {
                self.stage.ending.end(Reason::Quit);
                Ok(())
            }
            _ => {
                self.stage.output.text(&format!("  {HELP}"));
                Ok(())
            }
        };
        if let Err(why) = done {
            self.stage.output.text(&format!("  {why}"));
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
        tell(&format!("writes go on; {} errors reached a client", self.errors() - errors));
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

    fn errors(&self) -> u64 {
        self.stage.workload().as_ref().map_or(0, |workload| workload.progress().error_count())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Killed,
    Frozen,
}
