//! The signals the proxy obeys, under the names of what they ask for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM, or SIGINT (Ctrl-C): end. The second one means at once.
    Stop,
}

/// Listens for signals from the moment it is made.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their default actions.
    pub fn new() -> io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits until somebody wants the process to end; other wishes pass. Cancel safe.
    pub async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }

    /// Waits for the next wish. Cancel safe.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
        }
    }
}
