//! Clients that break the protocol are told so in PostgreSQL's words, and harm nobody.
//!
//! What is no message ends the connection: where the next one begins cannot be told. A message whose body is wrong is an
//! error like any other; the server refuses it, and both go on.

use super::messages::*;
use super::world::{End, World, every_cut};

/// What a client may have said before: nothing, and a transaction, whole and failed, and a group that is not at its end.
fn befores() -> [Vec<u8>; 5] {
    [
        Vec::new(),
        query("begin"),
        [query("begin"), query("select 1/0")].concat(),
        once("select 1"),
        [parse("", "select 1"), flush()].concat(),
    ]
}

fn others_are_served(world: &mut World) {
    world.forget();
    let next = world.add_client(bellwether::session::PoolMode::Transaction, &[]);
    world.send_as(next, &query("select 1"));
    world.expect_as(next, "T:c, D:1, C:SELECT 1, Z:I");
}

fn ends_with(world: &World, text: &str, what: &[u8]) {
    match &world.clients[0].end {
        Some(End::Told(error)) => {
            assert_eq!((error.code.as_str(), error.message.as_str()), ("08P01", text), "{what:?}");
        }
        other => panic!("{what:?}: {other:?}"),
    }
}

const NO_MESSAGE: [(&[u8], &str); 9] = [
    (b"p\0\0\0\x05\0", "invalid frontend message type 112"),
    (b"\0\0\0\0\x04", "invalid frontend message type 0"),
    (b"\xff\xff\xff\xff\xff", "invalid frontend message type 255"),
    (b"\x16\x03\x01\x02\0", "invalid frontend message type 22"),
    (b"Q\0\0\0\x03", "invalid message length"),
    (b"Q\0\0\0\0", "invalid message length"),
    (b"S\0\x01\0\0", "invalid message length"),
    (b"Q\x7f\xff\xff\xff", "invalid message length"),
    (b"Q\xff\xff\xff\xff", "invalid message length"),
];

#[test]
fn what_is_no_message_ends_the_connection_in_any_state() {
    for (bytes, text) in NO_MESSAGE {
        for before in befores() {
            every_cut(|world| {
                world.send(&before);
                world.send(bytes);
                ends_with(world, text, bytes);
                others_are_served(world);
            });
        }
    }
}

#[test]
fn what_was_asked_before_is_answered() {
    for (bytes, text) in NO_MESSAGE {
        every_cut(|world| {
            world.send(&[&query("select 1")[..], bytes].concat());
            world.expect("T:c, D:1, C:SELECT 1, Z:I");
            ends_with(world, text, bytes);
        });
        // The server keeps the answers until it is asked for them.
        every_cut(|world| {
            world.send(&[&once("select 1")[..], bytes].concat());
            world.expect("1, 2, D:1, C:SELECT 1");
            ends_with(world, text, bytes);
            others_are_served(world);
        });
    }
}

/// Messages that have a head as it should be, and a body that their kind has not.
const BODIES: [&[u8]; 16] = [
    b"Q\0\0\0\x04",
    b"Q\0\0\0\x07abc",
    b"Q\0\0\0\x0cselect 1",
    b"Q\0\0\0\x0fselect 1\0;\0",
    b"P\0\0\0\x04",
    b"P\0\0\0\x06a\0",
    b"P\0\0\0\x08a\0b\0",
    b"P\0\0\0\x0aa\0b\0\0\x01",
    b"P\0\0\0\x0aa\0b\0\xff\xff",
    b"P\0\0\0\x0b\0b\0\0\0\0x",
    b"B\0\0\0\x06a\0",
    b"D\0\0\0\x07Qa\0",
    b"D\0\0\0\x05S",
    b"E\0\0\0\x06a\0",
    b"C\0\0\0\x08Sa\0x",
    b"C\0\0\0\x04",
];

#[test]
fn a_body_that_cannot_be_read_is_an_error_like_any_other() {
    for bytes in BODIES {
        assert_eq!(usize::from(bytes[4]) + 1, bytes.len(), "the head is honest: {bytes:?}");
        let simple = bytes[0] == b'Q';
        every_cut(|world| {
            // By itself, twice.
            for _ in 0..2 {
                match simple {
                    true => world.says(bytes, "E:08P01, Z:I"),
                    false => world.says(&[bytes, &sync()].concat(), "E:08P01, Z:I"),
                }
            }
            world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        });
        every_cut(|world| {
            // A transaction fails of it, also one that was held back.
            world.says(&query("begin"), "C:BEGIN, Z:T");
            match simple {
                true => world.says(bytes, "E:08P01, Z:E"),
                false => world.says(&[bytes, &sync()].concat(), "E:08P01, Z:E"),
            }
            world.says(&query("select 1"), "E:25P02, Z:E");
            world.says(&query("rollback"), "C:ROLLBACK, Z:I");
            others_are_served(world);
        });
        every_cut(|world| {
            // What stands before it is answered, what stands behind it is skipped.
            let behind = [once("select 2"), sync(), query("select 3")].concat();
            let all = [&once("select 1")[..], bytes, &behind].concat();
            match simple {
                // A Query ends the group.
                true => world.says(
                    &all,
                    "1, 2, D:1, C:SELECT 1, E:08P01, Z:I, 1, 2, D:2, C:SELECT 1, Z:I, T:c, D:3, C:SELECT 1, Z:I",
                ),
                false => world.says(&all, "1, 2, D:1, C:SELECT 1, E:08P01, Z:I, T:c, D:3, C:SELECT 1, Z:I"),
            }
            others_are_served(world);
        });
    }
}

#[test]
fn names_are_what_they_were_before_a_malformed_message() {
    every_cut(|world| {
        world.says(&[parse("s", "select 1"), sync()].concat(), "1, Z:I");
        // A Parse and a Close of that name, both cut short, and Binds of it whose counts do not fit.
        let bad: [&[u8]; 4] = [
            b"P\0\0\0\x06s\0",
            b"C\0\0\0\x06Ss",
            b"B\0\0\0\x0f\0s\0\0\0\0\x01\0\0\0\x09",
            b"B\0\0\0\x0b\0s\0\x7f\xff\0\0",
        ];
        for bytes in bad {
            world.says(&[bytes, &sync()].concat(), "E:08P01, Z:I");
            world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        }
    });
}

#[test]
fn data_of_no_copy_is_ignored_and_a_goodbye_is_one_anywhere() {
    every_cut(|world| {
        let stray = [copy_data("1\n"), copy_fail("no"), copy_done()].concat();
        world.says(&[stray.clone(), query("select 1")].concat(), "T:c, D:1, C:SELECT 1, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&[stray, query("select 1")].concat(), "T:c, D:1, C:SELECT 1, Z:T");
        world.send(&[parse("", "select 1"), terminate(), b"garbage".to_vec()].concat());
        world.forget();
        others_are_served(world);
    });
}
