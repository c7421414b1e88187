//! Turns what was written into what the program runs with: defaults filled in, relations checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::interface::Interface;
use super::key::KeyPath;
use super::lookup::{Check, as_count, as_flag, as_text};
use super::problem::{Origin, Problem};
use super::settings::*;
use super::units::display_duration;
use super::value::Value;
use super::written::Written;
use crate::auth::{ChannelBinding, HostRules};
use crate::pg::{Address, ConnInfo};
use crate::pool;
use crate::pool::tls::{SslMode, TlsSettings};
use crate::routing::{Consistency, NoStandby, OnStale, Policy, Wishes};
use crate::session::PoolMode;
use crate::topology::{LagLimits, Node, NodeId, NodeName};

/// Checks everything and builds the settings, or says all that is wrong.
pub(super) fn check(written: &Written) -> Result<Config, Vec<Problem>> {
    let mut check = Check { written, problems: Vec::new() };
    let mut config = Config {
        listen: check.listen("listen"),
        listen_read_only: check.listen("listen_read_only"),
        workers: check.workers(),
        cluster: check.cluster(),
        nodes: check.nodes(),
        leading: None, // Needs the nodes.
        health: check.health(),
        split: check.flag("routing.split"),
        lag_limits: check.lag_limits(),
        balance: check.balance(),
        wishes: check.wishes(),
        catalog_refresh: check.duration("routing.catalog_refresh"),
        lists: check.routing_lists(),
        pool: check.pool(),
        pool_mode: pool_mode(&check.text("pool.mode")),
        max_clients: check.count("pool.max_clients"),
        prepared: check.count("pool.prepared"),
        databases: check.overrides("databases.", "databases.*.pool_mode", Some("databases.*.pool_size")),
        users: check.overrides("users.", "users.*.pool_mode", None),
        auth: check.auth(),
        tls: check.client_tls(),
        server_tls: check.server_tls(),
        http: check.http(),
        http_socket: check.http_socket(),
        http_token: check.secret("http.token"),
        log: check.log(),
        drain_timeout: check.duration("shutdown.drain_timeout"),
    };
    config.leading = check.leading(&config);
    let sizes = config.databases.iter().filter_map(|(name, own)| Some((name.clone(), own.pool_size?)));
    config.pool.database_sizes = sizes.collect();
    match check.problems.is_empty() {
        true => Ok(config),
        false => Err(check.problems),
    }
}

/// Checks what is needed to talk to the proxy, and nothing else.
pub(super) fn check_interface(written: &Written) -> Result<Interface, Vec<Problem>> {
    let mut check = Check { written, problems: Vec::new() };
    let interface = Interface {
        address: check.http(),
        socket: check.http_socket(),
        token: check.secret("http.token"),
        user: check.text("cluster.user"),
        password: check.secret("cluster.password"),
    };
    match check.problems.is_empty() {
        true => Ok(interface),
        false => Err(check.problems),
    }
}

/// Whether `name` may name a node: it ends up in metrics, in URLs and on command lines.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=63).contains(&name.len()) && name.bytes().all(allowed)
}

impl Check<'_> {
    fn listen(&mut self, key: &'static str) -> Vec<Listen> {
        let (items, origin) = self.list(key);
        let mut places = Vec::new();
        for item in &items {
            match listen(&item.text) {
                Some(place) if places.contains(&place) => {
                    let problem = Problem::new(format!("`{key}` names the same place twice"));
                    self.problems.push(problem.at(origin.at(item.span.clone())));
                }
                Some(place) => places.push(place),
                None => self.invalid(key, &origin.at(item.span.clone()), "not an address to listen on", {
                    "write \"host:port\" or \"unix:/path/.s.PGSQL.6432\""
                }),
            }
        }
        if items.is_empty() && key == "listen" {
            self.invalid(
                key,
                &origin,
                "the list is empty",
                "name at least one place, such as \"0.0.0.0:6432\"",
            );
        }
        places
    }

    fn workers(&self) -> usize {
        match self.count("workers") {
            0 => std::thread::available_parallelism().map_or(1, |cpus| (cpus.get() - 1).max(1)),
            workers => workers,
        }
    }

    fn cluster(&mut self) -> Cluster {
        if !is_name(&self.text("cluster.name")) {
            let origin = self.origin("cluster.name");
            self.invalid("cluster.name", &origin, "not a plain name", NAME_HINT);
        }
        Cluster {
            name: self.text("cluster.name"),
            user: self.filled("cluster.user"),
            password: self.secret("cluster.password"),
            database: self.filled("cluster.database"),
        }
    }

    fn nodes(&mut self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for name in self.written.names("nodes.") {
            let Some((address, origin)) = self.node_address(&name) else { continue };
            if let Some(twin) = nodes.iter().find(|node| node.address == address) {
                let problem =
                    Problem::new(format!("nodes \"{}\" and \"{name}\" are the same server", twin.name));
                self.problems.push(problem.at(origin).hint("give each server once"));
                continue;
            }
            let Ok(id) = u16::try_from(nodes.len()) else { continue };
            let weight = self.named("nodes.*.weight", &name).and_then(as_count);
            let reads = self.named("nodes.*.reads", &name).and_then(as_flag);
            let zone = self.named("nodes.*.zone", &name).and_then(as_text);
            nodes.push(Arc::new(Node {
                id: NodeId(id),
                name: NodeName::new(&name),
                address,
                weight: weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(1),
                reads: reads.unwrap_or(true),
                zone: zone.filter(|zone| !zone.is_empty()).map(Into::into),
            }));
        }
        if self.written.names("nodes.").is_empty() {
            let problem = Problem::new("no node is configured").cause("`nodes` is empty in every source");
            self.problems.push(problem.hint("write [nodes] and below it a = \"postgres://10.0.0.1:5432\""));
        }
        nodes
    }

    fn node_address(&mut self, name: &str) -> Option<(Address, Origin)> {
        let paths = [KeyPath::named("nodes.*", name), KeyPath::named("nodes.*.url", name)];
        let found = paths.iter().find_map(|path| Some((path, self.written.get(path)?)));
        let Some((path, entry)) = found else {
            let problem = Problem::new(format!("node \"{name}\" has no url"));
            self.problems.push(problem.hint("add url = \"postgres://host:port\""));
            return None;
        };
        let invalid = |cause: String| {
            let problem =
                Problem::new(format!("invalid value for `{path}`")).at(entry.origin.clone()).cause(cause);
            problem.hint("write \"postgres://host:port\"")
        };
        if !is_name(name) {
            let problem = Problem::new(format!("invalid name of node \"{name}\"")).at(entry.origin.clone());
            self.problems.push(problem.hint(NAME_HINT));
            return None;
        }
        let Value::Text(url) = &entry.value else { return None };
        match node_url(url) {
            Ok(address) => Some((address, entry.origin.clone())),
            Err(cause) => {
                self.problems.push(invalid(cause));
                None
            }
        }
    }

    fn health(&mut self) -> Health {
        let health = Health {
            interval: self.duration("health.interval"),
            timeout: self.duration("health.timeout"),
            fall: self.small("health.fall"),
            rise: self.small("health.rise"),
        };
        if health.timeout > health.interval {
            let (timeout, interval) = (display_duration(health.timeout), display_duration(health.interval));
            let origin = self.origin("health.timeout");
            self.invalid(
                "health.timeout",
                &origin,
                &format!(
                    "{timeout} is longer than health.interval, {interval}: probes of one node would overlap"
                ),
                "make it shorter, or the interval longer",
            );
        }
        health
    }

    fn lag_limits(&mut self) -> LagLimits {
        let (bytes, time) = (self.size("routing.max_lag_bytes"), self.duration("routing.max_lag_time"));
        let least = self.duration("health.interval") * 2;
        if !time.is_zero() && time < least {
            let cause = format!(
                "{} is less than two times health.interval, and lag is known to an interval only",
                display_duration(time)
            );
            let origin = self.origin("routing.max_lag_time");
            self.invalid("routing.max_lag_time", &origin, &cause, "make it longer, or the interval shorter");
        }
        LagLimits { bytes: (bytes > 0).then_some(bytes), time: (!time.is_zero()).then_some(time) }
    }

    fn balance(&self) -> Policy {
        let zone = self.text("routing.zone");
        Policy {
            slow_start: self.duration("routing.slow_start"),
            zone: (!zone.is_empty()).then(|| zone.into()),
            no_standby: match self.text("routing.no_standby").as_str() {
                "error" => NoStandby::Error,
                _ => NoStandby::Primary,
            },
        }
    }

    fn wishes(&self) -> Wishes {
        Wishes {
            consistency: named(&self.text("routing.consistency"), &Consistency::NAMES),
            max_staleness_bytes: self.size("routing.max_staleness_bytes"),
            max_staleness: self.duration("routing.max_staleness"),
            on_stale: named(&self.text("routing.on_stale"), &OnStale::NAMES),
            wait_limit: self.duration("routing.wait_limit"),
            ..Wishes::default()
        }
    }

    fn routing_lists(&self) -> RoutingLists {
        let names = |path| self.list(path).0.into_iter().map(|item| item.text).collect();
        RoutingLists {
            primary_functions: names("routing.primary_functions"),
            standby_functions: names("routing.standby_functions"),
            primary_relations: names("routing.primary_relations"),
            standby_relations: names("routing.standby_relations"),
        }
    }

    fn pool(&mut self) -> pool::Settings {
        let pool = pool::Settings {
            size: self.count("pool.size"),
            database_sizes: BTreeMap::new(), // Comes with the databases.
            min: self.count("pool.min"),
            reserve: self.count("pool.reserve"),
            reserve_after: self.duration("pool.reserve_after"),
            max_per_user: self.count("pool.max_per_user"),
            max_per_database: self.count("pool.max_per_database"),
            max_per_node: self.count("pool.max_per_node"),
            checkout_timeout: self.duration("pool.checkout_timeout"),
            connect_timeout: self.duration("pool.connect_timeout"),
            idle_timeout: self.duration("pool.idle_timeout"),
            max_lifetime: self.duration("pool.max_lifetime"),
            check_after_idle: self.duration("pool.check_after_idle"),
            startup_parameters: Vec::new(),
        };
        if pool.min > pool.size {
            let cause = format!("{} is more than pool.size, {}", pool.min, pool.size);
            let origin = self.origin("pool.min");
            self.invalid("pool.min", &origin, &cause, "make it smaller, or the pool larger");
        }
        pool
    }

    fn overrides(
        &self,
        group: &str,
        mode: &'static str,
        size: Option<&'static str>,
    ) -> BTreeMap<String, Override> {
        let one = |name: String| {
            let found = Override {
                pool_mode: self.named(mode, &name).and_then(as_text).map(|word| pool_mode(&word)),
                pool_size: size.and_then(|size| self.named(size, &name)).and_then(as_count),
            };
            (name, found)
        };
        self.written.names(group).into_iter().map(one).collect()
    }

    fn auth(&mut self) -> Auth {
        Auth {
            rules: self.rules(),
            verifier_file: self.path("auth.verifier_file"),
            auth_query: self.filled("auth.auth_query"),
            login_timeout: self.duration("auth.login_timeout"),
            max_logins: self.count("auth.max_logins"),
        }
    }

    fn rules(&mut self) -> HostRules {
        let (items, origin) = self.list("auth.rules");
        if items.is_empty() {
            self.invalid(
                "auth.rules",
                &origin,
                "nobody could log in",
                "leave the key out for the default rules",
            );
        }
        let rules = match HostRules::parse(items.iter().map(|item| item.text.as_str())) {
            Ok(rules) => rules,
            Err((line, error)) => {
                // Lines count from 1.
                let span = items.get(line.saturating_sub(1)).and_then(|item| item.span.clone());
                let hint =
                    "a rule is a line of pg_hba.conf, such as \"hostssl all all 10.0.0.0/8 scram-sha-256\"";
                self.invalid("auth.rules", &origin.at(span), &error.to_string(), hint);
                return HostRules::default();
            }
        };
        if rules.want_certificates() && self.path("tls.client_ca").is_none() {
            let cause = "a rule wants client certificates, and there is nothing to check them against";
            self.invalid("auth.rules", &origin, cause, "set tls.client_ca");
        }
        rules
    }

    fn client_tls(&mut self) -> Option<ClientTls> {
        let pair = self.pair("tls.cert", "tls.key");
        let client_ca = self.path("tls.client_ca");
        if pair.is_none() && client_ca.is_some() {
            let origin = self.origin("tls.client_ca");
            self.invalid(
                "tls.client_ca",
                &origin,
                "without tls.cert there is no TLS",
                "set tls.cert and tls.key",
            );
        }
        pair.map(|(cert, key)| ClientTls { cert, key, client_ca })
    }

    fn server_tls(&mut self) -> TlsSettings {
        let mode = match self.text("server_tls.mode").as_str() {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => SslMode::Prefer,
        };
        let root_ca = self.path("server_tls.root_cert");
        if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root_ca.is_none() {
            let origin = self.origin("server_tls.mode");
            let cause = "there is nothing to verify certificates against";
            self.invalid("server_tls.mode", &origin, cause, "set server_tls.root_cert");
        }
        let channel_binding = match self.text("server_tls.channel_binding").as_str() {
            "disable" => ChannelBinding::Disable,
            "require" => ChannelBinding::Require,
            _ => ChannelBinding::Prefer,
        };
        if channel_binding == ChannelBinding::Require && mode == SslMode::Disable {
            let origin = self.origin("server_tls.channel_binding");
            let cause = "a login can only be bound to a TLS connection, and server_tls.mode is \"disable\"";
            self.invalid("server_tls.channel_binding", &origin, cause, "set server_tls.mode = \"require\"");
        }
        let identity = self.pair("server_tls.cert", "server_tls.key");
        TlsSettings { mode, root_ca, identity, channel_binding }
    }

    fn http(&mut self) -> Option<SocketAddr> {
        let text = self.text("http.listen");
        let address = text.parse().ok();
        if address.is_none() && !text.is_empty() {
            let origin = self.origin("http.listen");
            let hint = "write \"127.0.0.1:9632\", or \"\" for none";
            self.invalid("http.listen", &origin, "not an IP address with a port", hint);
        }
        address
    }

    fn http_socket(&mut self) -> Option<PathBuf> {
        let text = self.text("http.socket");
        if !text.is_empty() && !text.starts_with('/') {
            let origin = self.origin("http.socket");
            let hint = "write \"/run/bellwether/http.sock\", or leave it out for none";
            self.invalid("http.socket", &origin, "not an absolute path", hint);
        }
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn log(&mut self) -> Log {
        let format = match self.text("log.format").as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        let level = self.text("log.level");
        if !level.split(',').all(is_level) {
            let origin = self.origin("log.level");
            let hint = "write error, warn, info, debug, trace or off, or info,bellwether::pool=debug";
            self.invalid("log.level", &origin, "neither a level nor a filter", hint);
        }
        Log { format, level }
    }
}

pub(super) const NAME_HINT: &str = "use up to 63 letters, digits, dots, dashes and underscores";

/// One part of a filter: a level, or `module=level`.
fn is_level(part: &str) -> bool {
    let (module, level) = part.split_once('=').unwrap_or(("any", part));
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    !module.is_empty() && known.iter().any(|known| known.eq_ignore_ascii_case(level))
}

/// Takes one of several words; any other was refused where the value was read.
fn named<T: Copy + Default>(word: &str, names: &[(&str, T)]) -> T {
    names.iter().find(|(name, _)| *name == word).map_or_else(T::default, |(_, value)| *value)
}

fn pool_mode(word: &str) -> PoolMode {
    match word {
        "session" => PoolMode::Session,
        _ => PoolMode::Transaction,
    }
}

fn listen(text: &str) -> Option<Listen> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| Listen::Unix(path.into()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then(|| Listen::Tcp { host: host.to_owned(), port })
}

/// Reads a node's URL, which says where the server is and nothing else.
fn node_url(url: &str) -> Result<Address, String> {
    let info: ConnInfo = url.parse().map_err(|error: crate::pg::ConnInfoError| error.0)?;
    if let Some(keyword) = info.settings.keys().next() {
        return Err(format!(
            "\"{keyword}\" does not belong to a node; it is set once in [cluster] or [server_tls]"
        ));
    }
    match <[Address; 1]>::try_from(info.hosts) {
        Ok([address]) => Ok(address),
        Err(hosts) => Err(format!("a node is one host, this names {}", hosts.len())),
    }
}
