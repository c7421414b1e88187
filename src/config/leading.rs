//! Checks the keys of leading: etcd, durations with the relations between them, what nodes may become.

use std::collections::BTreeMap;

use super::check::{NAME_HINT, is_name};
use super::lookup::{Check, as_count, as_flag};
use super::problem::Problem;
use super::settings::{Agreement, Config, Leading, Listen};
use crate::cluster::{Durability, Limits, Member, Mode, ProxyName, Timings};
use crate::pg::ConnInfo;
use crate::store::etcd::{self, Endpoint, TlsFiles};
use crate::topology::NodeName;

/// In place of etcd's members: what is agreed on stands in the memory of the one proxy there is.
const IN_MEMORY: &str = "memory:";

impl Check<'_> {
    /// Returns how the cluster is led; `None` when somebody else does it.
    pub(super) fn leading(&mut self, config: &Config) -> Option<Leading> {
        let endpoints = self.endpoints();
        let in_memory = self.list("etcd").0.iter().any(|item| item.text == IN_MEMORY);
        let mode = match (self.text("failover").as_str(), endpoints.is_empty() && !in_memory) {
            ("observe", _) | ("", true) => return None,
            (word, true) => {
                let origin = self.origin("failover");
                let cause = format!("\"{word}\" needs a place where the proxies agree");
                self.invalid(
                    "failover",
                    &origin,
                    &cause,
                    "set etcd = [\"http://host:2379\"], or failover = \"observe\"",
                );
                return None;
            }
            ("manual", false) => Mode::Manual,
            (_, false) => Mode::Automatic,
        };
        Some(Leading {
            name: self.proxy_name(config),
            coordinator: self.flag("leading.coordinator"),
            mode,
            replication: self.replication(),
            members: self.members(config),
            durability: match self.text("leading.durability").as_str() {
                "sync" => Durability::Sync {
                    k: self.small("leading.sync_standbys"),
                    strict: self.flag("leading.strict"),
                },
                _ => Durability::Async,
            },
            limits: Limits {
                max_lag_bytes: self.size("leading.max_lag_bytes"),
                max_lag_age: self.duration("leading.max_lag_time"),
                switch_lag_bytes: self.size("leading.switch_lag_bytes"),
            },
            timings: self.timings(),
            store: match in_memory {
                true => Agreement::Memory { timeout: self.duration("store.timeout") },
                false => Agreement::Etcd(self.store(endpoints, config)),
            },
        })
    }

    fn endpoints(&mut self) -> Vec<Endpoint> {
        let (items, origin) = self.list("etcd");
        let mut endpoints = Vec::new();
        if let [only] = &items[..]
            && only.text == IN_MEMORY
        {
            return endpoints;
        }
        for item in items {
            match item.text.parse::<Endpoint>() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => {
                    let place = origin.at(item.span.clone());
                    let hint = "write \"http://host:2379\" or \"https://host:2379\"";
                    self.invalid("etcd", &place, &error.to_string(), hint);
                }
            }
        }
        endpoints
    }

    fn store(&mut self, endpoints: Vec<Endpoint>, config: &Config) -> etcd::Settings {
        let (user, password) = (self.text("store.user"), self.secret("store.password"));
        if user.is_empty() != password.is_none() {
            let (given, missing) = match user.is_empty() {
                true => ("store.password", "store.user"),
                false => ("store.user", "store.password"),
            };
            let origin = self.origin(given);
            self.invalid(
                given,
                &origin,
                &format!("`{missing}` is not set"),
                &format!("set {missing} as well"),
            );
        }
        let identity = self.pair("store.cert", "store.key");
        let tls = self.path("store.ca").map(|ca| TlsFiles { ca, identity });
        if tls.is_none() && endpoints.iter().any(|endpoint| endpoint.tls) {
            let origin = self.origin("etcd");
            self.invalid(
                "etcd",
                &origin,
                "a member is https, and nothing checks its certificate",
                "set store.ca",
            );
        }
        let namespace = self.text("store.namespace");
        if !is_name(&namespace) {
            let origin = self.origin("store.namespace");
            self.invalid("store.namespace", &origin, "not a plain name", NAME_HINT);
        }
        etcd::Settings {
            endpoints,
            namespace,
            cluster: config.cluster.name.clone(),
            tls,
            login: password.map(|password| (user, password.expose().to_owned())),
            timeout: self.duration("store.timeout"),
        }
    }

    fn proxy_name(&mut self, config: &Config) -> ProxyName {
        let given = self.text("leading.name");
        if !given.is_empty() && !is_name(&given) {
            let origin = self.origin("leading.name");
            self.invalid("leading.name", &origin, "not a plain name", NAME_HINT);
        }
        if !given.is_empty() {
            return ProxyName::new(&given);
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let plain: String =
            host.chars().map(|c| if is_name(&c.to_string()) { c } else { '-' }).take(50).collect();
        let port = config.listen.iter().find_map(|place| match place {
            Listen::Tcp { port, .. } => Some(*port),
            Listen::Unix(_) => None,
        });
        ProxyName::new(&format!("{plain}-{}", port.unwrap_or(0)))
    }

    fn replication(&mut self) -> ConnInfo {
        let Some(text) = self.secret("leading.replication") else { return ConnInfo::default() };
        match text.expose().parse::<ConnInfo>() {
            Ok(info) if info.hosts.is_empty() => info,
            Ok(_) => {
                let origin = self.origin("leading.replication");
                let cause = "it names a host, and standbys follow whoever leads";
                self.invalid(
                    "leading.replication",
                    &origin,
                    cause,
                    "write \"user=replicator passfile=/path\"",
                );
                ConnInfo::default()
            }
            Err(error) => {
                let origin = self.origin("leading.replication");
                let hint = "write \"user=replicator passfile=/path\"";
                self.invalid("leading.replication", &origin, &error.0, hint);
                ConnInfo::default()
            }
        }
    }

    fn members(&self, config: &Config) -> BTreeMap<NodeName, Member> {
        let member = |name: &NodeName, address: String| {
            let flag = |key| self.named(key, name.as_str()).and_then(as_flag).unwrap_or(false);
            let priority = self.named("nodes.*.priority", name.as_str()).and_then(as_count).unwrap_or(0);
            Member {
                address,
                no_failover: flag("nodes.*.no_failover"),
                no_sync: flag("nodes.*.no_sync"),
                priority: i32::try_from(priority).unwrap_or(i32::MAX),
            }
        };
        let nodes = config.nodes.iter();
        nodes.map(|node| (node.name.clone(), member(&node.name, node.address.to_string()))).collect()
    }

    fn timings(&mut self) -> Timings {
        let timings = Timings {
            permission: self.duration("leading.permission"),
            renew: self.duration("leading.renew"),
            store_timeout: self.duration("store.timeout"),
            probe: self.duration("leading.probe"),
            probe_misses: self.small("leading.probe_misses"),
            restart_grace: self.duration("leading.restart_grace"),
            drain: self.duration("leading.drain_timeout"),
            between_failovers: self.duration("leading.between_failovers"),
            hold: self.duration("leading.hold_max"),
            ..Timings::agentless()
        };
        if let Err(error) = timings.check() {
            let problem =
                Problem::new("the durations of leading do not go together").cause(error.to_string());
            self.problems.push(problem.hint("lengthen the first one named, or shorten the others"));
        }
        timings
    }
}
