//! Views over the messages of a client.

use super::frame::{Body, Head, LARGE_MESSAGE_LIMIT, Malformed, SMALL_MESSAGE_LIMIT};

/// Tags of frontend messages.
#[allow(missing_docs)] // The names are the manual's.
pub mod tag {
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// Checks a head by the rules of `SocketBackend()` in PostgreSQL: a known tag, and a length this kind may have.
pub fn check(head: Head) -> Result<(), Malformed> {
    use tag::*;
    let limit = match head.tag {
        QUERY | FUNCTION_CALL | PARSE | BIND | COPY_DATA => LARGE_MESSAGE_LIMIT,
        TERMINATE | CLOSE | DESCRIBE | EXECUTE | FLUSH | SYNC | COPY_DONE | COPY_FAIL => SMALL_MESSAGE_LIMIT,
        other => return Err(Malformed::Tag(other)),
    };
    let length = head.total - 1;
    if length > limit {
        return Err(Malformed::Length { tag: head.tag, length: u32::try_from(length).unwrap_or(u32::MAX) });
    }
    Ok(())
}

/// What Describe and Close are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

/// Reads Query: the text without its zero byte.
pub fn query(body: &[u8]) -> Result<&[u8], Malformed> {
    let mut body = Body::new(body);
    let text = body.cstr()?;
    body.end()?;
    Ok(text)
}

/// A Parse message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Statement name; empty for the unnamed one.
    pub name: &'a [u8],
    /// SQL text.
    pub text: &'a [u8],
    /// Parameter type OIDs as on the wire, four bytes each.
    pub types: &'a [u8],
}

/// Reads Parse.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, Malformed> {
    let mut body = Body::new(body);
    let name = body.cstr()?;
    let text = body.cstr()?;
    let count = usize::from(body.u16()?);
    let types = body.bytes(count * 4)?;
    body.end()?;
    Ok(Parse { name, text, types })
}

/// The head of a Bind message; parameters and formats follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Portal name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Statement name; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Everything after the two names.
    pub rest: &'a [u8],
}

/// Reads the names of a Bind. `body` may be cut short after the names (a message that is still arriving).
pub fn bind(body: &[u8]) -> Result<Bind<'_>, Malformed> {
    let mut body = Body::new(body);
    Ok(Bind { portal: body.cstr()?, statement: body.cstr()?, rest: body.rest() })
}

/// Reads parameter `index` of a Bind's `rest`, for a parameter of a textual type: its bytes are the same in text
/// and in binary format. `None` for NULL or not there.
pub fn text_parameter(rest: &[u8], index: usize) -> Option<&[u8]> {
    let mut body = Body::new(rest);
    let formats = usize::from(body.u16().ok()?);
    body.bytes(formats * 2).ok()?;
    let count = usize::from(body.u16().ok()?);
    if index >= count {
        return None;
    }
    for _ in 0..index {
        if let Ok(length) = usize::try_from(body.i32().ok()?) {
            body.bytes(length).ok()?;
        }
    }
    let length = usize::try_from(body.i32().ok()?).ok()?;
    body.bytes(length).ok()
}

/// Reads Describe or Close.
pub fn target(body: &[u8]) -> Result<Target<'_>, Malformed> {
    let mut body = Body::new(body);
    let kind = body.u8()?;
    let name = body.cstr()?;
    body.end()?;
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        _ => Err(Malformed::Trailing),
    }
}

/// Reads Execute: portal name and row limit (0: all).
pub fn execute(body: &[u8]) -> Result<(&[u8], i32), Malformed> {
    let mut body = Body::new(body);
    let portal = body.cstr()?;
    let rows = body.i32()?;
    body.end()?;
    Ok((portal, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_depend_on_the_kind() {
        let head = |tag, total| Head { tag, total };
        assert_eq!(check(head(b'Q', 500_000_000)), Ok(()));
        assert_eq!(check(head(b'S', 5)), Ok(()));
        assert!(matches!(check(head(b'S', 20_000)), Err(Malformed::Length { .. })));
        assert!(matches!(check(head(b'd', 1 << 31)), Err(Malformed::Length { .. })));
        assert_eq!(check(head(b'p', 5)), Err(Malformed::Tag(b'p')));
    }

    #[test]
    fn bodies_are_read_strictly() {
        assert_eq!(query(b"SELECT 1\0"), Ok(&b"SELECT 1"[..]));
        assert_eq!(query(b"SELECT 1"), Err(Malformed::String));
        assert_eq!(query(b"SELECT 1\0x"), Err(Malformed::Trailing));
        assert_eq!(
            parse(b"s\0t\0\0\x01\0\0\0\x17"),
            Ok(Parse { name: b"s", text: b"t", types: b"\0\0\0\x17" })
        );
        assert_eq!(parse(b"s\0t\0\0\x02\0\0\0\x17"), Err(Malformed::Short));
        assert_eq!(parse(b"s\0t\0\xff\xff"), Err(Malformed::Short));
        // Counts have no sign: there may be 65535 parameters.
        let many = [&b"s\0t\0\x9c\x40"[..], &[0; 160_000]].concat();
        assert_eq!(parse(&many).map(|parse| parse.types.len()), Ok(160_000));
        assert_eq!(target(b"Sx\0"), Ok(Target::Statement(b"x")));
        assert_eq!(target(b"Qx\0"), Err(Malformed::Trailing));
        assert_eq!(execute(b"\0\0\0\0\x05"), Ok((&b""[..], 5)));
    }

    #[test]
    fn text_parameters_of_a_bind_are_found() {
        let bind = |formats: &[u8]| [formats, b"\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0"].concat();
        assert_eq!(text_parameter(&bind(b"\0\0"), 0), Some(&b"a"[..]));
        assert_eq!(text_parameter(&bind(b"\0\0"), 1), None);
        assert_eq!(text_parameter(&bind(b"\0\0"), 2), None);
        assert_eq!(text_parameter(&bind(b"\0\x01\0\x01"), 0), Some(&b"a"[..]));
        assert_eq!(text_parameter(b"", 0), None);
    }
}
