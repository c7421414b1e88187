//! The image and the compose file, as far as they can be known without Docker.

use std::path::{Path, PathBuf};
use std::process::Command;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docker")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = directory().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_image_is_small_and_ends_in_order() {
    let text = read("Dockerfile");
    let (build, run) =
        text.split_once("FROM debian:bookworm-slim\n").expect("a stage of its own for running");
    assert!(build.contains(" AS build\n") && build.contains("cargo build --release --locked"));
    let says = |line: &str| run.lines().filter(|found| found.trim() == line).count() == 1;
    assert!(says("USER 65532:65532"), "not root, and by number");
    assert!(says("STOPSIGNAL SIGTERM"));
    assert!(says("EXPOSE 6432 9632"));
    assert!(says("ENTRYPOINT [\"/usr/bin/bellwether\"]"), "no shell between, which would swallow the signal");
    assert!(
        run.contains("CMD [\"/usr/bin/bellwether\", \"health\", \"--api\","),
        "the health check needs no curl"
    );
}

#[test]
fn the_configuration_is_good() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    check.args(["config", "check"]).arg(directory().join("bellwether.toml"));
    check.env("BELLWETHER_PASSWORD", "x").env("BELLWETHER_HTTP_TOKEN", "x");
    let output = check.output().expect("the program was built with this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_compose_file_mounts_what_there_is_and_prometheus_finds_the_proxies() {
    let compose = read("compose.yaml");
    let from = |item: &str| item.split(':').next().unwrap_or_default().to_owned();
    let items = compose
        .split(['"', ' ', '\n', '[', ','])
        .filter(|item| item.starts_with("./") || item.starts_with("../"));
    let mounted: Vec<String> = items.filter(|item| item.contains(':')).map(from).collect();
    assert!(mounted.len() >= 6, "{mounted:?}");
    for path in &mounted {
        assert!(directory().join(path).exists(), "{path}");
    }
    let services: Vec<&str> =
        compose.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':')).collect();
    let scraped = read("../grafana/prometheus/prometheus.yml");
    for proxy in ["proxy1", "proxy2"] {
        assert!(services.contains(&proxy) && scraped.contains(&format!("\"{proxy}:9632\"")), "{proxy}");
    }
    assert!(services.contains(&"prometheus"));
    assert!(
        read("../grafana/provisioning/datasources/prometheus.yml").contains("url: http://prometheus:9090\n")
    );
    let provider = read("../grafana/provisioning/dashboards/bellwether.yml");
    let place = provider.lines().find_map(|line| line.trim().strip_prefix("path: ")).expect("a path");
    assert!(
        compose.contains(&format!("../grafana/dashboards:{place}:ro")),
        "Grafana is shown the dashboards"
    );
    assert!(!compose.lines().any(|line| line.contains("ports:") && !line.contains("127.0.0.1")));
}
