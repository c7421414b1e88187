//! Long answers, which come in large pieces: their ends, what follows them, and what becomes of their servers.

use crate::raw::Raw;
use crate::story::Story;

/// Rows of a kilobyte, so some megabytes; each end lies elsewhere in its piece.
fn long(rows: usize) -> String {
    format!("SELECT repeat('x', 1000) FROM generate_series(1, {rows})")
}

fn read_long(client: &mut Raw, rows: usize) {
    let text = client.sql(&long(rows));
    assert_eq!((text.lines().count(), text.len()), (rows, rows * 1001 - 1));
}

#[test]
fn nothing_is_held_back_behind_a_long_answer() {
    for mode in ["transaction", "session"] {
        let mode = format!("pool.mode = \"{mode}\"");
        let story = Story::with(1, &["pool.size = 1", "pool.reserve = 0", &mode]);
        let mut oracle = story.direct("a", "postgres");
        let mut client = story.client();
        for rows in 3000..3010 {
            read_long(&mut client, rows);
            assert_eq!(client.sql("SELECT 1"), "1");
        }
        client.sql("BEGIN");
        for rows in 3010..3020 {
            read_long(&mut client, rows);
            assert_eq!(client.sql("SELECT 2"), "2");
        }
        // It stops in the middle, and what comes then is small.
        let stops = "SELECT CASE WHEN n = 4000 THEN pg_sleep(0.3)::text || 'last' ELSE repeat('x', 1000) END \
                     FROM generate_series(1, 4000) n";
        assert!(client.sql(stops).ends_with("\nlast"));
        assert_eq!(client.fails("SELECT 1 / 0").code, "22012");
        client.sql("ROLLBACK");

        // A client that leaves within one leaves its server clean.
        client.sql("BEGIN");
        client.send_query(&long(100_000));
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.kill();
        let mut next = story.client();
        assert_eq!(next.sql("SELECT 3"), "3");
        read_long(&mut next, 3000);
        next.kill();
        story.settled(&mut oracle, "all left");
    }
}
