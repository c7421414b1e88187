//! Tokens across promotions: what was kept holds, what was lost is named.

use bellwether::lab::Cluster;

use super::{NODE, outcome, story};
use crate::raw::{Raw, bind, execute, parse, sync};
use crate::story::Story;
use crate::support::eventually;

/// A session that wrote, and its token.
fn writer(story: &Story) -> (Raw, String) {
    let mut client = story.client();
    client.sql("UPDATE d.common SET n = n + 1");
    let token = client.sql("SHOW bellwether.token");
    (client, token)
}

/// Has `node` lead after the primary has died, and waits until the proxy knows.
fn promote(story: &Story, cluster: &Cluster, node: &str) {
    cluster.fail_over(node).expect("it is promoted");
    eventually("the proxy follows", || story.status()["primary"] == node);
}

#[test]
fn what_a_promotion_kept_is_seen() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    let (mut client, token) = writer(&story);
    assert!(token.starts_with("1:"), "{token}");
    cluster.switchover("b").expect("b takes over");
    eventually("the proxy follows", || story.status()["primary"] == "b");
    assert_eq!(client.sql("SELECT n FROM d.common"), "1");
    let mut other = story.client();
    other.sql(&format!("SET bellwether.token = '{token}'"));
    assert_eq!(other.sql("SELECT n FROM d.common"), "1");
    for client in [&mut client, &mut other] {
        eventually("a standby of the new primary reads", || client.sql(NODE) != "b");
        assert_eq!(client.notices, []);
    }
    let now = client.sql("SHOW bellwether.token");
    assert!(now.starts_with("2:"), "{now}");
    assert_eq!(outcome(&story, "lost_write"), 0.0);
}

#[test]
fn what_a_promotion_lost_is_named() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    let (mut kept, kept_token) = writer(&story);
    cluster.wait_replayed().expect("the standbys replay");
    // The standbys hear nothing of what comes now.
    for node in ["b", "c"] {
        cluster.sql(node, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'").expect("it is set");
        cluster.sql(node, "SELECT pg_reload_conf()").expect("it is read");
    }
    let streaming = "SELECT count(*) FROM pg_stat_replication";
    eventually("nobody streams", || cluster.sql("a", streaming).is_ok_and(|count| count == "0"));
    let (mut lost, lost_token) = writer(&story);
    assert_eq!(lost.sql("SELECT n FROM d.common"), "2", "the primary has it");
    cluster.kill9("a").expect("it runs");
    for node in ["b", "c"] {
        cluster.sql(node, "ALTER SYSTEM RESET primary_conninfo").expect("it is reset");
    }
    promote(&story, cluster, "b");

    // The session is told once, whatever it does next.
    assert_eq!(lost.sql("SELECT n FROM d.common"), "1");
    let told: Vec<_> = lost.notices.iter().map(|notice| (&*notice.severity, &*notice.code)).collect();
    assert_eq!(told, [("WARNING", "LW001")], "{:?}", lost.notices);
    lost.sql("UPDATE d.common SET n = n + 10");
    assert_eq!(lost.sql("SELECT n FROM d.common"), "11");
    assert_eq!(lost.notices.len(), 1);

    // A token that was handed on names what is not there any more.
    let mut other = story.client();
    other.sql(&format!("SET bellwether.token = '{lost_token}'"));
    for sql in ["SELECT n FROM d.common", "UPDATE d.common SET n = 0", "BEGIN; SELECT 1"] {
        let failure = other.fails(sql);
        assert_eq!((&*failure.severity, &*failure.code), ("ERROR", "LW001"), "{failure:?}");
    }
    let text = "SELECT n FROM d.common";
    other.send(&[parse("", text), bind("", "", &[]), execute("", 0), sync()].concat());
    let answer = other.answer();
    assert_eq!(
        (answer.failure.map(|failure| failure.code), answer.status),
        (Some("LW001".into()), Some('I'))
    );
    other.sql("RESET bellwether.token");
    assert_eq!(other.sql("SELECT n >= 1 FROM d.common"), "t");
    other.sql(&format!("SET bellwether.token = '{kept_token}'"));
    assert_eq!(other.sql("SELECT n >= 1 FROM d.common"), "t");
    other.sql("SET bellwether.token = '9:0/1'");
    assert_eq!(other.fails("SELECT n FROM d.common").code, "55000");

    assert_eq!(kept.sql("SELECT n >= 1 FROM d.common"), "t");
    assert_eq!((&kept.notices, &other.notices), (&vec![], &vec![]));
    assert_eq!(outcome(&story, "lost_write"), 5.0);
    assert!(story.bench.proxy.log().contains("write.lost"), "{}", story.bench.proxy.log_tail());
}

#[test]
fn a_cluster_user_who_may_not_read_the_history_makes_nothing_up() {
    let story =
        story(&["cluster.user = \"demo\"", "cluster.password = \"demo\"", "cluster.database = \"demo\""]);
    let cluster = &story.bench.cluster;
    let (mut client, token) = writer(&story);
    cluster.switchover("b").expect("b takes over");
    eventually("the proxy follows", || story.status()["primary"] == "b");
    let mut other = story.client();
    other.sql(&format!("SET bellwether.token = '{token}'"));
    for client in [&mut client, &mut other] {
        assert_eq!(client.sql("SELECT n FROM d.common"), "1");
        assert_eq!(client.notices, []);
    }
    // What cannot be proven of a standby is asked of the primary.
    assert_eq!(other.sql(NODE), "b");
    assert!(story.bench.proxy.log().contains("history.unknown"), "{}", story.bench.proxy.log_tail());
}
