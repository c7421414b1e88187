//! The story of a failover, as a real Prometheus saw it: no panel is empty, no rule is broken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess};
use serde_json::Value;

use super::dashboard::{dashboard, directory};
use super::expressions::filled_in;
use super::prometheus::Prometheus;

/// What has nothing to show in this story, or only by chance: nobody leads, nobody pins, no read fails, writes are
/// patient, and reads may find a standby all the time.
const NOT_HERE: &[&str] =
    &["etcd_request_seconds", "pinned_clients", "reads_healed", "bellwether_errors_total", "read_fallbacks"];

const USE: &str = "INSERT INTO numbers VALUES (1);\nSELECT count(*) FROM numbers;\n";

#[test]
fn every_panel_shows_a_failover_and_every_rule_works() {
    let cluster = Cluster::start(Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let start = || {
        let options = ProxyOptions::new(env!("CARGO_BIN_EXE_bellwether"));
        let mut proxy = ProxyProcess::start(&cluster, options).unwrap_or_else(|error| panic!("{error}"));
        proxy.wait_ready(&cluster).unwrap_or_else(|error| panic!("{error}"));
        proxy
    };
    let proxies = [start(), start()];
    cluster.sql("a", "CREATE TABLE numbers (n int); GRANT ALL ON numbers TO demo").expect("a is the primary");
    std::fs::write(cluster.directory().join("use.sql"), USE)
        .expect("the cluster's directory can be written to");
    let rules = directory().join("prometheus/alerts.yml");
    let ports = proxies.each_ref().map(ProxyProcess::http_port);
    let began = Instant::now();
    let prometheus = Prometheus::start(&ports, &rules);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for proxy in &proxies {
            scope.spawn(|| use_it(&cluster, &proxy.endpoint(), &over));
        }
        // Also when an assertion fails, or the traffic would never end.
        let _end = Ended(&over);
        prometheus.wait_for("count(up{cluster=\"main\"} == 1) == 2");
        prometheus.wait_for("sum(rate(bellwether_statements_total{route=\"standby\"}[5s])) > 0");
        cluster.kill9("a").expect("a runs");
        prometheus.wait_for("max(bellwether_writable) == 0");
        cluster.fail_over("b").expect("b can be promoted");
        prometheus.wait_for("count(bellwether_node_role{node=\"b\",role=\"primary\"} == 1) == 2");
        prometheus.wait_for("sum(rate(bellwether_statements_total{node=\"b\",route=\"primary\"}[5s])) > 0");
        prometheus.wait_for("ALERTS{alertname=\"BellwetherFailoverHappened\", alertstate=\"firing\"}");
    });
    let back = began.elapsed() + Duration::from_secs(5);
    panels_are_not_empty(&prometheus, back);
    rules_are_sound(&prometheus);
    assert_eq!(prometheus.now("ALERTS{alertname=\"BellwetherStrayPrimary\"}"), [] as [Value; 0]);
    assert_eq!(prometheus.now("ALERTS{alertname=\"BellwetherNodeDown\", node=\"a\"}").len(), 1);
    let values = prometheus.ask("/api/v1/label/cluster/values?match[]=bellwether_build_info");
    assert_eq!(values["data"], serde_json::json!(["main"]), "what the dashboard's variable asks for");
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn use_it(cluster: &Cluster, endpoint: &str, over: &AtomicBool) {
    let file = cluster.directory().join("use.sql");
    while !over.load(Ordering::Relaxed) {
        // While there is no primary these wait or fail, which is part of the story. In one session a read must see
        // the write before it.
        let _ = cluster.sql_at(endpoint, "SELECT count(*) FROM numbers");
        let _ = cluster.file_at(endpoint, &file);
    }
}

fn panels_are_not_empty(prometheus: &Prometheus, back: Duration) {
    let board = dashboard();
    let targets = board
        .panels
        .iter()
        .flat_map(|panel| panel.targets.iter().map(|target| (panel.title.as_str(), target.expr.as_str())));
    let notes = board.annotations.list.iter().map(|note| (note.name.as_str(), note.expr.as_str()));
    let mut empty = Vec::new();
    for (title, expression) in targets.chain(notes) {
        let series = prometheus.range(&filled_in(expression), back);
        let values = series.iter().filter_map(|one| one["values"].as_array()).flatten();
        let numbers = values.filter(|value| value[1] != "NaN").count();
        if numbers == 0 && !NOT_HERE.iter().any(|name| expression.contains(name)) {
            empty.push(format!("{title}: {expression}"));
        }
    }
    assert!(empty.is_empty(), "nothing to see in\n{}", empty.join("\n"));
    let note = filled_in(&board.annotations.list[0].expr);
    let series = prometheus.range(&note, back);
    let mut times: Vec<&Value> =
        series[0]["values"].as_array().expect("values").iter().map(|v| &v[1]).collect();
    times.dedup();
    assert!(times.len() > 1, "the change of the primary is no annotation: {times:?}");
}

fn rules_are_sound(prometheus: &Prometheus) {
    let rules = prometheus.ask("/api/v1/rules");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    assert!(rules.len() > 20, "{} rules", rules.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
