//! The alert rules: sound, tested, documented.

use std::path::PathBuf;

use super::dashboard::directory;
use super::expressions::metrics;
use super::promtool::promtool;
use super::reference;

fn file(name: &str) -> PathBuf {
    directory().join("prometheus").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("the file can be read")
}

fn alerts() -> Vec<String> {
    let rules = read("alerts.yml");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn prometheus_takes_the_configuration_and_the_rules() {
    let said = promtool(&["check", "config", &file("prometheus.yml").display().to_string()], "");
    assert!(said.contains(&format!("SUCCESS: {} rules found", alerts().len())), "{said}");
}

#[test]
fn every_rule_fires_when_it_should_and_not_before() {
    let said = promtool(&["test", "rules", &file("alerts_test.yml").display().to_string()], "");
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_rule_has_a_test_and_a_page() {
    let tests = read("alerts_test.yml");
    let pages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let pages = std::fs::read_to_string(pages).expect("docs/alerts.md can be read");
    let rules = read("alerts.yml");
    for alert in alerts() {
        let cases: Vec<_> =
            tests.split("  - name: ").filter(|case| case.starts_with(&format!("{alert}\n"))).collect();
        assert!(!cases.is_empty(), "{alert} has no test");
        for case in cases {
            assert!(case.contains(&format!("alertname=\"{alert}\",alertstate=\"firing\"")), "{case}");
            let silent =
                case.split("- expr:").filter(|one| one.contains("eval_time") && !one.contains("exp_samples"));
            assert!(silent.count() > 0, "{alert} is not tested silent");
        }
        assert_eq!(pages.lines().filter(|line| **line == format!("## {alert}")).count(), 1, "{alert}");
        assert!(rules.contains(&format!("runbook: docs/alerts.md#{}\n", alert.to_lowercase())), "{alert}");
    }
    let pages = pages.lines().filter(|line| line.starts_with("## Bellwether")).count();
    assert_eq!(pages, alerts().len(), "a page without a rule");
}

#[test]
fn rules_name_metrics_there_are() {
    let known = reference::sample_names();
    for name in ["alerts.yml", "alerts_test.yml"].iter().flat_map(|name| {
        let text = read(name);
        metrics(&text).into_iter().map(str::to_owned).collect::<Vec<_>>()
    }) {
        assert!(known.contains(&name), "there is no {name}");
    }
}
