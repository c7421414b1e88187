//! What the demo prints: text with a live line below, or one JSON object a line.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::tcgetwinsize;
use serde_json::Value;

/// Standard output, shared by the demo's threads.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The live line now on the terminal; empty for none.
    status: String,
    broken: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Output {
        let terminal = !json && std::io::stdout().is_terminal();
        Output { json, terminal, state: Mutex::default() }
    }

    /// Prints a line of text, unless JSON was asked for.
    pub(super) fn text(&self, line: &str) {
        if !self.json {
            let mut state = self.lock();
            let (clear, redraw) =
                if state.status.is_empty() { ("", "") } else { (CLEAR, state.status.as_str()) };
            let text = format!("{clear}{line}\n{redraw}");
            state.put(&text);
        }
    }

    /// Prints an event, if JSON was asked for.
    pub(super) fn json(&self, event: impl FnOnce() -> Value) {
        if self.json {
            self.lock().put(&format!("{}\n", event()));
        }
    }

    /// Prints an error: to standard error, so that it is seen in both forms.
    pub(super) fn error(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "error: {text}");
    }

    /// Replaces the live line on a terminal. Only one row can be cleared, so what does not fit in one is cut.
    pub(super) fn live(&self, line: &str) {
        let columns = tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { 80 } else { columns };
        let line: String = line.chars().take(columns - 1).collect();
        let mut state = self.lock();
        state.put(&format!("{CLEAR}{line}"));
        state.status = line;
    }

    /// Leaves the live line behind as an ordinary one.
    pub(super) fn end_status(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.status).is_empty() {
            state.put("\n");
        }
    }

    /// Whether lines may be rewritten.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether nobody reads any more.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().broken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        self.broken |= written.is_err();
    }
}

/// Back to the first column, and erase the line.
const CLEAR: &str = "\r\x1b[2K";
