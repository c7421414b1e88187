//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 2;

/// A leader/follower proxy for PostgreSQL: one endpoint for a primary and its standbys.
#[derive(Debug, Parser)]
#[command(
    name = "bellwether",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration."
)]
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
}
