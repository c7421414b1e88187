//! One message: tag, length, body; and a reader over a body.

use memchr::memchr;

/// Length of a message's head: one byte of tag and four of length.
pub const HEAD: usize = 5;

/// Longest message PostgreSQL takes for anything that can carry data (`PQ_LARGE_MESSAGE_LIMIT`).
pub const LARGE_MESSAGE_LIMIT: usize = 0x3FFF_FFFF - 1;

/// Longest message PostgreSQL takes for the kinds without data (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_MESSAGE_LIMIT: usize = 10_000;

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Kind of message; its meaning depends on the direction.
    pub tag: u8,
    /// Bytes of the whole message, head included; at least [`HEAD`].
    pub total: usize,
}

impl Head {
    /// Reads the head at the start of `buffer`; `None` while fewer than five bytes are there.
    ///
    /// Fails when the length field is below four (it counts itself).
    pub fn read(buffer: &[u8]) -> Result<Option<Head>, Malformed> {
        let Some((head, _)) = buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        if length < 4 {
            return Err(Malformed::Length { tag: head[0], length });
        }
        Ok(Some(Head { tag: head[0], total: length as usize + 1 }))
    }
}

/// A message that does not follow the protocol. The text is what PostgreSQL says in the same case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length below the length field itself, or beyond what this kind of message may have.
    #[error("invalid message length")]
    Length {
        /// Tag of the message.
        tag: u8,
        /// What its length field said.
        length: u32,
    },
    /// A tag that no message of this direction has.
    #[error("invalid frontend message type {0}")]
    Tag(u8),
    /// The body ended before what it announced.
    #[error("insufficient data left in message")]
    Short,
    /// The body went on after what it announced.
    #[error("invalid message format")]
    Trailing,
    /// A string without its terminating zero byte.
    #[error("invalid string in message")]
    String,
}

/// Reads the fields of a message body, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    /// Starts at the first byte after the head.
    pub fn new(body: &'a [u8]) -> Self {
        Body { rest: body }
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads a 16-bit count in network order: there may be up to 65535 parameters.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a 16-bit integer in network order.
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    /// Reads a 32-bit integer in network order.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a string up to its zero byte, which is not returned.
    pub fn cstr(&mut self) -> Result<&'a [u8], Malformed> {
        let end = memchr(0, self.rest).ok_or(Malformed::String)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// Reads `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Returns what has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that all was read.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_needs_five_bytes_and_an_honest_length() {
        assert_eq!(Head::read(b"Q\0\0\0"), Ok(None));
        assert_eq!(Head::read(b"Q\0\0\0\x04"), Ok(Some(Head { tag: b'Q', total: 5 })));
        assert_eq!(Head::read(b"Q\0\0\0\x03"), Err(Malformed::Length { tag: b'Q', length: 3 }));
        assert_eq!(Head::read(b"Q\xff\xff\xff\xff").map(|h| h.map(|h| h.total)), Ok(Some(1 << 32)));
    }

    #[test]
    fn a_body_is_read_field_by_field() {
        let mut body = Body::new(b"name\0\x00\x02\xff\xff\xff\xffxyz");
        assert_eq!(body.cstr(), Ok(&b"name"[..]));
        assert_eq!(body.i16(), Ok(2));
        assert_eq!(body.i32(), Ok(-1));
        assert_eq!(body.bytes(4), Err(Malformed::Short));
        assert_eq!(body.bytes(2), Ok(&b"xy"[..]));
        assert_eq!(body.end(), Err(Malformed::Trailing));
        assert_eq!(body.u8(), Ok(b'z'));
        assert_eq!(body.u8(), Err(Malformed::Short));
        assert_eq!(body.cstr(), Err(Malformed::String));
        assert_eq!(body.end(), Ok(()));
    }
}
