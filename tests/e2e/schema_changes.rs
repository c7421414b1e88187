//! The schema changes under prepared statements, by way of the proxy or past it: outside a transaction no client
//! sees an error, and none is misunderstood.

use bellwether::wire::write;

use crate::raw::{self, Failure, Raw};
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

/// Prepares `s`; returns the OID of its parameter's type.
fn told(client: &mut Raw, text: &str) -> u32 {
    client.send(&[raw::parse("s", text), raw::describe_statement("s"), raw::sync()].concat());
    let body = client.read_to('t').body;
    assert_eq!((body.len(), client.answer().failure), (6, None));
    u32::from_be_bytes(body[2..].try_into().expect("four bytes"))
}

/// Runs `s` with one binary value.
fn run(client: &mut Raw, value: &[u8]) -> Option<Failure> {
    let mut bind = Vec::new();
    write::message(&mut bind, b'B', |body| {
        body.extend_from_slice(b"\0s\0\0\x01\0\x01\0\x01");
        body.extend_from_slice(&u32::try_from(value.len()).expect("it is short").to_be_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(&[0, 0]);
    });
    client.send(&[bind, raw::execute("", 0), raw::sync()].concat());
    client.answer().failure
}

#[test]
fn a_parameter_keeps_the_type_that_was_told() {
    const INT4: u32 = 23;
    const INT8: u32 = 20;
    let story = Story::with(1, &["pool.size = 2", "pool.reserve = 0"]);
    for past_the_proxy in [false, true] {
        let mut changer = if past_the_proxy { story.direct("a", "demo") } else { story.client() };
        changer.sql("DROP SCHEMA IF EXISTS d CASCADE; CREATE SCHEMA d; CREATE TABLE d.typed (n int)");
        let text = "INSERT INTO d.typed VALUES ($1)";
        let [mut one, mut two] = [(), ()].map(|()| story.client());
        assert_eq!([told(&mut one, text), told(&mut two, text)], [INT4; 2]);
        changer.sql("ALTER TABLE d.typed ALTER n TYPE bigint");
        let mut anew = story.client();
        // Of a change past the proxy a server that has parsed it before does not say yet.
        let told_anew = told(&mut anew, text);
        assert!(past_the_proxy || told_anew == INT8, "{told_anew}");
        let nine = if told_anew == INT8 { 9i64.to_be_bytes().to_vec() } else { 9i32.to_be_bytes().to_vec() };
        // While one client holds a server, the next one gets the other: each meets both.
        let clients = [&mut one, &mut two];
        for _ in 0..2 {
            clients[0].sql("BEGIN");
            assert_eq!(run(clients[0], &1i32.to_be_bytes()), None, "past the proxy: {past_the_proxy}");
            assert_eq!(run(clients[1], &2i32.to_be_bytes()), None, "past the proxy: {past_the_proxy}");
            assert_eq!(run(&mut anew, &nine), None);
            clients[0].sql("COMMIT");
            clients[1].sql("BEGIN");
            assert_eq!(run(clients[1], &3i32.to_be_bytes()), None, "past the proxy: {past_the_proxy}");
            assert_eq!(run(clients[0], &4i32.to_be_bytes()), None, "past the proxy: {past_the_proxy}");
            clients[1].sql("COMMIT");
        }
        assert_eq!(
            changer.sql("SELECT n, count(*) FROM d.typed GROUP BY n ORDER BY n"),
            "1|2\n2|2\n3|2\n4|2\n9|2"
        );
        // Where it cannot have that type any more, PostgreSQL says so.
        changer.sql("ALTER TABLE d.typed ALTER n TYPE date USING '2024-01-31'");
        for client in clients {
            let failure = run(client, &5i32.to_be_bytes());
            assert_eq!(failure.map(|failure| failure.code).as_deref(), Some("42804"));
        }
    }
}
