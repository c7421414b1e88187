//! The command line, as clap reads it.

mod operator;

use std::path::PathBuf;

use clap::builder::{Styles, styling::AnsiColor};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use operator::*;

use super::exit;
use super::failure::Failure;

/// A leader/follower proxy for PostgreSQL: one endpoint for a primary and its standbys.
#[derive(Debug, Parser)]
#[command(name = "bellwether", version, after_help = exit::HELP, styles = STYLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    Proxy(ProxyArgs),
    /// What an operator asks of a running proxy.
    #[command(flatten)]
    Operator(Verb),
    /// On a server's own host: make it follow the primary again
    Rejoin(RejoinArgs),
    /// Print, check or start a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run a throw-away cluster with the proxy in front of it
    Demo(DemoArgs),
}

/// Where a configuration is read from. Shared by every verb that needs one.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// Configuration file; /etc/bellwether/bellwether.toml when it exists and no URL is given
    #[arg(short, long, env = "BELLWETHER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Instead of a file: postgres://user@host1,host2/?listen=...&sslmode=...
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Where clients connect: host:port or unix:/path; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Where metrics and health are served: host:port, or "" for nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// Least level logged, or a filter such as info,bellwether::pool=debug
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
}

/// Arguments of `bellwether proxy`.
#[derive(Args, Debug)]
pub struct ProxyArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// Arguments of `bellwether config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file; exit code 0 when it is good, 2 when not
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print a commented file with every key
    Init,
    /// Print the values in force and where each comes from
    Show(SourceArgs),
}

/// Arguments of `bellwether demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Number of servers: one primary, the others standbys
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16), value_name = "N")]
    pub nodes: u16,
    /// Port of the endpoint; another one is taken, and named, when it is not free
    #[arg(long, default_value_t = 6432, value_name = "PORT")]
    pub port: u16,
    /// Directory to work in; a temporary one when not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A line for the postgresql.conf of every server, such as 'work_mem = 64MB'; may be given several times
    #[arg(long, value_name = "LINE")]
    pub conf: Vec<String>,
    /// Leave the directory when done
    #[arg(long, requires = "data")]
    pub keep: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Stop after this time, such as 10s
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    pub exit_after: Option<std::time::Duration>,
    /// Run these steps once all is ready, then stop; @FILE reads them from a file
    #[arg(long, value_name = "STEPS")]
    pub script: Option<String>,
}

/// Reads the command line. Help, the version and mistakes are printed here; what comes back then is the exit code.
pub fn read(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, u8> {
    Cli::try_parse_from(arguments).map_err(|error| {
        match habit(&error) {
            Some(failure) => eprintln!("{failure}"),
            // Standard output for help, standard error for mistakes; a closed pipe is nobody's fault.
            None => drop(error.print()),
        }
        u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
    })
}

/// Colours of help and mistakes.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::White.on_default().bold())
    .usage(AnsiColor::White.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold());

/// Verbs that other tools have, and what they are called here.
const HABITS: &[(&str, &str)] = &[
    (
        "promote",
        "`bellwether switchover --to NODE` moves the lead, `bellwether failover` takes it from a primary that is lost",
    ),
    ("members", "`bellwether status` shows the members"),
    ("show", "`bellwether status` shows the cluster, `bellwether node show NODE` one node"),
    ("top", "`bellwether status --watch` goes on showing"),
    ("watch", "`bellwether status --watch` goes on showing"),
    ("doctor", "`bellwether preflight` looks at what is missing"),
    ("run", "`bellwether proxy` runs the proxy"),
    ("start", "`bellwether proxy` runs the proxy"),
    ("drain", "`bellwether node drain NODE`"),
    ("undrain", "`bellwether node undrain NODE`"),
    ("reinit", "`bellwether rejoin --clone`, on the host of the server"),
    ("rewind", "`bellwether rejoin`, on the host of the server"),
    ("reload", "send the proxy SIGHUP"),
    ("dsn", "`bellwether config show` has the address in `listen`"),
];

/// An answer for a verb typed out of habit from elsewhere.
fn habit(error: &clap::Error) -> Option<Failure> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let hint = HABITS.iter().find(|(habit, _)| habit == word).map(|(_, hint)| (*hint).to_owned());
    let verbs = names(&Cli::command());
    let near = || {
        let near = crate::config::nearest(word, verbs.iter().map(String::as_str));
        near.map(|verb| format!("did you mean `bellwether {verb}`?"))
    };
    let hint = hint.or_else(near).unwrap_or_else(|| "`bellwether --help` lists the verbs".to_owned());
    Some(Failure::usage(format!("there is no verb `{word}`")).hint(hint))
}

fn names(command: &clap::Command) -> Vec<String> {
    let verbs = command.get_subcommands();
    verbs.flat_map(|verb| verb.get_name_and_visible_aliases().into_iter().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reads_the_verbs() {
        let read = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        let Ok(Command::Proxy(proxy)) =
            read("bellwether proxy postgres://a,b/ --listen x:1 --listen unix:/s")
        else {
            panic!("a URL and addresses are read");
        };
        assert_eq!(proxy.sources.url.as_deref(), Some("postgres://a,b/"));
        assert_eq!(proxy.sources.listen, ["x:1", "unix:/s"]);
        let Ok(Command::Demo(demo)) = read("bellwether demo --nodes 2 --exit-after 10s --json") else {
            panic!("options of the demo are read");
        };
        assert_eq!((demo.nodes, demo.port, demo.json), (2, 6432, true));
        assert_eq!(demo.exit_after, Some(std::time::Duration::from_secs(10)));
        for wrong in
            ["bellwether", "bellwether promote", "bellwether demo --nodes 0", "bellwether demo --keep"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verbs_of_other_tools_are_known() {
        let said = |word: &str| {
            let error = Cli::try_parse_from(["bellwether", word]).expect_err("there is no such verb");
            habit(&error).expect("it is about the verb").to_string()
        };
        assert!(said("promote").contains("hint: `bellwether switchover --to NODE`"));
        assert!(said("members").contains("hint: `bellwether status`"));
        assert!(said("switchovr").contains("hint: did you mean `bellwether switchover`?"));
        assert!(said("xyzzy").contains("hint: `bellwether --help`"));
    }
}
