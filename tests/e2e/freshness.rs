//! What a session may rely on while its reads go to standbys: it sees what it wrote, and never goes back.
//!
//! The checker knows nothing of how that is done. Each client counts its own row up, reads it back at once together with a
//! counter that all raise, and holds what it reads against what it wrote and what it read before.

mod checker;
mod promotion;
mod settings;

use bellwether::lab::Options;

use crate::story::Story;

/// The tables of the checker, and a catalog that is loaded, so that reads may go to standbys.
fn story(settings: &[&str]) -> Story {
    story_on(Options::default(), settings)
}

fn story_on(options: Options, settings: &[&str]) -> Story {
    let story = Story::on(options, settings);
    story.direct("a", "demo").sql(
        "CREATE SCHEMA d; CREATE TABLE d.own (id int PRIMARY KEY, n int); CREATE TABLE d.common (n int);
         INSERT INTO d.own SELECT generate_series(0, 63), 0; INSERT INTO d.common VALUES (0)",
    );
    story.bench.cluster.wait_replayed().expect("the standbys replay");
    crate::support::eventually("reads go to standbys", || story.client().sql(NODE) != "a");
    story
}

/// Where a plain read runs.
const NODE: &str = "SELECT DISTINCT current_setting('cluster_name') FROM d.common";

fn outcome(story: &Story, outcome: &str) -> f64 {
    story.metric(&format!("bellwether_read_freshness_total{{outcome=\"{outcome}\"}}"))
}
