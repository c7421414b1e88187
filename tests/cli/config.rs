//! `bellwether config`, and mistakes in what is typed.

use std::path::PathBuf;

use super::program::{bellwether, text};

/// A file that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bellwether-cli-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("the temporary directory can be written to");
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("temporary paths are UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_good_file_passes_with_0() {
    for (file, env) in
        [("config/bellwether.toml", &[][..]), ("config/minimal.toml", &[("BELLWETHER_PASSWORD", "x")][..])]
    {
        let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let output = bellwether(&["config", "check", &file], env);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), format!("{file}: good, 2 nodes\n"));
    }
}

#[test]
fn a_bad_file_fails_with_2_and_shows_the_place() {
    let file = Scratch::new("bad.toml", "lisen = \"0.0.0.0:6432\"\n[nodes]\na = \"postgres://h\"\n");
    for verb in [&["config", "check"][..], &["proxy", "--config"], &["config", "show", "-c"]] {
        let output = bellwether(&[verb, &[file.path()]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2));
        let expected = format!(
            "error: unknown key `lisen`\ncause: {}:1:1\n    |\n  1 | lisen = \"0.0.0.0:6432\"\n    | ^^^^^\n\
             hint: did you mean `listen`?\n",
            file.path()
        );
        assert_eq!(text(&output.stderr), expected);
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_file_that_is_not_there_fails_with_2() {
    let output = bellwether(&["proxy", "--config", "/no/such/file"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: cannot read the configuration file /no/such/file\ncause: "), "{error}");
    assert!(error.contains("\nhint: `bellwether config init`"), "{error}");
}

#[test]
fn a_certificate_that_is_not_there_fails_with_2() {
    let content = "tls = { cert = \"/no/cert\", key = \"/no/key\" }\n[nodes]\na = \"postgres://h\"\n";
    let file = Scratch::new("tls.toml", content);
    let output = bellwether(&["config", "check", file.path()], &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: invalid value for `tls.cert`\ncause: "), "{error}");
    assert!(error.contains(":1:16: cannot read /no/cert: "), "{error}");
    assert_eq!(error.matches("error: ").count(), 2, "{error}");
}

#[test]
fn a_url_that_is_wrong_fails_with_2() {
    let output = bellwether(&["proxy", "postgres://u:hunter2@h:port/"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("error: the connection URL is not valid\ncause: the connection URL: "),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_effective_values_name_their_origins() {
    let file = Scratch::new("show.toml", "pool.size = 3\n[nodes]\na = \"postgres://h\"\n");
    let env = [("BELLWETHER_CLUSTER__PASSWORD", "hunter2")];
    let output = bellwether(&["config", "show", "-c", file.path(), "--listen", "h:1"], &env);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for (setting, origin) in [
        ("listen = [\"h:1\"]", "flag --listen"),
        ("cluster.password = \"***\"", "env BELLWETHER_CLUSTER__PASSWORD"),
        ("pool.min = 0", "default"),
        ("pool.size = 3", &format!("{}:1", file.path())),
        ("nodes.a = \"postgres://h\"", &format!("{}:3", file.path())),
    ] {
        let found =
            shown.lines().any(|line| line.starts_with(setting) && line.ends_with(&format!("# {origin}")));
        assert!(found, "{setting} # {origin} is missing in\n{shown}");
    }
    assert!(!shown.contains("hunter2"));
}

#[test]
fn usage_mistakes_end_with_2_and_version_with_0() {
    assert_eq!(bellwether(&[], &[]).status.code(), Some(2));
    let habit = bellwether(&["promote"], &[]);
    assert_eq!(habit.status.code(), Some(2));
    assert!(
        text(&habit.stderr).starts_with("error: there is no verb `promote`\nhint: `bellwether switchover")
    );
    let version = bellwether(&["--version"], &[]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout), format!("bellwether {}\n", env!("CARGO_PKG_VERSION")));
    let both = bellwether(&["config", "show", "-c", "x", "postgres://h"], &[]);
    assert_eq!(both.status.code(), Some(2));
    assert!(text(&both.stderr).starts_with("error: a configuration file and a URL are both given"));
}
