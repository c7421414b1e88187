//! What changes something: the wishes that arrive, and what is shown of their way to the end.

use bellwether::api::{End, Outcome, Progress, Upon, Wish};
use bellwether::topology::NodeName;

use super::api::Api;
use super::expected::compare;
use super::program::{bellwether, text};
use super::scripted::{Scripted, end, planned, step};

/// Runs a line and returns the wish that arrived.
fn wished(line: &str) -> Wish {
    let api = Api::serve(Scripted::healthy());
    let output = api.run(line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
    api.world.last_asked().0
}

fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

#[test]
fn every_wish_arrives_as_it_was_typed() {
    let now = Upon::default();
    let trial = Upon { dry_run: true, term: None };
    let at = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_061_527));
    let failover =
        |to: Option<&str>, allow_data_loss, upon| Wish::Failover { to: to.map(node), allow_data_loss, upon };
    for (line, expected) in [
        ("switchover -y", Wish::Switchover { to: None, at: None, upon: now }),
        ("switchover --to b --dry-run", Wish::Switchover { to: Some(node("b")), at: None, upon: trial }),
        ("switchover --yes --at 2026-11-19T04:12:07Z", Wish::Switchover { to: None, at, upon: now }),
        ("switchover --cancel", Wish::CancelSwitchover),
        ("failover -y --to c", failover(Some("c"), None, now)),
        ("failover -y --allow-data-loss", failover(None, Some(u64::MAX), now)),
        ("failover --dry-run --allow-data-loss=24MB", failover(None, Some(24 << 20), trial)),
        ("pause", Wish::Pause),
        ("resume", Wish::Resume),
        ("node drain b", Wish::Drain(node("b"))),
        ("node undrain b", Wish::Undrain(node("b"))),
        (
            "node add d postgres://10.0.0.4",
            Wish::Add { node: node("d"), url: "postgres://10.0.0.4".to_owned() },
        ),
        ("node remove c --yes", Wish::Remove(node("c"))),
        (
            "node set b weight=2 zone=x",
            Wish::Set {
                node: node("b"),
                settings: [("weight", "2"), ("zone", "x")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            },
        ),
        ("preflight", Wish::Preflight),
        ("adopt --dry-run", Wish::Adopt { dry_run: true }),
        ("adopt --yes", Wish::Adopt { dry_run: false }),
    ] {
        assert_eq!(wished(line), expected, "{line}");
    }
}

#[test]
fn who_asks_and_why_goes_along() {
    let api = Api::serve(Scripted::healthy());
    api.run_words(&["pause", "--reason", "kernel patch"]);
    let (_, by) = api.world.last_asked();
    assert!(by.by.is_some_and(|by| by.starts_with("ops@")));
    assert_eq!(by.reason.as_deref(), Some("kernel patch"));
}

fn plan() -> Progress {
    Progress::Plan {
        term: 8,
        steps: vec![
            planned("hold new transactions at 2 proxies", Some("up to 15s")),
            planned("wait for b to replay 1A/4C2D0F8", Some("now 0 B behind")),
            planned("promote b", None),
        ],
        expected: Some("clients pause under 1 s, none are disconnected, no transaction is lost".to_owned()),
    }
}

fn switching(wish: &Wish) -> Vec<Progress> {
    match wish {
        Wish::Switchover { upon: Upon { dry_run: true, .. }, .. } => {
            vec![plan(), end(Outcome::Done, "it could be done")]
        }
        _ => vec![
            step(0.0, "holding transactions", Some("37 in flight")),
            step(0.21, "in-flight done", Some("37 committed")),
            step(0.38, "b promoted", Some("timeline 8")),
            step(12.4, "c follows b", None),
            Progress::End(
                End::new(Outcome::Done, "Switchover done in 0.41 s for clients. No transactions lost.")
                    .hint("to undo: bellwether switchover --to a"),
            ),
        ],
    }
}

#[test]
fn a_switchover_in_every_form() {
    let api = Api::serve(Scripted::answering(switching));
    for (form, suffix) in [("table", "txt"), ("json", "json"), ("yaml", "yaml")] {
        let planned = api.run(&format!("switchover --dry-run -o {form}"));
        assert_eq!(planned.status.code(), Some(0));
        compare(&format!("switchover-plan.{suffix}"), &text(&planned.stdout));
        let done = api.run(&format!("switchover --yes -o {form}"));
        assert_eq!(done.status.code(), Some(0));
        compare(&format!("switchover.{suffix}"), &text(&done.stdout));
    }
}

#[test]
fn a_refusal_is_told_to_programs_too() {
    let world = Scripted::answering(|_| {
        vec![Progress::End(End::new(Outcome::Refused, "no").instead("yes", "bellwether resume"))]
    });
    let output = Api::serve(world).run("pause -o json");
    assert_eq!(output.status.code(), Some(5));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&told["schema"], &told["outcome"]), (&1.into(), &"refused".into()));
    assert_eq!(told["instead"][0]["command"], "bellwether resume");
}

#[test]
fn a_preflight_in_every_form() {
    let world = Scripted::answering(|_| {
        let check = |node: Option<&str>, what: &str, good, fix: Option<&str>| Progress::Check {
            node: node.map(str::to_owned),
            what: what.to_owned(),
            good,
            fix: fix.map(str::to_owned),
        };
        vec![
            check(None, "one system identifier", Some(true), None),
            check(
                Some("a"),
                "the login may promote",
                Some(false),
                Some("GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer)\n  TO bellwether;"),
            ),
            check(Some("c"), "wal_log_hints or checksums", None, None),
            Progress::End(
                End::new(Outcome::Refused, "1 thing is missing").hint("run the SQL above on the primary"),
            ),
        ]
    });
    let api = Api::serve(world);
    for (form, suffix) in [("table", "txt"), ("json", "json"), ("yaml", "yaml")] {
        let output = api.run(&format!("preflight -o {form}"));
        assert_eq!(output.status.code(), Some(5));
        compare(&format!("preflight.{suffix}"), &text(&output.stdout));
    }
}

#[test]
fn the_configuration_says_where_and_with_what() {
    let directory = std::env::temp_dir().join(format!("bellwether-cli-{}-where", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written to");
    let socket = directory.join("api.sock");
    let api = Api::serve_at(Scripted::healthy(), Some(socket.clone()));
    let file = directory.join("b.toml");
    // Only the proxy knows its secrets, and the network is closed to changes from here: the socket is not.
    let settings = |http: &str| {
        format!("{http}\n[cluster]\npassword = {{ env = \"NOT_SET_HERE\" }}\n[nodes]\na = \"postgres://h\"\n")
    };
    let run = |http: &str, verb: &str| {
        std::fs::write(&file, settings(http)).expect("the directory can be written to");
        bellwether(&[verb, "-c", file.to_str().expect("it is text")], &[])
    };
    let address = api.address;
    for (http, verb, code) in [
        (format!("http.socket = {socket:?}"), "pause", 0),
        (format!("http.listen = \"{address}\"\nhttp.token = \"s3cret\""), "pause", 0),
        (format!("http.listen = \"{address}\""), "pause", 2),
        (format!("http.listen = \"{address}\""), "status", 0),
        // A socket that is not there yet.
        (format!("http.socket = \"/no/such.sock\"\nhttp.listen = \"{address}\""), "status", 0),
        ("http.listen = \"\"".to_owned(), "status", 2),
        ("http.listen = \"nowhere\"".to_owned(), "status", 2),
    ] {
        let output = run(&http, verb);
        assert_eq!(output.status.code(), Some(code), "{http}: {}", text(&output.stderr));
    }
    let unix = format!("unix:{}", socket.display());
    assert_eq!(bellwether(&["pause", "--api", &unix], &[]).status.code(), Some(0));
    drop(api);
    std::fs::remove_dir_all(&directory).expect("it is ours");
}
