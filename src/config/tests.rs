use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cluster::Mode;
use crate::pg::Address;
use crate::session::PoolMode;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn written(text: &str, env: &BTreeMap<String, String>) -> Result<Written, String> {
    let source = Arc::new(Source { name: "b.toml".to_owned(), text: text.to_owned() });
    let mut written = Written::default();
    let mut problems = file::read(&source, Path::new("/etc/b"), env, &mut written);
    problems.extend(env::read(env, &mut written));
    match problems.is_empty() {
        true => Ok(written),
        false => Err(Problems(problems).to_string()),
    }
}

fn read_with(text: &str, env: &BTreeMap<String, String>) -> Result<Config, String> {
    check::check(&written(text, env)?).map_err(|problems| Problems(problems).to_string())
}

fn read(text: &str) -> Result<Config, String> {
    read_with(text, &BTreeMap::new())
}

/// The error of a file that has one node besides `text`; the node stands last.
fn error_of(text: &str) -> String {
    let text = format!("{text}\n[nodes]\na = \"postgres://h\"\n");
    read(&text).expect_err("must be refused")
}

fn url_config(url: &str) -> Result<Config, String> {
    let sources = Sources { url: Some(url.to_owned()), ..Sources::default() };
    load(&sources).map(|loaded| (*loaded.config).clone()).map_err(|problems| problems.to_string())
}

const MINIMAL: &str = include_str!("../../config/minimal.toml");

#[test]
fn the_minimal_file_is_short_and_valid() {
    assert!(MINIMAL.lines().count() < 15);
    let config = read_with(MINIMAL, &env(&[("BELLWETHER_PASSWORD", "s")])).expect("valid");
    assert_eq!(config.nodes.len(), 2);
    assert_eq!(config.cluster.password, Some(Secret::new("s")));
}

#[test]
fn the_reference_file_equals_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/bellwether.toml");
    let on_disk = std::fs::read_to_string(path).unwrap_or_default();
    let told = "`bellwether config init > config/bellwether.toml` writes it again";
    assert!(on_disk == reference_file(), "config/bellwether.toml differs from the table of keys; {told}");
}

#[test]
fn the_readme_holds_the_table() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&reference_table()), "README.md lacks this table:\n{}", reference_table());
}

#[test]
fn the_reference_file_with_every_default_uncommented_changes_nothing() {
    let reference = reference_file();
    let plain = read(&reference).expect("valid as it stands");
    let is_setting = |line: &str| {
        line.split_once(" = ").is_some_and(|(name, value)| {
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !value.starts_with('{')
        })
    };
    let uncommented: Vec<&str> = reference
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|setting| is_setting(setting)).unwrap_or(line))
        .collect();
    let uncommented = uncommented.join("\n") + "\n";
    let defaults = KEYS.iter().filter(|key| !key.default.is_empty());
    for key in defaults {
        let name = key.path.rsplit('.').next().expect("split yields at least one part");
        assert!(uncommented.contains(&format!("\n{name} = {}\n", key.default)), "{}", key.path);
    }
    assert_eq!(format!("{:?}", read(&uncommented).expect("valid")), format!("{plain:?}"));
}

/// A value for each key that differs from its default, as TOML and as text.
fn other_value(key: &Key) -> (String, String) {
    let toml = match (key.path, key.kind) {
        ("listen", _) => "\"0.0.0.0:7000\"".to_owned(),
        ("listen_read_only", _) => "\"0.0.0.0:7002\"".to_owned(),
        ("http.listen", _) => "\"0.0.0.0:7001\"".to_owned(),
        ("http.socket", _) => "\"/x.sock\"".to_owned(),
        ("nodes.*.url", _) => "\"postgres://other:5432\"".to_owned(),
        ("log.level", _) => "\"debug\"".to_owned(),
        ("etcd", _) => "\"http://other:2379\"".to_owned(),
        ("failover", _) => "\"observe\"".to_owned(),
        ("leading.replication", _) => "\"user=other\"".to_owned(),
        ("leading.permission", _) => "\"3500ms\"".to_owned(),
        ("leading.probe_misses", _) => "4".to_owned(),
        ("leading.probe", _) => "\"140ms\"".to_owned(),
        ("leading.hold_max", _) => "\"12s\"".to_owned(),
        ("pool.min", _) => "2".to_owned(),
        (_, Kind::Bool) if key.default == "true" => "false".to_owned(),
        (_, Kind::Bool) => "true".to_owned(),
        (_, Kind::Count { .. }) => "7".to_owned(),
        ("routing.max_lag_time", _) => "\"45s\"".to_owned(),
        (_, Kind::Size) => "\"7MB\"".to_owned(),
        (_, Kind::Duration { .. }) => "\"900ms\"".to_owned(),
        (_, Kind::Choice(words)) => format!("\"{}\"", words[words.len() - 1]),
        (_, Kind::Path) => "\"/x.pem\"".to_owned(),
        (_, Kind::List { .. }) => "\"host all all all trust\"".to_owned(),
        (_, Kind::Text | Kind::Secret) => "\"other\"".to_owned(),
    };
    let text = toml.trim_matches('"').to_owned();
    (toml, text)
}

#[test]
fn every_key_is_read_from_the_file_and_from_the_environment() {
    let mut variables = BTreeSet::new();
    for key in KEYS.iter().filter(|key| key.path != "nodes.*") {
        let (toml, text) = other_value(key);
        let path = key.path.replace('*', "n");
        let from_file = written(&format!("{path} = {toml}"), &BTreeMap::new()).expect(&path);
        let (found, entry) = from_file.iter().next().expect("one entry");
        assert_eq!(found.to_string(), path);
        assert!(matches!(entry.origin, Origin::File(..)));
        if key.path.contains('*') {
            continue;
        }
        let variable = super::env::variable(key);
        let from_env = written("", &env(&[(&variable, &text)])).expect(&variable);
        let (found, entry_env) = from_env.iter().next().expect("one entry");
        assert_eq!((found.to_string(), &entry_env.value), (path, &entry.value));
        assert_eq!(entry_env.origin, Origin::Env(variable.clone()));
        assert!(variables.insert(variable), "each key has a variable of its own");
    }
}

#[test]
fn every_key_reaches_the_settings() {
    let base = "[nodes.n]\nurl = \"postgres://h\"\n";
    // These need each other, so they are tried with what they need.
    let company = |path: &str| match path {
        "tls.cert" => "tls.key = \"/k\"\n",
        "tls.key" => "tls.cert = \"/c\"\n",
        "tls.client_ca" => "tls.cert = \"/c\"\ntls.key = \"/k\"\n",
        "server_tls.cert" => "server_tls.key = \"/k\"\n",
        "server_tls.key" => "server_tls.cert = \"/c\"\n",
        "server_tls.mode" => "server_tls.root_cert = \"/r\"\n",
        "store.user" => "etcd = \"http://e\"\nstore.password = \"p\"\n",
        "store.password" => "etcd = \"http://e\"\nstore.user = \"u\"\n",
        "store.cert" => "etcd = \"http://e\"\nstore.ca = \"/a\"\nstore.key = \"/k\"\n",
        "store.key" => "etcd = \"http://e\"\nstore.ca = \"/a\"\nstore.cert = \"/c\"\n",
        "leading.sync_standbys" | "leading.strict" => "etcd = \"http://e\"\nleading.durability = \"sync\"\n",
        path if path.starts_with("leading.") || path.starts_with("store.") => "etcd = \"http://e\"\n",
        "failover" | "nodes.*.no_failover" | "nodes.*.no_sync" | "nodes.*.priority" => {
            "etcd = \"http://e\"\n"
        }
        _ => "",
    };
    // One value only, so that nothing can differ.
    let fixed = ["nodes.*", "nodes.*.url"];
    for key in KEYS.iter().filter(|key| !fixed.contains(&key.path)) {
        let (toml, _) = other_value(key);
        let company = company(key.path);
        let line = format!("{} = {toml}\n", key.path.replace('*', "n"));
        let with = read(&format!(
            "{company}{line}{}",
            if line.starts_with("nodes.") { "nodes.n.url = \"postgres://h\"\n" } else { base }
        ));
        // What stays out of `Debug` on purpose is compared by hand.
        let without_company = read(&format!(
            "{}{base}",
            if ["tls.", "server_tls.", "store."].iter().any(|group| key.path.starts_with(group)) {
                ""
            } else {
                company
            }
        ));
        let (with, without) = (with.expect(key.path), without_company.expect(key.path));
        assert_ne!(format!("{with:?}"), format!("{without:?}"), "{} changes nothing", key.path);
    }
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    assert_eq!(
        error_of("lisen = \"0.0.0.0:6432\""),
        "error: unknown key `lisen`\n\
         cause: b.toml:1:1\n    |\n  1 | lisen = \"0.0.0.0:6432\"\n    | ^^^^^\n\
         hint: did you mean `listen`?"
    );
    assert!(error_of("[pool]\nsiz = 3").ends_with("hint: did you mean `size`?"));
    assert!(error_of("checkout_timeout = \"1s\"").ends_with("hint: did you mean `pool.checkout_timeout`?"));
    assert!(error_of("[health]\nzebra = 1").ends_with("hint: known here: fall, interval, rise, timeout"));
    assert!(error_of("[nodes.\"x y\"]\nweigth = 1").starts_with("error: unknown key `nodes.\"x y\".weigth`"));
    assert!(error_of("pool = 3").contains("`pool` is a table, not a value"));
}

#[test]
fn a_value_that_does_not_fit_is_shown_in_its_place() {
    assert_eq!(
        error_of("[pool]\n  idle_timeout = \"5 parsecs\""),
        "error: invalid value for `pool.idle_timeout`\n\
         cause: b.toml:2:18: unknown unit \"parsecs\"\n    |\n  2 |   idle_timeout = \"5 parsecs\"\n    |                  ^^^^^^^^^^^\n\
         hint: units are ms, s, m, h and d, as in \"250ms\""
    );
    assert!(error_of("pool.idle_timeout = 5").ends_with("hint: write \"5s\""));
    assert!(error_of("pool.idle_timeout = \"0s\"").contains("less than 1ms"));
    assert!(error_of("pool.size = 0").contains("expected a whole number from 1 to 10000"));
    assert!(
        error_of("pool.size = \"many\"").contains("expected a whole number from 1 to 10000, found string")
    );
    assert!(error_of("pool.mode = \"sesion\"").ends_with("hint: did you mean \"session\"?"));
    assert!(error_of("failover = \"auto\"").contains("cause: b.toml:1:12: expected \"automatic\" or"));
    assert!(error_of("listen = [\"a:1\", 2]").contains("b.toml:1:18: expected a string, found integer"));
    assert!(error_of("listen = [\"a:1\", \"b\"]").contains("b.toml:1:18: not an address to listen on"));
    assert!(error_of("routing.split = 1").contains("expected true or false, found integer"));
    assert!(error_of("log.level = \"loud\"").contains("neither a level nor a filter"));
    assert!(error_of("http.listen = \"somewhere\"").contains("not an IP address with a port"));
}

#[test]
fn broken_toml_is_pointed_at() {
    let error = error_of("listen = \"x\nworkers = 1");
    assert!(error.starts_with("error: not valid TOML\ncause: b.toml:1:"), "{error}");
    let error = error_of("password = \"hunter2\n");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let error = error_of("lisen = 1\n[pool]\nsize = 0\nmin = \"x\"");
    assert_eq!(error.matches("error: ").count(), 3, "{error}");
}

#[test]
fn relations_are_checked_with_their_numbers() {
    assert!(error_of("health.timeout = \"2s\"").contains("2s is longer than health.interval, 1s"));
    assert!(error_of("pool.min = 30").contains("30 is more than pool.size, 20"));
    assert!(error_of("tls.cert = \"c\"").contains("`tls.key` is not set"));
    assert!(error_of("tls.client_ca = \"c\"").contains("without tls.cert there is no TLS"));
    assert!(error_of("server_tls.mode = \"verify-full\"").ends_with("hint: set server_tls.root_cert"));
    assert!(
        error_of("server_tls.mode = \"disable\"\nserver_tls.channel_binding = \"require\"").contains("bound")
    );
    assert!(error_of("listen = [\"a:1\", \"a:1\"]").contains("names the same place twice"));
    assert!(error_of("listen = []").contains("the list is empty"));
    assert!(error_of("auth.rules = []").contains("nobody could log in"));
    assert!(error_of("auth.rules = \"hostssl all all all cert\"").ends_with("hint: set tls.client_ca"));
    let rules = error_of("auth.rules = [\"local all all trust\",\n  \"host all all all magic\"]");
    assert!(rules.contains("cause: b.toml:2:3: host rule has "), "{rules}");
    assert!(error_of("failover = \"manual\"").contains("\"manual\" needs a place where the proxies agree"));
    let etcd = |rest: &str| error_of(&format!("etcd = [\"http://e:2379\"]\n{rest}"));
    let hasty = etcd("leading.permission = \"1900ms\"");
    assert!(hasty.contains("permission is 1900 ms and must be at least 2000 ms: 3 x renew"), "{hasty}");
    assert!(etcd("store.user = \"u\"").contains("`store.password` is not set"));
    assert!(etcd("leading.replication = \"host=x user=u\"").contains("it names a host"));
    assert!(error_of("etcd = [\"https://e\"]").ends_with("hint: set store.ca"));
    assert!(error_of("etcd = [\"e:2379\"]").contains("b.toml:1:9: it does not begin with http://"));
}

#[test]
fn etcd_makes_a_leader_and_observe_unmakes_it() {
    let mode = |text: &str| {
        let config = read(&format!("{text}\nnodes.a = \"postgres://h\"")).expect("valid");
        config.leading.map(|leading| (leading.mode, leading.members.len()))
    };
    assert_eq!(mode(""), None);
    assert_eq!(mode("etcd = \"http://e\""), Some((Mode::Automatic, 1)));
    assert_eq!(mode("etcd = \"http://e\"\nfailover = \"manual\""), Some((Mode::Manual, 1)));
    assert_eq!(mode("etcd = \"http://e\"\nfailover = \"observe\""), None);
}

#[test]
fn the_pool_defaults_are_those_of_pool() {
    let config = read("nodes.a = \"postgres://h\"").expect("valid");
    assert_eq!(config.pool, crate::pool::Settings::default());
}

#[test]
fn the_default_rules_are_those_of_auth() {
    let config = read("nodes.a = \"postgres://h\"").expect("valid");
    assert_eq!(config.auth.rules, crate::auth::HostRules::default());
}

#[test]
fn nodes_are_checked() {
    let nodes = |text: &str| read(&format!("[nodes]\n{text}"));
    let config = nodes(
        "b = \"postgres://%2Frun%2Fpg:5433\"\na = { url = \"postgres://[::1]\", weight = 0, reads = false }",
    );
    let config = config.expect("valid");
    let shown: Vec<String> =
        config.nodes.iter().map(|node| format!("{} {}", node.name, node.address)).collect();
    assert_eq!(shown, ["a [::1]:5432", "b /run/pg/.s.PGSQL.5433"]);
    assert_eq!((config.nodes[0].weight, config.nodes[0].reads), (0, false));
    assert_eq!((config.nodes[1].weight, config.nodes[1].reads), (1, true));

    let error = |text: &str| nodes(text).expect_err("must be refused");
    assert!(error("").starts_with("error: no node is configured"));
    assert!(error("a.weight = 1").starts_with("error: node \"a\" has no url"));
    assert!(error("a = \"postgres://h,i\"").contains("a node is one host, this names 2"));
    assert!(error("a = \"postgres://h:x\"").contains("the port of host 1 is not a number"));
    assert!(
        error("a = \"postgres://h\"\nb = \"postgres://h:5432\"")
            .contains("nodes \"a\" and \"b\" are the same")
    );
    assert!(error("\"a b\" = \"postgres://h\"").starts_with("error: invalid name of node \"a b\""));
    let secret = error("a = \"postgres://u:hunter2@h\"");
    assert!(secret.contains("does not belong to a node") && !secret.contains("hunter2"), "{secret}");
}

#[test]
fn overrides_are_read_by_name() {
    let text = "[databases.\"my.db\"]\npool_mode = \"session\"\npool_size = 3\n[users.etl]\npool_mode = \"session\"\n\
                [nodes]\na = \"postgres://h\"";
    let config = read(text).expect("valid");
    let expected = Override { pool_mode: Some(PoolMode::Session), pool_size: Some(3) };
    assert_eq!(config.databases.get("my.db"), Some(&expected));
    assert_eq!(config.pool.database_sizes["my.db"], 3);
    assert_eq!(config.users["etl"], Override { pool_size: None, ..expected });
    assert_eq!(config.pool_mode("my.db", "anyone"), PoolMode::Session);
    assert_eq!(config.pool_mode("other", "etl"), PoolMode::Session);
    assert_eq!(config.pool_mode("other", "anyone"), PoolMode::Transaction);
    assert!(error_of("[databases.x]\nsize = 1").contains("unknown key `databases.x.size`"));
}

#[test]
fn secrets_come_from_text_environment_or_file_and_stay_hidden() {
    let folder = std::env::temp_dir().join(format!("bellwether-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary directory can be made");
    let file = folder.join("secret");
    std::fs::write(&file, "hunter2\n").expect("and written to");
    let password = |toml: &str, env: &[(&str, &str)]| {
        let text = format!("cluster.password = {toml}\nnodes.a = \"postgres://h\"");
        read_with(&text, &self::env(env)).map(|config| config.cluster.password)
    };
    let expected = Ok(Some(Secret::new("hunter2")));
    assert_eq!(password("\"hunter2\"", &[]), expected);
    assert_eq!(password("{ env = \"PW\" }", &[("PW", "hunter2")]), expected);
    assert_eq!(password(&format!("{{ file = {:?} }}", file.display().to_string()), &[]), expected);
    let variable = ("BELLWETHER_CLUSTER__PASSWORD_FILE", file.to_str().expect("UTF-8"));
    assert_eq!(password("\"x\"", &[variable]), expected);
    std::fs::remove_dir_all(&folder).expect("and removed");

    let error = password("{ env = \"PW\" }", &[]).expect_err("not set");
    assert!(error.contains("environment variable PW is not set"), "{error}");
    assert!(password("{ file = \"none\" }", &[]).expect_err("no file").contains("cannot read /etc/b/none"));
    assert!(password("{ vault = \"x\" }", &[]).expect_err("unknown").contains("expected a string, { env ="));
    let shown = effective(&written("cluster.password = \"hunter2\"", &BTreeMap::new()).expect("valid"));
    assert!(shown.contains("cluster.password = \"***\"") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "listen = \"a:1\"\npool.size = 3\n[nodes]\na = \"postgres://h\"";
    let config =
        read_with(file, &env(&[("BELLWETHER_POOL__SIZE", "9"), ("BELLWETHER_LISTEN", "b:2, unix:/s")]));
    let config = config.expect("valid");
    assert_eq!(config.pool.size, 9);
    let unix = Listen::Unix("/s".into());
    assert_eq!(config.listen, [Listen::Tcp { host: "b".to_owned(), port: 2 }, unix]);

    let nodes = env(&[("BELLWETHER_NODES", "x=postgres://p,y=postgres://q:5433")]);
    let config = read_with(file, &nodes).expect("valid");
    let names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["x", "y"], "the variable replaces all nodes");

    let error = |name: &str, value: &str| read_with(file, &env(&[(name, value)])).expect_err(name);
    assert_eq!(
        error("BELLWETHER_POOL__SIZ", "1"),
        "error: unknown key in BELLWETHER_POOL__SIZ\ncause: environment variable BELLWETHER_POOL__SIZ\n\
         hint: did you mean BELLWETHER_POOL__SIZE?"
    );
    assert!(
        error("BELLWETHER_POOL__SIZE", "x")
            .contains("environment variable BELLWETHER_POOL__SIZE: expected a whole")
    );
    assert!(error("BELLWETHER_NODES", "postgres://p").contains("an entry has no name"));
    assert!(error("BELLWETHER_LISTEN_FILE", "/no/such/file").contains("cannot read /no/such/file"));
    // What Kubernetes sets for a service of our name is not ours.
    read_with(file, &env(&[("BELLWETHER_SERVICE_HOST", "10.0.0.1")])).expect("left alone");
}

#[test]
fn a_url_is_a_whole_configuration() {
    let url = "postgres://app:s@pg1,pg2:5433,pg3/db?listen=0.0.0.0:7000&sslmode=require&cluster=orders";
    let config = url_config(url).expect("valid");
    let shown: Vec<String> =
        config.nodes.iter().map(|node| format!("{} {}", node.name, node.address)).collect();
    assert_eq!(shown, ["pg1 pg1:5432", "pg2 pg2:5433", "pg3 pg3:5432"]);
    assert_eq!((config.cluster.user.as_str(), config.cluster.database.as_str()), ("app", "db"));
    assert_eq!(
        (config.cluster.name.as_str(), config.server_tls.mode),
        ("orders", crate::pool::tls::SslMode::Require)
    );
    assert_eq!(config.listen, [Listen::Tcp { host: "0.0.0.0".to_owned(), port: 7000 }]);
    assert_eq!(config.cluster.password, Some(Secret::new("s")));

    let config = url_config("postgres://127.0.0.1:1,127.0.0.1:2,%2Ftmp%2F50%25:3").expect("valid");
    let names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node1", "node2", "node3"]);
    assert_eq!(config.nodes[2].address, Address::Unix { directory: "/tmp/50%".into(), port: 3 });
    assert_eq!(config.listen, [Listen::Tcp { host: "127.0.0.1".to_owned(), port: 6432 }]);

    assert!(url_config("postgres://").expect_err("no host").contains("names no host"));
    assert!(
        url_config("postgres://h:x").expect_err("port").starts_with("error: the connection URL is not valid")
    );
    assert!(
        url_config("postgres://h/?colour=red").expect_err("unknown").contains("unknown parameter \"colour\"")
    );
    assert!(url_config("postgres://h/?sslmode=maybe").expect_err("value").contains("`server_tls.mode`"));
}

#[test]
fn flags_win_over_everything() {
    let flag = Flag { name: "--listen", key: "listen", text: "c:3".to_owned() };
    let sources = Sources {
        url: Some("postgres://h/?listen=b:2".to_owned()),
        flags: vec![flag],
        env: env(&[("BELLWETHER_LISTEN", "a:1"), ("BELLWETHER_POOL__SIZE", "4")]),
        ..Sources::default()
    };
    let loaded = load(&sources).expect("valid");
    assert_eq!(loaded.config.listen, [Listen::Tcp { host: "c".to_owned(), port: 3 }]);
    let shown = effective(&loaded.written);
    let origin = |key: &str| {
        let line =
            shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}:\n{shown}"));
        line.rsplit_once("# ").map(|(_, origin)| origin.to_owned())
    };
    assert_eq!(origin("listen = [\"c:3\"]").as_deref(), Some("flag --listen"));
    assert_eq!(origin("pool.size = 4").as_deref(), Some("env BELLWETHER_POOL__SIZE"));
    assert_eq!(origin("nodes.h = \"postgres://h:5432\"").as_deref(), Some("url"));
    assert_eq!(origin("workers = 0").as_deref(), Some("default"));
}

#[test]
fn a_reload_takes_all_or_nothing() {
    let folder = std::env::temp_dir().join(format!("bellwether-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary directory can be made");
    let file = folder.join("b.toml");
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let write = |text: &str| {
        std::fs::write(&file, format!("{text}\n[nodes]\na = \"postgres://h\"")).expect("written")
    };
    write("workers = 1\npool.size = 3");
    let first = load(&sources).expect("valid");

    write("pool.size = 4\nworkers = 2\nhealth.fall = 3");
    let second = reload(&sources, &first).expect("valid");
    assert_eq!(second.changed, [KeyPath::plain("pool.size")], "a default written out is no change");
    assert_eq!(second.needs_restart, [KeyPath::plain("workers")]);
    assert_eq!((second.loaded.config.pool.size, second.loaded.config.workers), (4, 1));

    let again = reload(&sources, &second.loaded).expect("valid");
    assert_eq!(again.changed, []);
    assert_eq!(again.needs_restart, [KeyPath::plain("workers")], "said again until the restart");

    write("pool.size = 5\nworkers = \"x\"");
    reload(&sources, &second.loaded).expect_err("one bad key refuses the file");
    write("");
    let back = reload(&sources, &second.loaded).expect("valid");
    assert_eq!(back.loaded.config.pool.size, 20, "a key taken out has its default again");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn paths_start_at_the_file() {
    let config = read("auth.verifier_file = \"users.txt\"\nnodes.a = \"postgres://h\"").expect("valid");
    assert_eq!(config.auth.verifier_file.as_deref(), Some(Path::new("/etc/b/users.txt")));
    assert_eq!(config.auth.login_timeout, Duration::from_secs(60));
}
