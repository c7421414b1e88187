//! The story of a failover, as a real Prometheus saw it: no panel is empty, no rule is broken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Etcd, EtcdOptions, Options, ProxyOptions, ProxyProcess};
use serde_json::Value;

use super::dashboard::{dashboard, directory};
use super::expressions::{filled_in, selectors};
use super::prometheus::Prometheus;

const TABLES: &str = "CREATE TABLE numbers (n int); GRANT ALL ON numbers TO demo;
    CREATE SEQUENCE told; GRANT ALL ON SEQUENCE told TO demo;
    CREATE FUNCTION sly() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''told''); END'";

const USE: &str = "INSERT INTO numbers VALUES (1);\nSELECT count(*) FROM numbers;\n";

/// What a dashboard shows and what does not happen by itself: a read that writes after all, a session that keeps its
/// server, an error.
const RARE: [&str; 3] =
    ["SELECT sly();\n", "CREATE TEMP TABLE mine (n int);\nSELECT pg_sleep(2.5);\n", "SELECT 1 / 0;\n"];

#[test]
fn every_panel_shows_a_failover_and_every_rule_works() {
    let etcd = Etcd::start(EtcdOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let cluster = Cluster::start(Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let start = |name: &str| {
        let options = ProxyOptions::new(env!("CARGO_BIN_EXE_bellwether"))
            .with(&format!("etcd = {:?}", etcd.endpoints()))
            .with(&format!("leading.name = {name:?}"))
            .with("leading.replication = \"user=replicator password=replicator\"");
        ProxyProcess::start(&cluster, options).unwrap_or_else(|error| panic!("{error}"))
    };
    let mut proxies = [start("p0"), start("p1")];
    for proxy in &mut proxies {
        proxy.wait_ready(&cluster).unwrap_or_else(|error| panic!("{error}"));
    }
    cluster.sql("a", TABLES).expect("a is the primary");
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
        // At both: one that has no catalog yet sends nothing to a standby that might be sent back.
        let reads = "sum by (instance) (rate(bellwether_statements_total{route=\"standby\"}[5s])) > 0";
        prometheus.wait_for(&format!("count({reads}) == 2"));
        for (name, text) in RARE.iter().enumerate() {
            let file = cluster.directory().join(format!("rare{name}.sql"));
            std::fs::write(&file, text).expect("the cluster's directory can be written to");
            let _ = cluster.file_at(&proxies[0].endpoint(), &file);
        }
        cluster.kill9("a").expect("a runs");
        prometheus.wait_for("sum(bellwether_node_role{node!=\"a\",role=\"primary\"} == 1) == 2");
        prometheus.wait_for("sum(rate(bellwether_statements_total{node!=\"a\",route=\"primary\"}[5s])) > 0");
        prometheus.wait_for("ALERTS{alertname=\"BellwetherFailoverHappened\", alertstate=\"firing\"}");
        prometheus.wait_for("sum(bellwether_failovers_total{kind=\"failover\",result=\"done\"}) > 0");
        // Reads are left to the primary.
        let standby = if prometheus.now(LEADS_B).is_empty() { "b" } else { "c" };
        cluster.kill9(standby).expect("it runs");
        // A moment later, since the steps of a range do not end with the last scrape.
        prometheus.wait_for("sum(rate(bellwether_read_fallbacks_total[5s] offset 2s)) > 0");
    });
    let back = began.elapsed() + Duration::from_secs(5);
    panels_are_not_empty(&prometheus, back);
    rules_are_sound(&prometheus, back);
    assert_eq!(prometheus.now("ALERTS{alertname=\"BellwetherStrayPrimary\"}"), [] as [Value; 0]);
    assert_eq!(prometheus.now("ALERTS{alertname=\"BellwetherNodeDown\", node=\"a\"}").len(), 1);
    let values = prometheus.ask("/api/v1/label/cluster/values?match[]=bellwether_build_info");
    assert_eq!(values["data"], serde_json::json!(["main"]), "what the dashboard's variable asks for");
}

const LEADS_B: &str = "bellwether_node_role{node=\"b\",role=\"primary\"} == 1";

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
        if numbers == 0 {
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

/// Every rule can be evaluated, and whatever it looks at was there to be looked at. (That each fires when it should is
/// tested by promtool: here most of what they warn of does not happen.)
fn rules_are_sound(prometheus: &Prometheus, back: Duration) {
    let rules = prometheus.ask("/api/v1/rules");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    assert!(rules.len() > 20, "{} rules", rules.len());
    let mut empty = Vec::new();
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for selector in selectors(rule["query"].as_str().expect("its expression")) {
            if prometheus.range(selector, back).is_empty() {
                empty.push(format!("{}: {selector}", rule["name"]));
            }
        }
    }
    assert!(empty.is_empty(), "nothing to judge for\n{}", empty.join("\n"));
}
