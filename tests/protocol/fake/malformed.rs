//! What PostgreSQL says of a message whose body is not what its kind has.

use bellwether::wire::frame::{Body, Malformed};
use bellwether::wire::frontend;

use super::Failure;

pub(super) fn refusal(tag: u8, body: &[u8]) -> Option<Failure> {
    let read = match tag {
        b'Q' => frontend::query(body).map(drop),
        b'P' => frontend::parse(body).map(drop),
        b'B' => bind(body),
        b'D' | b'C' => frontend::target(body).map(drop),
        b'E' => frontend::execute(body).map(drop),
        _ => Ok(()),
    };
    read.err().map(|error| Failure::new("08P01", error.to_string()))
}

fn bind(body: &[u8]) -> Result<(), Malformed> {
    let mut body = Body::new(body);
    body.cstr()?;
    body.cstr()?;
    let formats = usize::from(body.u16()?);
    body.bytes(2 * formats)?;
    for _ in 0..body.u16()? {
        if let Ok(length) = usize::try_from(body.i32()?) {
            body.bytes(length)?;
        }
    }
    let formats = usize::from(body.u16()?);
    body.bytes(2 * formats)?;
    body.end()
}
