//! The verbs of an operator, and the options they share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::{parse_duration, parse_size, parse_time};

/// What an operator asks of a running proxy.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show who leads, who follows and how far, and what needs looking into
    #[command(visible_alias = "list")]
    Status(StatusArgs),
    /// Show the nodes as a tree, with the load this proxy puts on each
    Topology(QuestionArgs),
    /// Move the lead to a standby, planned and without loss
    Switchover(SwitchoverArgs),
    /// Promote a standby although the primary cannot agree to it
    Failover(FailoverArgs),
    /// No promotions by themselves from now on; traffic is routed as before
    Pause(WishArgs),
    /// Promotions by themselves again
    Resume(WishArgs),
    /// Show past changes of the primary, with reason, duration and loss
    History(QuestionArgs),
    /// Say why things stand as they stand; or where a statement would go, and which rule says so
    Explain(ExplainArgs),
    /// Show, drain, add, remove or set one node
    #[command(subcommand)]
    Node(NodeCommand),
    /// List what is missing before Bellwether may lead these servers, and the SQL that mends it
    Preflight(QuestionArgs),
    /// Lead the servers of the configuration from now on
    Adopt(AdoptArgs),
    /// Print the SQL that gives the cluster's login the rights it needs
    SetupRole(SetupRoleArgs),
    /// Exit with 0 when a query could be served now, else with 1; for HEALTHCHECK
    Health(HealthArgs),
}

/// Which proxy is asked, and how long.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which proxy")]
pub struct ApiArgs {
    /// Configuration file of the proxy: its http.listen, http.socket and http.token
    #[arg(short, long, env = "BELLWETHER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The proxy's API: http://host:port or unix:/path; from the configuration, else http://127.0.0.1:9632
    #[arg(long, env = "BELLWETHER_API", value_name = "URL")]
    pub api: Option<String>,
    /// Token for changes; better in the variable, since others can see command lines
    #[arg(long, env = "BELLWETHER_HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How long to wait: 10s for an answer, 5m for the end of a change
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// How it is shown.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Form of the output; json and yaml are one object with a schema number, units in the keys, null for unknown
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Form,
    /// Colours; auto has them on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// The same object as YAML.
    Yaml,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Anywhere.
    Always,
    /// Nowhere.
    Never,
}

/// A verb that only asks.
#[derive(Args, Clone, Debug)]
pub struct QuestionArgs {
    /// Which proxy.
    #[command(flatten)]
    pub api: ApiArgs,
    /// How it is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A verb that changes something.
#[derive(Args, Clone, Debug)]
pub struct WishArgs {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Why, for the history and the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which proxy, and how it is shown.
    #[command(flatten)]
    pub asking: QuestionArgs,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Go on showing, every 2s unless said otherwise; with json one line for each change
    #[arg(short, long, value_name = "PERIOD", num_args = 0..=1, require_equals = true,
          default_missing_value = "2s", value_parser = parse_period)]
    pub watch: Option<Duration>,
    /// Exit with 3 when something needs looking into, and with 4 when there is no primary
    #[arg(long, conflicts_with = "watch")]
    pub check: bool,
    /// Which proxy, and how it is shown.
    #[command(flatten)]
    pub asking: QuestionArgs,
}

/// Arguments of `switchover`.
#[derive(Args, Debug)]
pub struct SwitchoverArgs {
    /// The node that is to lead; the best one when not given
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Begin at this time, such as 2026-11-19T04:12:07Z
    #[arg(long, value_name = "TIME", value_parser = checked_time)]
    pub at: Option<String>,
    /// Take back a switchover that waits for its time
    #[arg(long, conflicts_with_all = ["to", "dry_run", "at"])]
    pub cancel: bool,
    /// What all changes have.
    #[command(flatten)]
    pub wish: WishArgs,
}

/// Arguments of `failover`.
#[derive(Args, Debug)]
pub struct FailoverArgs {
    /// The node that is to lead; the best one when not given
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Lose commits that no standby has: up to a size such as 16MB, or any number when none is given
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true,
          default_missing_value = "any", value_parser = parse_loss)]
    pub allow_data_loss: Option<Loss>,
    /// What all changes have.
    #[command(flatten)]
    pub wish: WishArgs,
}

/// How many bytes of WAL may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Whatever it takes.
    Any,
    /// At most so many bytes.
    Bytes(u64),
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A statement: where would it go?
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
    /// The database it would run in; that of the probes when not given
    #[arg(short, long, value_name = "NAME", requires = "sql")]
    pub database: Option<String>,
    /// The user it would run as; that of the probes when not given
    #[arg(short, long, value_name = "NAME", requires = "sql")]
    pub user: Option<String>,
    /// Which proxy, and how it is shown.
    #[command(flatten)]
    pub asking: QuestionArgs,
}

/// Arguments of `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Show all that is known of a node
    Show {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
        /// Which proxy, and how it is shown.
        #[command(flatten)]
        asking: QuestionArgs,
    },
    /// Give a node no new work, so that it can be stopped
    Drain {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
        /// What all changes have.
        #[command(flatten)]
        wish: WishArgs,
    },
    /// Give it work again
    Undrain {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
        /// What all changes have.
        #[command(flatten)]
        wish: WishArgs,
    },
    /// Take another server into the cluster
    Add {
        /// The name it gets
        #[arg(value_name = "NODE")]
        node: String,
        /// Where it is: postgres://host:port
        #[arg(value_name = "URL")]
        url: String,
        /// What all changes have.
        #[command(flatten)]
        wish: WishArgs,
    },
    /// Take a server out of the cluster
    Remove {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
        /// What all changes have.
        #[command(flatten)]
        wish: WishArgs,
    },
    /// Change settings of a node, named as in the configuration
    Set {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
        /// Such as priority=2 or no_failover=true
        #[arg(value_name = "SETTING=VALUE", required = true, value_parser = parse_setting)]
        settings: Vec<(String, String)>,
        /// What all changes have.
        #[command(flatten)]
        wish: WishArgs,
    },
}

/// Arguments of `adopt`.
#[derive(Args, Debug)]
pub struct AdoptArgs {
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// What all changes have.
    #[command(flatten)]
    pub wish: WishArgs,
}

/// Arguments of `setup-role`.
#[derive(Args, Debug)]
pub struct SetupRoleArgs {
    /// Print the SQL, for a superuser to run on the primary; nothing is sent anywhere
    #[arg(long, required = true)]
    pub sql: bool,
    /// The login: cluster.user of the configuration
    #[arg(long, default_value = "bellwether", value_name = "NAME")]
    pub user: String,
}

/// Arguments of `health`.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// Which proxy.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Arguments of `rejoin`.
#[derive(Args, Debug)]
pub struct RejoinArgs {
    /// The node's name
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Its data directory
    #[arg(short = 'D', long, env = "PGDATA", value_name = "DIR")]
    pub data: PathBuf,
    /// The primary: a connection string of libpq, with a user that has the rights of setup-role. When not given,
    /// whoever leads, with the login of the configuration. A password may come from PGPASSWORD
    #[arg(long, value_name = "CONNINFO")]
    pub primary: Option<String>,
    /// Directory of PostgreSQL's programs; where the server was last started from when not given
    #[arg(long, value_name = "DIR")]
    pub bin: Option<PathBuf>,
    /// Replace the data by a copy of the primary's; the old data is kept beside it
    #[arg(long)]
    pub clone: bool,
    /// Leave starting the server to whoever manages it; run this again afterwards
    #[arg(long)]
    pub no_start: bool,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Which proxy, and how it is shown.
    #[command(flatten)]
    pub asking: QuestionArgs,
}

/// The shortest period of `--watch`: below it, watching would be load.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

fn parse_period(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        period if period < SHORTEST_PERIOD => Err("the shortest period is 100ms".to_owned()),
        period => Ok(period),
    }
}

fn parse_loss(text: &str) -> Result<Loss, String> {
    if text == "any" { Ok(Loss::Any) } else { parse_size(text).map(Loss::Bytes) }
}

/// The API reads it again; a mistake is better found here.
fn checked_time(text: &str) -> Result<String, String> {
    parse_time(text).map(|_| text.to_owned())
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write SETTING=VALUE, such as weight=2".to_owned()),
    }
}
