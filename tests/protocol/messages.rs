//! Writes the frontend's messages, and makes what a backend says readable.

use bellwether::wire::error_response::ErrorFields;
use bellwether::wire::frame::{Body, HEAD, Head};
use bellwether::wire::write;

fn message(tag: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write::message(&mut out, tag, fill);
    out
}

fn cstr(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', |body| cstr(body, sql))
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', |body| {
        cstr(body, name);
        cstr(body, sql);
        body.extend_from_slice(&[0, 0]);
    })
}

pub fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    message(b'B', |body| {
        cstr(body, portal);
        cstr(body, statement);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            body.extend_from_slice(&(value.len() as u32).to_be_bytes());
            body.extend_from_slice(value.as_bytes());
        }
        body.extend_from_slice(&[0, 0]);
    })
}

fn about(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    message(tag, |body| {
        body.push(kind);
        cstr(body, name);
    })
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    about(b'D', b'S', name)
}

pub fn describe_portal(name: &str) -> Vec<u8> {
    about(b'D', b'P', name)
}

pub fn close_statement(name: &str) -> Vec<u8> {
    about(b'C', b'S', name)
}

pub fn close_portal(name: &str) -> Vec<u8> {
    about(b'C', b'P', name)
}

pub fn execute(portal: &str, limit: i32) -> Vec<u8> {
    message(b'E', |body| {
        cstr(body, portal);
        body.extend_from_slice(&limit.to_be_bytes());
    })
}

pub fn sync() -> Vec<u8> {
    message(b'S', |_| {})
}

pub fn flush() -> Vec<u8> {
    message(b'H', |_| {})
}

pub fn terminate() -> Vec<u8> {
    message(b'X', |_| {})
}

pub fn copy_data(data: &str) -> Vec<u8> {
    message(b'd', |body| body.extend_from_slice(data.as_bytes()))
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', |_| {})
}

pub fn copy_fail(why: &str) -> Vec<u8> {
    message(b'f', |body| cstr(body, why))
}

/// A call of function `oid` without arguments; 0 does not exist.
pub fn function_call(oid: u32) -> Vec<u8> {
    message(b'F', |body| {
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&[0; 6]);
    })
}

/// Bind of the unnamed portal and Execute of all its rows.
pub fn run(statement: &str, values: &[&str]) -> Vec<u8> {
    [bind("", statement, values), execute("", 0)].concat()
}

/// Parse of the unnamed statement, Bind, Execute.
pub fn once(sql: &str) -> Vec<u8> {
    [parse("", sql), run("", &[])].concat()
}

/// Cuts a stream into whole messages; panics when it ends within one.
pub fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let head = Head::read(bytes).expect("an honest length").expect("a whole head");
        assert!(bytes.len() >= head.total, "a message cut short: {:?}", &bytes[..bytes.len().min(40)]);
        let (message, rest) = bytes.split_at(head.total);
        messages.push(message);
        bytes = rest;
    }
    messages
}

/// Describes the backend's messages, one word each: its tag, and what matters of its body.
pub fn show(bytes: &[u8]) -> Vec<String> {
    split(bytes).into_iter().map(show_one).collect()
}

fn show_one(message: &[u8]) -> String {
    let tag = message[0] as char;
    let mut body = Body::new(&message[HEAD..]);
    let mut text = || String::from_utf8_lossy(body.cstr().expect("a string")).into_owned();
    match message[0] {
        b'Z' => format!("Z:{}", message[HEAD] as char),
        b'C' => format!("C:{}", text()),
        b'S' => format!("S:{}={}", text(), text()),
        b'E' | b'N' => {
            let fields = ErrorFields::read(&message[HEAD..]);
            let code = fields.code.map(|code| code.to_string()).unwrap_or_default();
            format!("{tag}:{code} {}", String::from_utf8_lossy(fields.message))
        }
        b'A' => {
            body.i32().expect("a process");
            format!("A:{}", String::from_utf8_lossy(body.cstr().expect("a channel")))
        }
        b'D' => show_row(body),
        b'd' => format!("d:{}", String::from_utf8_lossy(body.rest())),
        b'T' => {
            body.i16().expect("a count");
            format!("T:{}", String::from_utf8_lossy(body.cstr().expect("a column")))
        }
        b't' => {
            let count = body.i16().expect("a count");
            let types: Vec<_> = (0..count).map(|_| body.i32().expect("a type").to_string()).collect();
            if types.is_empty() { tag.to_string() } else { format!("t:{}", types.join("|")) }
        }
        _ => tag.to_string(),
    }
}

fn show_row(mut body: Body<'_>) -> String {
    let mut columns = Vec::new();
    for _ in 0..body.i16().expect("a count") {
        let length = body.i32().expect("a length");
        columns.push(match usize::try_from(length) {
            Ok(length) => String::from_utf8_lossy(body.bytes(length).expect("a value")).into_owned(),
            Err(_) => "NULL".into(),
        });
    }
    format!("D:{}", columns.join("|"))
}

/// Tells whether `shown` is what `expected` lists, separated by `, `. An expected error needs only its code.
pub fn matches(shown: &[String], expected: &str) -> bool {
    let expected: Vec<&str> = expected.split(", ").filter(|word| !word.is_empty()).collect();
    shown.len() == expected.len()
        && shown.iter().zip(&expected).all(|(shown, expected)| {
            shown == expected
                || matches!(expected.get(..2), Some("E:" | "N:"))
                    && expected.len() == 7
                    && shown.starts_with(expected)
        })
}
