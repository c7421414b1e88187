//! `bellwether demo`: its script, its events, its exit codes, and that it leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{BELLWETHER, eventually};

#[test]
fn a_script_runs_through_the_endpoint_and_its_assertions_count() {
    let ran = demo(&[
        "--script",
        "wait ready; sql \"create table t (n int); insert into t values (1), (2)\"\n\
         assert \"select count(*) from t\" = 2\n\
         # Served by the other standby.\n\
         stop b; wait ready; assert \"select current_setting('cluster_name')\" = c; start b; wait ready\n\
         pause replay c; sql \"insert into t values (3)\"; resume replay c; sleep 10ms\n\
         promote b; wait ready; sql \"insert into t values (4)\"; assert \"select count(*) from t\" = 4",
    ]);
    assert_eq!(ran.code, Some(0), "{:#?}", ran.events);
    let report = ran.events.last().expect("the report is the last line");
    assert_eq!((report["event"].as_str(), report["asserts_passed"].as_u64()), (Some("report"), Some(3)));
    assert_eq!(report["error"], Value::Null);
}

#[test]
fn the_primary_is_killed_and_moved_and_nothing_acknowledged_is_lost() {
    let ran = demo(&[
        "--script",
        "wait ready; workload 4; sleep 500ms\n\
         kill primary; wait writable 30s; assert lost = 0; assert duplicated = 0; assert stale = 0\n\
         start a; wait ready\n\
         stop etcd; sleep 200ms; start etcd; wait writable 30s\n\
         switchover c; wait writable 30s; assert \"select current_setting('cluster_name') from (select pg_is_in_recovery()) x\" = c\n\
         workload 0; assert lost = 0; assert duplicated = 0",
    ]);
    assert_eq!(ran.code, Some(0), "{:#?}", ran.events);
    let report = ran.events.last().expect("the report is the last line");
    let workload = &report["workload"];
    assert!(workload["writes"].as_u64() > Some(0), "{report:#?}");
    assert_eq!((workload["lost"].as_u64(), workload["duplicated"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn a_switchover_gives_no_client_an_error() {
    let ran = demo(&[
        "--script",
        "wait ready; workload 6; sleep 500ms; switchover; wait writable 30s; sleep 500ms\n\
         assert errors = 0; assert lost = 0; assert duplicated = 0; assert stale = 0; assert pause < 10s",
    ]);
    assert_eq!(ran.code, Some(0), "{:#?}", ran.events);
}

#[test]
fn the_ready_event_carries_all_a_program_needs() {
    let ran = demo(&["--nodes", "2", "--script", "wait ready"]);
    let ready = ran.events.iter().find(|event| event["event"] == "ready").expect("a ready event");
    assert!(ready["endpoint"].as_str().is_some_and(|url| url.starts_with("postgres://demo:demo@127.0.0.1:")));
    assert_eq!((ready["user"].as_str(), ready["database"].as_str()), (Some("demo"), Some("demo")));
    assert!(ready["http"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1:")));
    let nodes = ready["nodes"].as_array().expect("nodes are a list");
    let members: Vec<_> = nodes.iter().map(|node| (node["name"].as_str(), node["role"].as_str())).collect();
    assert_eq!(members, [(Some("a"), Some("primary")), (Some("b"), Some("standby"))]);
    assert!(nodes.iter().all(|node| node["host"] == "127.0.0.1" && node["port"].as_u64() > Some(0)));
}

#[test]
fn a_failed_assertion_is_named_and_exits_1() {
    let ran =
        demo(&["--nodes", "1", "--script", "wait ready\nassert \"select 1 + 1\" = 3\nsql \"select 1\""]);
    assert_eq!(ran.code, Some(1));
    let report = ran.events.last().expect("the report is the last line");
    assert_eq!(report["error"], "script line 2: assert \"select 1 + 1\" = 3: got \"2\"");
    assert_eq!((&report["asserts_failed"], &report["statements"]), (&Value::from(1), &Value::from(2)));
}

#[test]
fn a_script_that_makes_no_sense_starts_nothing_and_exits_2() {
    let ran = demo(&["--script", "wait ready; promot b"]);
    assert_eq!(ran.code, Some(2));
    let error = ran.events.last().and_then(|report| report["error"].as_str()).expect("an error");
    assert!(error.starts_with("script line 1, column 13: expected wait, sql"), "{error}");
    assert!(ran.events.iter().all(|event| event["event"] != "ready"));
}

#[test]
fn it_ends_when_the_time_is_up() {
    let ran = demo(&["--nodes", "1", "--exit-after", "100ms"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.events.last().expect("the report is the last line")["reason"], "time is up");
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let (mut child, ready) = running();
    signal(child.id(), Signal::TERM);
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(0));
    assert!(!directory(&ready).exists());
    assert!(!alive(&ready["proxy_pid"]));
}

#[test]
fn when_it_is_killed_outright_nothing_is_left_either() {
    let (mut child, ready) = running();
    child.kill().expect("it can be killed");
    child.wait().expect("it can be waited for");
    eventually("the guard removes the directory", || !directory(&ready).exists());
    eventually("the proxy dies with the demo", || !alive(&ready["proxy_pid"]));
}

struct Ran {
    code: Option<i32>,
    events: Vec<Value>,
}

fn demo(arguments: &[&str]) -> Ran {
    let output = command().args(arguments).output().expect("the demo can be started");
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let events = lines.lines().map(|line| serde_json::from_str(line).expect("every line is JSON"));
    Ran { code: output.status.code(), events: events.collect() }
}

/// A demo that stays, and its ready event.
fn running() -> (Child, Value) {
    let mut child =
        command().args(["--nodes", "1"]).stdout(Stdio::piped()).spawn().expect("the demo can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let ready = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("every line is JSON"))
        .find(|event| event["event"] == "ready")
        .expect("a ready event");
    // Somebody must go on reading: a closed output would end the demo.
    std::thread::spawn(move || lines.for_each(drop));
    (child, ready)
}

fn command() -> Command {
    let mut command = Command::new(BELLWETHER);
    // Any wish is fine: a taken port is replaced.
    command.args(["demo", "--json"]);
    command
}

fn directory(ready: &Value) -> &Path {
    Path::new(ready["directory"].as_str().expect("the ready event names the directory"))
}

fn alive(pid: &Value) -> bool {
    let pid = pid.as_u64().expect("the ready event has the proxy's process id");
    // A process nobody has waited for yet (an orphan in a container without an init) is dead all the same.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process id is not 0");
    kill_process(pid, signal).expect("it runs");
}
