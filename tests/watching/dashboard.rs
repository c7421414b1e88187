//! The dashboard's form, as far as it can be known without a Grafana.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use super::expressions::metrics;
use super::reference;

/// What of Grafana's model is checked. A wrong type anywhere in it fails to read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    pub uid: String,
    pub title: String,
    pub schema_version: u32,
    pub panels: Vec<Panel>,
    pub templating: List<Variable>,
    pub annotations: List<Annotation>,
}

#[derive(Debug, Deserialize)]
pub struct List<T> {
    pub list: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    pub id: u32,
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub grid_pos: Place,
    pub description: Option<String>,
    pub datasource: Option<Source>,
    pub field_config: Option<FieldConfig>,
    #[serde(default)]
    pub targets: Vec<Target>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Place {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
}

#[derive(Debug, Deserialize)]
pub struct FieldConfig {
    defaults: Defaults,
}

#[derive(Debug, Deserialize)]
struct Defaults {
    unit: String,
}

#[derive(Debug, Deserialize, PartialEq)]
pub struct Source {
    #[serde(rename = "type")]
    kind: String,
    uid: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    ref_id: String,
    pub expr: String,
    datasource: Source,
}

#[derive(Debug, Deserialize)]
pub struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    definition: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Annotation {
    pub name: String,
    pub expr: String,
    datasource: Source,
}

/// Panels that come with Grafana itself.
const KINDS: [&str; 7] = ["row", "stat", "timeseries", "state-timeline", "bargauge", "heatmap", "table"];

/// More than this nobody reads.
const MOST_PANELS: usize = 24;

pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

fn text() -> String {
    let file = directory().join("dashboards/bellwether.json");
    std::fs::read_to_string(file).expect("the dashboard can be read")
}

pub fn dashboard() -> Dashboard {
    serde_json::from_str(&text()).expect("the dashboard has Grafana's form")
}

#[test]
fn it_is_what_the_script_writes() {
    let mut script = Command::new("python3");
    let output = script.arg(directory().join("dashboard.py")).arg("--print").output();
    let output = output.expect("python3 is there (./dev setup)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == text().as_bytes(), "run grafana/dashboard.py");
}

#[test]
fn it_has_one_uid_two_variables_and_no_plugins() {
    let board = dashboard();
    assert_eq!((board.uid.as_str(), board.title.as_str()), ("bellwether", "Bellwether"));
    assert!(board.schema_version >= 36, "older ones are migrated on every load");
    let variables = &board.templating.list;
    let variables: Vec<_> =
        variables.iter().map(|variable| (variable.name.as_str(), variable.kind.as_str())).collect();
    assert_eq!(variables, [("datasource", "datasource"), ("cluster", "query")]);
    assert_eq!(
        board.templating.list[1].definition.as_deref(),
        Some("label_values(bellwether_build_info, cluster)")
    );
    for panel in &board.panels {
        assert!(KINDS.contains(&panel.kind.as_str()), "{}: a plugin, {}", panel.title, panel.kind);
    }
    let count = board.panels.iter().filter(|panel| panel.kind != "row").count();
    assert!((12..=MOST_PANELS).contains(&count), "{count} panels");
}

#[test]
fn panels_say_what_they_show_and_lie_side_by_side() {
    let board = dashboard();
    let ids: BTreeSet<u32> = board.panels.iter().map(|panel| panel.id).collect();
    assert_eq!(ids.len(), board.panels.len(), "an id is used twice");
    let mut taken = BTreeSet::new();
    for panel in &board.panels {
        let Place { x, y, w, h } = panel.grid_pos;
        assert!(w > 0 && h > 0 && x + w <= 24, "{}: {:?}", panel.title, panel.grid_pos);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another panel", panel.title);
        }
        assert!(!panel.title.is_empty());
        if panel.kind == "row" {
            continue;
        }
        assert!(panel.description.as_ref().is_some_and(|text| text.len() > 20), "{}", panel.title);
        assert!(panel.field_config.as_ref().is_some_and(|config| !config.defaults.unit.is_empty()));
        assert_eq!(panel.datasource.as_ref(), Some(&of_the_variable()), "{}", panel.title);
        let refs: BTreeSet<_> = panel.targets.iter().map(|target| &target.ref_id).collect();
        assert!(!refs.is_empty() && refs.len() == panel.targets.len(), "{}", panel.title);
    }
}

#[test]
fn every_query_names_metrics_there_are_and_one_cluster() {
    let board = dashboard();
    let known = reference::sample_names();
    let targets = board.panels.iter().flat_map(|panel| &panel.targets);
    let queries = targets.map(|target| (&target.expr, &target.datasource));
    let notes = board.annotations.list.iter().map(|note| (&note.expr, &note.datasource));
    for (expression, source) in queries.chain(notes) {
        let named = metrics(expression);
        assert!(!named.is_empty(), "{expression}");
        for name in &named {
            assert!(known.contains(*name), "{expression}: there is no {name}");
        }
        assert_eq!(expression.matches("cluster=\"$cluster\"").count(), named.len(), "{expression}");
        assert_eq!(source, &of_the_variable(), "{expression}");
    }
    assert!(board.annotations.list.iter().any(|note| note.name == "Primary changed"));
}

fn of_the_variable() -> Source {
    Source { kind: "prometheus".to_owned(), uid: "${datasource}".to_owned() }
}
