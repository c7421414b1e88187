//! Clients that break the protocol are told so in PostgreSQL's words, and harm nobody.

use super::messages::*;
use super::world::{End, every_cut};

fn is_refused(before: &[u8], bytes: &[u8], text: &str) {
    every_cut(|world| {
        world.send(before);
        world.send(bytes);
        match &world.clients[0].end {
            Some(End::Told(error)) => {
                assert_eq!((error.code.as_str(), error.message.as_str()), ("08P01", text), "{bytes:?}");
            }
            other => panic!("{bytes:?}: {other:?}"),
        }
        world.forget();
        let next = world.add_client(bellwether::session::PoolMode::Transaction, &[]);
        world.send_as(next, &query("select 1"));
        world.expect_as(next, "T:c, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn in_any_state() {
    let cases: [(&[u8], &str); 12] = [
        (b"p\0\0\0\x04", "invalid frontend message type 112"),
        (b"\0\0\0\0\x04", "invalid frontend message type 0"),
        (b"Q\0\0\0\x03", "invalid message length"),
        (b"S\0\x01\0\0", "invalid message length"),
        (b"Q\x7f\xff\xff\xff", "invalid message length"),
        (b"Q\0\0\0\x07abc", "invalid string in message"),
        (b"P\0\0\0\x06a\0", "invalid string in message"),
        (b"P\0\0\0\x08a\0b\0", "insufficient data left in message"),
        (b"B\0\0\0\x06a\0", "invalid string in message"),
        (b"D\0\0\0\x07Qa\0", "invalid message format"),
        (b"E\0\0\0\x06a\0", "insufficient data left in message"),
        (b"C\0\0\0\x08Sa\0x", "invalid message format"),
    ];
    for (bytes, text) in cases {
        for before in
            [Vec::new(), query("begin"), once("select 1"), [parse("", "select 1"), flush()].concat()]
        {
            is_refused(&before, bytes, text);
        }
    }
}
