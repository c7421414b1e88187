//! What only asks: each verb as a table, as JSON and as YAML.

use super::api::Api;
use super::expected::compare;
use super::program::text;
use super::scripted::Scripted;

/// Runs a verb in each form and compares it with the files named after `name`.
fn check(api: &Api, name: &str, arguments: &[&str]) {
    for form in ["table", "json", "yaml"] {
        let output = api.run_words(&[arguments, &["-o", form]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        compare(&format!("{name}.{}", if form == "table" { "txt" } else { form }), &text(&output.stdout));
    }
}

#[test]
fn status() {
    check(&Api::serve(Scripted::healthy()), "status", &["status"]);
    check(&Api::serve(Scripted::headless()), "status-headless", &["list"]);
}

#[test]
fn status_of_a_paused_cluster_with_a_plan() {
    let mut world = Scripted::healthy();
    world.overview.paused = true;
    world.overview.warnings = vec!["promotions are paused since 2d".to_owned()];
    world.overview.scheduled = Some(bellwether::api::Scheduled {
        at: std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_061_527),
        to: Some("b".to_owned()),
        by: Some("ops@bastion".to_owned()),
    });
    world.facts[1].warnings = vec!["its slot keeps\x1b[2J 3 GB".to_owned()];
    let api = Api::serve(world);
    check(&api, "status-paused", &["status"]);
    let colored = api.run("status --color always");
    compare("status-colored.txt", &text(&colored.stdout));
}

#[test]
fn topology() {
    check(&Api::serve(Scripted::healthy()), "topology", &["topology"]);
    check(&Api::serve(Scripted::headless()), "topology-headless", &["topology"]);
}

#[test]
fn history() {
    check(&Api::serve(Scripted::healthy()), "history", &["history"]);
    let none = Api::serve(Scripted { history: Ok(Vec::new()), ..Scripted::healthy() }).run("history");
    assert_eq!(text(&none.stdout), "no change of the primary is known\n");
}

#[test]
fn explain() {
    let api = Api::serve(Scripted::healthy());
    check(&api, "explain", &["explain"]);
    let sql = "select * from t for update; select f() /* é & + % */";
    check(&api, "explain-sql", &["explain", sql, "--database", "shop", "--user", "app"]);
}

#[test]
fn node_show() {
    check(&Api::serve(Scripted::healthy()), "node-show", &["node", "show", "c"]);
}

#[test]
fn setup_role() {
    let output = super::program::bellwether(&["setup-role", "--sql", "--user", "be'll"], &[]);
    assert_eq!(output.status.code(), Some(0));
    compare("setup-role.sql", &text(&output.stdout));
    let without = super::program::bellwether(&["setup-role"], &[]);
    assert_eq!(without.status.code(), Some(2), "{}", text(&without.stderr));
}

#[test]
fn watching_tells_programs_of_changes_only() {
    use std::io::{BufRead, BufReader};
    let api = Api::serve(Scripted::healthy());
    let mut command = std::process::Command::new(super::program::BELLWETHER);
    command.args(["status", "--watch=100ms", "-o", "json", "--api", &api.url()]).env_clear();
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it was built");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("it writes");
    let first: serde_json::Value = serde_json::from_str(&line).expect("a line is an object");
    assert_eq!((&first["schema"], &first["verdict"]), (&1.into(), &"healthy".into()));
    // Nobody reads on. The next line would be written only when something changed, which nothing does.
    drop(lines);
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert!(child.try_wait().expect("it is ours").is_none(), "it wrote although nothing had changed");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
