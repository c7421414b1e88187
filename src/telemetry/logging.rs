//! Sets up the log: text for people on a terminal, one JSON object a line otherwise.
//!
//! Statements and their values are never logged anywhere in the program, nor passwords; this file only gives
//! lines their form.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Form of the log's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One flat JSON object a line.
    Json,
}

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is neither a level nor a filter.
    #[error("invalid log level \"{level}\": {cause}")]
    Filter {
        /// As configured.
        level: String,
        /// What the filter's parser says.
        cause: ParseError,
    },
    /// Logging had been set up before.
    #[error("the log is set up already")]
    Twice(#[from] TryInitError),
    /// The log is gone: the process is ending.
    #[error("the log is closed")]
    Closed(#[from] reload::Error),
}

/// Changes the level of a log in use.
#[derive(Clone, Debug)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Logs at `level` from now on; at an error the old level stays.
    ///
    /// # Errors
    /// The level is neither a level nor a filter.
    pub fn set(&self, level: &str) -> Result<(), LoggingError> {
        Ok(self.0.reload(filter(level)?)?)
    }
}

/// Starts logging to standard error. Call it once, before anything logs.
///
/// # Errors
/// An invalid level, or a second call.
pub fn init(format: Format, level: &str) -> Result<LevelHandle, LoggingError> {
    let terminal = io::stderr().is_terminal();
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = match format {
        Format::Auto if terminal => text(terminal),
        Format::Text => text(terminal),
        Format::Auto | Format::Json => json(io::stderr),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(LevelHandle(handle))
}

/// A bare level leaves out what rustls warns of: each alert of a client, such as the `user_canceled` with which Java
/// closes every connection. Whoever wants these asks by a filter, or for debug.
fn filter(level: &str) -> Result<Targets, LoggingError> {
    let parsed = level.parse::<Targets>();
    let parsed = parsed.map_err(|cause| LoggingError::Filter { level: level.to_owned(), cause })?;
    Ok(match level.parse() {
        Ok(LevelFilter::WARN | LevelFilter::INFO) => parsed.with_target("rustls", LevelFilter::ERROR),
        _ => parsed,
    })
}

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

fn text<S>(colours: bool) -> Lines<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    // The convention of https://no-color.org: set and not empty means none.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    fmt::layer().with_writer(io::stderr).with_ansi(colours && !plain).with_target(false).boxed()
}

/// Flat: fields of the event stand beside `timestamp`, `level` and `target`, so that log collectors need no rules.
fn json<S, W>(writer: W) -> Lines<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    layer.with_writer(writer).boxed()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn alerts_of_clients_are_told_to_those_who_ask() {
        let told = |level: &str| {
            let filter = filter(level).expect("a level or a filter");
            filter.would_enable("rustls::common_state", &tracing::Level::WARN)
        };
        assert_eq!(["error", "warn", "INFO"].map(told), [false; 3]);
        assert_eq!(["debug", "info,rustls=warn", "warn,bellwether=info"].map(told), [true; 3]);
    }

    #[test]
    fn json_lines_are_flat_and_filtered() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let lines = json(move || writer.clone());
        let filter = filter("warn,bellwether::telemetry=info").expect("valid");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter).with(lines), || {
            tracing::info!(node = "a", count = 3, "node is up");
            tracing::debug!("not this");
        });
        let text =
            String::from_utf8(buffer.0.lock().expect("no writer panics").clone()).expect("JSON is UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(line["message"], "node is up");
        assert_eq!(line["node"], "a");
        assert_eq!(line["count"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn refuses_what_is_no_level() {
        let error = filter("loud=maybe").expect_err("no such level");
        assert!(error.to_string().starts_with("invalid log level \"loud=maybe\""), "{error}");
    }
}
