//! Why and when the demo ends: signals, the parent's death, time, the script.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, getppid};
use tokio::signal::unix::{SignalKind, signal};

/// The reason the demo ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    ScriptDone,
    ScriptFailed,
    Signal,
    Quit,
    TimeIsUp,
    ParentGone,
    OutputClosed,
    ProxyDied,
    NotStarted,
}

/// Set once, seen by every thread.
#[derive(Debug)]
pub(super) struct Ending {
    reason: Mutex<Option<Reason>>,
    changed: Condvar,
    parent: Option<Pid>,
}

impl Ending {
    pub(super) fn new() -> Ending {
        Ending { reason: Mutex::new(None), changed: Condvar::new(), parent: getppid() }
    }

    /// Ends the demo, unless something else has already.
    pub(super) fn end(&self, reason: Reason) {
        self.lock().get_or_insert(reason);
        self.changed.notify_all();
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        *self.lock()
    }

    /// Sleeps for `limit` or until the end, whichever comes first.
    pub(super) fn wait(&self, limit: Duration) -> Option<Reason> {
        let guard = self.lock();
        let waited = self.changed.wait_timeout_while(guard, limit, |reason| reason.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether the process that started us has ended. Asked again and again rather than by a signal from the
    /// kernel: that one comes when the parent's *thread* ends.
    pub(super) fn parent_is_gone(&self) -> bool {
        getppid() != self.parent
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reason>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reason {
    pub(super) fn text(self) -> &'static str {
        match self {
            Reason::ScriptDone => "script finished",
            Reason::ScriptFailed => "script failed",
            Reason::Signal => "stopped by signal",
            Reason::Quit => "quit",
            Reason::TimeIsUp => "time is up",
            Reason::ParentGone => "parent process gone",
            Reason::OutputClosed => "output closed",
            Reason::ProxyDied => "proxy ended",
            Reason::NotStarted => "not started",
        }
    }
}

/// Turns Ctrl-C, SIGTERM and SIGHUP into an ending, from a thread of its own.
pub(super) fn watch_signals(ending: &Arc<Ending>) {
    let ending = Arc::clone(ending);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for signals needs only a few descriptors");
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [mut interrupt, mut terminate, mut hangup] =
                kinds.map(|kind| signal(kind).expect("these signals can be caught"));
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            ending.end(Reason::Signal);
            // Registered for good: a second Ctrl-C must not cut the cleaning short.
            std::future::pending::<()>().await;
        });
    });
}
