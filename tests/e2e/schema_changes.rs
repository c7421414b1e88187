//! The schema changes under prepared statements, by way of the proxy or past it: outside a transaction no client
//! sees an error.

use crate::raw::{self, Raw};
use crate::story::Story;

const CHANGES: &[(&str, &str)] = &[
    ("ALTER TABLE d.changing ADD COLUMN word text DEFAULT 'new'", "1|new"),
    ("ALTER TABLE d.changing ALTER COLUMN n TYPE text USING 'n' || n", "n1|new"),
    ("ALTER TABLE d.changing DROP COLUMN word", "n1"),
    ("DROP TABLE d.changing; CREATE TABLE d.changing AS SELECT 2 AS a, 3 AS b", "2|3"),
    (
        "BEGIN; ALTER TABLE d.changing RENAME TO old; CREATE VIEW d.changing AS SELECT a FROM d.old; COMMIT",
        "2",
    ),
    ("CREATE OR REPLACE VIEW d.changing AS SELECT a, b AS c FROM d.old", "2|3"),
];

#[test]
fn prepared_statements_outlive_changes_of_the_schema() {
    let story = Story::with(1, &["pool.size = 2", "pool.reserve = 0"]);
    for past_the_proxy in [false, true] {
        let mut changer = if past_the_proxy { story.direct("a", "demo") } else { story.client() };
        changer.sql(
            "DROP SCHEMA IF EXISTS d CASCADE; CREATE SCHEMA d; CREATE TABLE d.changing AS SELECT 1 AS n",
        );
        let text = "SELECT * FROM d.changing";
        let mut clients: Vec<Raw> = (0..4).map(|_| story.client()).collect();
        for client in &mut clients {
            client.prepare("all", text);
        }
        // The first client never asks what rows the statement returns.
        let unasked = [raw::bind("", "all", &[]), raw::execute("", 0), raw::sync()].concat();
        let (first, others) = clients.split_first_mut().expect("four of them");
        first.send(&unasked);
        assert_eq!(first.answer().text(), "1");
        for client in &mut *others {
            assert_eq!(client.execute("all", &[]).text(), "1");
        }
        for (change, expected) in CHANGES {
            changer.sql(change);
            first.send(&unasked);
            let answer = first.answer();
            assert_eq!(answer.failure, None, "{change}, past the proxy: {past_the_proxy}");
            assert_eq!((answer.text().as_str(), answer.status), (*expected, Some('I')), "{change}");
            // The others were told, so they are refused, whether they ask each time or not.
            for client in &mut *others {
                let failure = client.execute("all", &[]).failure;
                assert_eq!(failure.map(|failure| failure.code).as_deref(), Some("0A000"), "{change}");
                client.send(&unasked);
                let failure = client.answer().failure;
                assert_eq!(failure.map(|failure| failure.code).as_deref(), Some("0A000"), "{change}");
                assert_eq!(&client.extended(text, &[]), expected, "{change}");
                let describe = raw::describe_statement("all");
                client
                    .send(&[describe, raw::bind("", "all", &[]), raw::execute("", 0), raw::sync()].concat());
                assert_eq!(client.answer().failure, None, "{change}");
            }
        }
        // Two in one group, both outdated.
        changer.sql("CREATE OR REPLACE VIEW d.changing AS SELECT a, b AS c, 5 AS d FROM d.old");
        let one = [raw::bind("", "all", &[]), raw::execute("", 0)].concat();
        clients[0].send(&[one.clone(), one, raw::sync()].concat());
        let answer = clients[0].answer();
        assert_eq!((answer.failure, answer.rows.len()), (None, 2));
        // Who was told, and does not ask again, is told by the error that drivers know.
        clients[1].send(&[raw::bind("", "all", &[]), raw::execute("", 0), raw::sync()].concat());
        assert_eq!(clients[1].answer().failure.map(|failure| failure.code), Some("0A000".to_owned()));
    }
}
