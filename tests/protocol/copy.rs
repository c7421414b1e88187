//! COPY in both directions and both protocols, and every way to abandon it.

use super::messages::*;
use super::world::{End, every_cut};

const IN: &str = "copy t from stdin";

fn rows() -> Vec<u8> {
    [copy_data("1\n"), copy_data("2\n")].concat()
}

#[test]
fn out() {
    every_cut(|world| {
        world.says(&query("copy t to stdout"), "H, d:a\n, d:b\n, c, C:COPY 2, Z:I");
        world.says(&[once("copy t to stdout"), sync()].concat(), "1, 2, H, d:a\n, d:b\n, c, C:COPY 2, Z:I");
    });
}

#[test]
fn in_by_query() {
    every_cut(|world| {
        world.says(&[query(IN), rows(), copy_done()].concat(), "G, C:COPY 2, Z:I");
        world.says(&query(IN), "G");
        assert!(world.clients[0].session.is_attached());
        world.says(&rows(), "");
        world.says(&copy_done(), "C:COPY 2, Z:I");
        // Several in one Query, and statements behind.
        let text = format!("{IN}; {IN}; select 1");
        let all = [query(&text), rows(), copy_done(), rows(), copy_done()].concat();
        world.says(&all, "G, C:COPY 2, G, C:COPY 2, T:c, D:1, C:SELECT 1, Z:I");
        assert_eq!(world.database.borrow().len(), 8);
    });
}

#[test]
fn in_by_execute() {
    every_cut(|world| {
        let all = [once(IN), rows(), copy_done(), sync()].concat();
        world.says(&all, "1, 2, G, C:COPY 2, Z:I");
        // Clients that send Sync behind every Execute: it is ignored while data is expected.
        let early = [once(IN), sync(), rows(), flush(), copy_done(), sync()].concat();
        world.says(&early, "1, 2, G, C:COPY 2, Z:I");
        let amid = [once(IN), copy_data("1\n"), sync(), copy_data("2\n"), copy_done(), sync()].concat();
        world.says(&amid, "1, 2, G, C:COPY 2, Z:I");
        assert_eq!(world.database.borrow().len(), 6);
    });
}

#[test]
fn a_copy_goes_on_in_the_same_group() {
    every_cut(|world| {
        let all = [once(IN), rows(), copy_done(), once("select 1"), sync(), query("select 2")].concat();
        world.says(&all, "1, 2, G, C:COPY 2, 1, 2, D:1, C:SELECT 1, Z:I, T:c, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn the_client_gives_up() {
    every_cut(|world| {
        world.says(&[query(IN), rows(), copy_fail("no more")].concat(), "G, E:57014, Z:I");
        world.says(&[once(IN), rows(), copy_fail("no more"), sync()].concat(), "1, 2, G, E:57014, Z:I");
        world.says(&[once(IN), copy_fail("none")].concat(), "1, 2, G, E:57014");
        world.says(&sync(), "Z:I");
        assert!(world.database.borrow().is_empty());
    });
}

#[test]
fn the_server_gives_up() {
    every_cut(|world| {
        let bad = [copy_data("1\n"), copy_data("bad\n"), copy_data("3\n")].concat();
        // What still comes belongs to nothing.
        world.says(&[query(IN), bad.clone(), copy_done()].concat(), "G, E:22P04, Z:I");
        world.says(&[query(IN), bad.clone()].concat(), "G, E:22P04, Z:I");
        world.says(&[copy_data("4\n"), copy_done()].concat(), "");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.says(&[once(IN), bad.clone(), copy_done(), sync()].concat(), "1, 2, G, E:22P04, Z:I");
        world.says(&[once(IN), sync(), bad.clone()].concat(), "1, 2, G, E:22P04");
        world.says(&[copy_data("4\n"), copy_done(), query("select 1"), sync()].concat(), "Z:I");
        // Sync in place of CopyDone: ignored if data was still expected, answered if not.
        world.says(&[once(IN), bad, sync()].concat(), "1, 2, G, E:22P04, Z:I");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        assert!(world.database.borrow().is_empty());
    });
}

#[test]
fn a_copy_that_never_begins() {
    every_cut(|world| {
        let all = [once("copy nowhere"), sync(), rows(), copy_done(), sync()].concat();
        world.says(&all, "E:42601, Z:I, Z:I");
        let stray = [once("select 1"), copy_data("x"), sync()].concat();
        world.says(&stray, "1, 2, D:1, C:SELECT 1, Z:I");
        world.says(
            &[copy_data("x"), copy_done(), copy_fail("x"), query("select 1")].concat(),
            "T:c, D:1, C:SELECT 1, Z:I",
        );
    });
}

#[test]
fn anything_else_amid_the_data_loses_the_server_but_nobody_elses() {
    every_cut(|world| {
        world.send(&[query(IN), copy_data("1\n"), query("select 1")].concat());
        let words = world.received_by(0);
        assert_eq!(words[0], "G");
        assert!(words[1].starts_with("E:08P01 unexpected message type 0x51"), "{words:?}");
        assert_eq!(words.iter().filter(|word| *word == "Z:I").count(), 2, "{words:?}");
        assert!(world.servers[0].fake.between_messages());
        world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
        assert!(world.database.borrow().is_empty());
    });
}

#[test]
fn the_client_is_gone_amid_the_data() {
    every_cut(|world| {
        world.says(&[query(IN), copy_data("1\n")].concat(), "G");
        let parting = world.leave(0);
        assert_eq!(parting, bellwether::session::Parting::Close { running: true });
        assert!(world.database.borrow().is_empty());
        world.clients[0].end = Some(End::Terminated);
    });
}

#[test]
fn large_data_streams_through() {
    every_cut(|world| {
        let large = "x".repeat(3_000_000);
        world.says(&[query(IN), copy_data(&large), copy_done()].concat(), "G, C:COPY 1, Z:I");
        // The server has failed long before the client has sent it all.
        let bad = format!("bad{large}");
        let all = [query(IN), copy_data(&bad), copy_data(&large), copy_done()].concat();
        world.says(&all, "G, E:22P04, Z:I");
        world.says(&[query(IN), copy_data("bad")].concat(), "G, E:22P04, Z:I");
        world.says(&copy_data(&large), "");
        assert!(!world.clients[0].session.is_attached());
    });
}
