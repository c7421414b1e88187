//! A server that lets one connection in and says nothing more.

use std::io::{Read, Write};
use std::net::TcpListener;

use bellwether::wire::write;

/// Accepts one connection and lets it in; ends when it is closed.
pub fn serve_one(listener: TcpListener) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut buffer = [0; 1024];
    assert!(stream.read(&mut buffer).expect("a startup packet") > 8);
    let mut out = Vec::new();
    write::authentication_ok(&mut out);
    write::backend_key_data(&mut out, 1, b"abcd");
    write::ready_for_query(&mut out, b'I');
    stream.write_all(&out).expect("the client reads");
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
}
