//! Messages larger than what is kept whole stream through, in both directions, in little memory.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::session::WHOLE_MESSAGE;

fn large() -> String {
    "x".repeat(WHOLE_MESSAGE + WHOLE_MESSAGE / 2)
}

/// Nothing but the bytes of one look may have waited.
fn is_bounded(world: &World) {
    let most = world.clients[0].most_waiting;
    assert!(most < 64 * 1024, "{most} bytes were copied");
}

#[test]
fn rows() {
    every_cut(|world| {
        let row = large();
        let all = [parse("", "select $1"), bind("", "", &[&row]), execute("", 0), sync()].concat();
        world.send(&all);
        let words = world.received_by(0);
        assert_eq!(words.len(), 5);
        assert_eq!(words[2].len(), row.len() + 2);
        is_bounded(world);
    });
}

#[test]
fn a_bind_under_another_name() {
    every_cut(|world| {
        let value = large();
        world.says(&[parse("s", "select $1"), sync()].concat(), "1, Z:I");
        world.send(&[bind("", "s", &[&value]), execute("", 0), sync()].concat());
        let words = world.received_by(0);
        assert_eq!(words[1].len(), value.len() + 2);
        assert_eq!(words[3], "Z:I");
        is_bounded(world);
    });
}

#[test]
fn a_query() {
    every_cut(|world| {
        let sql = format!("select '{}'", large());
        world.send(&query(&sql));
        let words = world.received_by(0);
        assert_eq!(words[1].len(), large().len() + 2);
        is_bounded(world);
        assert_eq!(world.clients[0].session.pin_names().collect::<Vec<_>>(), ["untracked_setting"]);
        world.says(&query("discard all"), "C:DISCARD ALL, Z:I");
    });
}

#[test]
fn a_parse_named_and_unnamed() {
    every_cut(|world| {
        let sql = format!("select '{}'", large());
        world.send(&[parse("", &sql), run("", &[]), sync()].concat());
        assert_eq!(world.received_by(0)[2].len(), large().len() + 2);
        world.send(&[parse("big", &sql), sync()].concat());
        world.expect("1, Z:I");
        world.send(&[run("big", &[]), run("", &[]), sync()].concat());
        assert_eq!(world.received_by(0)[1].len(), large().len() + 2);
        assert_eq!(world.clients[0].session.pin_names().collect::<Vec<_>>(), ["large_statement"]);
        is_bounded(world);
        world.says(&query("deallocate all"), "C:DEALLOCATE ALL, Z:I");
        assert!(!world.clients[0].session.is_attached());
        assert!(world.servers[0].fake.prepared.is_empty());
    });
}

#[test]
fn while_everything_is_skipped() {
    every_cut(|world| {
        let sql = format!("select '{}'", large());
        world.says(&parse("", "selec"), "E:42601");
        world.says(&[parse("", &sql), query(&sql), bind("", "", &[&sql]), sync()].concat(), "Z:I");
        let all = [parse("", "selec"), parse("", &sql), bind("", "", &[&sql]), sync()].concat();
        world.says(&all, "E:42601, Z:I");
        let words = ["T:c", "D:1", "C:SELECT 1", "Z:I"];
        world.says(&query("select 1"), &words.join(", "));
        world.clients[0].session.is_idle();
        if world.clients[0].session.is_attached() {
            world.send(&query("deallocate all"));
        }
        world.forget();
    });
}

#[test]
fn an_error() {
    every_cut(|world| {
        let text = large();
        world.servers[0].fake.stalled = true;
        world.send(&query("select 1"));
        let mut error = Vec::new();
        let code = bellwether::pg::SqlState::INTERNAL_ERROR;
        bellwether::wire::error_response::PgError::error(code, text.clone()).write(&mut error);
        bellwether::wire::write::ready_for_query(&mut error, b'I');
        world.servers[0].fake.inject(&error);
        world.settle(0);
        let words = world.received_by(0);
        assert_eq!(words.len(), 2, "{}", words.len());
        assert_eq!(words[0].len(), "E:XX000 ".len() + text.len());
        is_bounded(world);
    });
}
