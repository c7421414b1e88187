//! How answers are shown: tables for people; JSON and YAML for programs.

mod table;
mod words;
mod yaml;

use std::io::{IsTerminal, Write};

use serde_json::Value;

pub use table::{Cell, Column, Table};
pub use words::{age, bytes, clean, or_dash, when};

use super::args::{Form, OutputArgs, When};

/// Where output goes, and in what form.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Table, JSON or YAML.
    pub form: Form,
    /// Whether there are colours.
    pub color: bool,
    /// Whether it is a terminal.
    pub terminal: bool,
    /// Letters in a line of the terminal; `None` where lines may be as long as they like.
    pub width: Option<usize>,
}

/// What a piece of text says by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Needs looking into.
    Warn,
    /// Wrong.
    Bad,
    /// Of less importance.
    Dim,
    /// A title.
    Bold,
}

impl Screen {
    /// Looks at the terminal, and at what was asked for. `no_color` is that variable of the environment.
    pub fn new(args: OutputArgs, no_color: Option<&str>) -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        let color = match args.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && no_color.is_none_or(str::is_empty),
        };
        Screen { form: args.output, color, terminal, width: width.filter(|width| terminal && *width > 0) }
    }

    /// Writes `text` in a colour, where there are colours.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.color => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Shows an answer: `table` makes the form for people.
    pub fn show(&self, answer: &Value, table: impl FnOnce() -> String) {
        say(&self.rendered(answer, table));
    }

    /// The same as a text.
    pub fn rendered(&self, answer: &Value, table: impl FnOnce() -> String) -> String {
        match self.form {
            Form::Table => table(),
            Form::Json => serde_json::to_string_pretty(answer).unwrap_or_default() + "\n",
            Form::Yaml => yaml::text(answer),
        }
    }
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure; returns whether there
/// still is one.
pub fn say(text: &str) -> bool {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Writes to standard error, likewise.
pub fn say_aside(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
