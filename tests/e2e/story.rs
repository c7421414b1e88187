//! A cluster, a proxy that trusts everybody, and what both say of themselves: the oracle of the pooling stories.

use bellwether::lab::Options;
use serde_json::Value;

use crate::raw::Raw;
use crate::support::{Bench, eventually};

/// A bench whose servers and proxy ask for no passwords, which `Raw` has none of.
pub struct Story {
    pub bench: Bench,
}

impl Story {
    /// A cluster of `nodes` servers, and settings for the proxy.
    pub fn with(nodes: usize, settings: &[&str]) -> Story {
        Story::on(Options { nodes, ..Options::default() }, settings)
    }

    /// The same with any cluster.
    pub fn on(options: Options, settings: &[&str]) -> Story {
        let hba = vec!["host all all 127.0.0.1/32 trust".to_owned()];
        let settings = with_trust(settings);
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        Story { bench: Bench::with(Options { hba, ..options }, &settings) }
    }

    /// Replaces the settings, and waits until they are in force.
    pub fn reload(&mut self, settings: &[&str]) {
        let reloaded = |story: &Story| story.bench.proxy.log().matches("configuration reloaded").count();
        let before = reloaded(self);
        self.bench.proxy.reload(with_trust(settings)).expect("the file can be written");
        eventually("the configuration is reloaded", || reloaded(self) > before);
    }

    /// A client of the endpoint as `demo`.
    pub fn client(&self) -> Raw {
        Raw::connect(self.bench.proxy.port(), "demo")
    }

    /// The same with startup parameters.
    pub fn client_with(&self, parameters: &[(&str, &str)]) -> Raw {
        Raw::connect_with(self.bench.proxy.port(), "demo", parameters)
    }

    /// A connection past the proxy.
    pub fn direct(&self, node: &str, user: &str) -> Raw {
        Raw::connect(self.bench.cluster.port(node).expect("a node of ours"), user)
    }

    /// `/api/v1/status`.
    pub fn status(&self) -> Value {
        let body = self.get("/api/v1/status");
        serde_json::from_str(&body).expect("the status is JSON")
    }

    /// Sum of one figure over the pools of `user` on `node`.
    pub fn pool(&self, node: &str, user: &str, figure: &str) -> u64 {
        let status = self.status();
        let pools = status["pools"].as_array().expect("pools are a list");
        let ours = pools.iter().filter(|pool| pool["node"] == node && pool["user"] == user);
        ours.map(|pool| pool[figure].as_u64().unwrap_or_else(|| panic!("no {figure}: {pool}"))).sum()
    }

    /// Value of the metric with this name and these labels, as printed by `/metrics`.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }

    /// `/metrics`.
    pub fn metrics(&self) -> String {
        self.get("/metrics")
    }

    /// How many clients keep their server for this reason now.
    pub fn pinned(&self, reason: &str) -> f64 {
        self.metric(&format!("bellwether_pinned_clients{{reason=\"{reason}\"}}"))
    }

    /// Waits until node `a` runs nothing for `demo` and holds no lock for it, the pool has no server in use, and
    /// both agree about the number of connections.
    pub fn settled(&self, oracle: &mut Raw, after: &str) {
        let mut seen = String::new();
        let question = "SELECT count(*), count(*) FILTER (WHERE state <> 'idle'), \
             (SELECT count(*) FROM pg_locks l JOIN pg_stat_activity s USING (pid) WHERE s.usename LIKE 'demo%'), \
             (SELECT count(*) FROM pg_prepared_xacts) \
             FROM pg_stat_activity WHERE usename LIKE 'demo%'";
        eventually_with(&format!("everything is at rest after {after}"), || {
            let server = oracle.sql(question);
            let (idle, active) = (self.pool("a", "demo", "idle"), self.pool("a", "demo", "active"));
            seen = format!("connections|busy|locks|prepared {server}, pool: {idle} idle, {active} active");
            match server == format!("{idle}|0|0|0") && active == 0 {
                true => Ok(()),
                false => Err(seen.clone()),
            }
        });
    }

    fn get(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.bench.proxy.http_port()))
            .expect("HTTP is served");
        write!(stream, "GET {path} HTTP/1.0\r\nConnection: close\r\n\r\n").expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is text");
        answer.split_once("\r\n\r\n").expect("head and body").1.to_owned()
    }
}

fn with_trust(settings: &[&str]) -> Vec<String> {
    let mut all = vec!["auth.rules = [\"host all all all trust\"]".to_owned()];
    all.extend(settings.iter().map(ToString::to_string));
    if !settings.iter().any(|setting| setting.starts_with("workers")) {
        all.push("workers = 2".to_owned());
    }
    all
}

/// Polls like `eventually`, and tells what was seen last when it never happens.
pub fn eventually_with(what: &str, mut done: impl FnMut() -> Result<(), String>) {
    let mut seen = Ok(());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        seen = done();
        if seen.is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("did not happen: {what}; seen: {seen:?}");
}

/// Waits until `count` backends of `demo` match `condition`.
pub fn backends(oracle: &mut Raw, condition: &str, count: usize) {
    let question =
        format!("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'demo%' AND ({condition})");
    eventually(&format!("{count} backends: {condition}"), || oracle.sql(&question) == count.to_string());
}
