//! What a client says first: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest, and protocol versions.

use super::frame::{Body, Malformed};

/// Longest startup packet taken (`MAX_STARTUP_PACKET_LENGTH` of PostgreSQL).
pub const MAX_STARTUP_PACKET: usize = 10_000;

/// Longest cancel key of protocol 3.2.
pub const MAX_CANCEL_KEY: usize = 256;

const SSL_REQUEST: u32 = (1234 << 16) | 5679;
const GSSENC_REQUEST: u32 = (1234 << 16) | 5680;
const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;

/// A version of the protocol, as in StartupMessage: major in the high half, minor in the low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// Version 3.0, spoken by every client since 2003.
    pub const V3_0: ProtocolVersion = ProtocolVersion(3 << 16);
    /// Version 3.2 (PostgreSQL 18): cancel keys of up to 256 bytes.
    pub const V3_2: ProtocolVersion = ProtocolVersion((3 << 16) | 2);

    /// Returns the major number.
    pub fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Returns the minor number.
    pub fn minor(self) -> u16 {
        self.0 as u16
    }

    /// Returns the newest version both sides speak. 3.1 was never used; clients that name it get 3.0.
    pub fn negotiated(self) -> ProtocolVersion {
        if self >= Self::V3_2 { Self::V3_2 } else { Self::V3_0 }
    }
}

/// The first packet of a connection (it has a length but no tag).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPacket<'a> {
    /// Asks for TLS.
    SslRequest,
    /// Asks for GSSAPI encryption.
    GssEncRequest,
    /// Asks to cancel what another connection runs.
    Cancel {
        /// Process id from that connection's BackendKeyData.
        pid: i32,
        /// Secret from the same; 4 bytes before protocol 3.2, up to 256 after.
        key: &'a [u8],
    },
    /// Starts a session.
    Startup(Startup<'a>),
}

/// A StartupMessage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup<'a> {
    /// The version the client asks for.
    pub version: ProtocolVersion,
    /// Names and values as sent, `_pq_.` options included; a name may occur twice, and the last one counts.
    pub parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Startup<'a> {
    /// Returns the value of parameter `name`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Returns the names of protocol options (`_pq_.*`); we know none of them.
    pub fn protocol_options(&self) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().map(|(name, _)| *name).filter(|name| name.starts_with("_pq_."))
    }
}

/// What is wrong with a first packet. `Display` is PostgreSQL's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The length field is out of bounds.
    #[error("invalid length of startup packet")]
    Length,
    /// A version of the protocol that is not 3.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Version(u16, u16),
    /// The list of parameters does not end where the packet does, or a name lacks a value.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A name or value that is not UTF-8.
    #[error("startup packet holds text that is not UTF-8")]
    Encoding,
}

impl From<Malformed> for StartupError {
    fn from(_: Malformed) -> Self {
        StartupError::Layout
    }
}

/// Returns the bytes of the whole first packet, its length field included; `None` while that field is incomplete.
pub fn first_packet_length(buffer: &[u8]) -> Result<Option<usize>, StartupError> {
    let Some((head, _)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    // Eight bytes: the length itself and the request code.
    if (8..=MAX_STARTUP_PACKET).contains(&length) { Ok(Some(length)) } else { Err(StartupError::Length) }
}

/// Reads a whole first packet, length field included.
pub fn parse_first_packet(packet: &[u8]) -> Result<FirstPacket<'_>, StartupError> {
    if first_packet_length(packet)? != Some(packet.len()) {
        return Err(StartupError::Length);
    }
    let mut body = Body::new(&packet[4..]);
    match body.i32()? as u32 {
        SSL_REQUEST => body.end().map(|()| FirstPacket::SslRequest).map_err(|_| StartupError::Length),
        GSSENC_REQUEST => body.end().map(|()| FirstPacket::GssEncRequest).map_err(|_| StartupError::Length),
        CANCEL_REQUEST => parse_cancel(body),
        code => parse_startup(ProtocolVersion(code), body),
    }
}

fn parse_cancel(mut body: Body<'_>) -> Result<FirstPacket<'_>, StartupError> {
    let pid = body.i32().map_err(|_| StartupError::Length)?;
    let key = body.rest();
    if (4..=MAX_CANCEL_KEY).contains(&key.len()) {
        Ok(FirstPacket::Cancel { pid, key })
    } else {
        Err(StartupError::Length)
    }
}

fn parse_startup(version: ProtocolVersion, mut body: Body<'_>) -> Result<FirstPacket<'_>, StartupError> {
    if version.major() != 3 {
        return Err(StartupError::Version(version.major(), version.minor()));
    }
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| StartupError::Encoding);
    let mut parameters = Vec::new();
    loop {
        let name = body.cstr()?;
        if name.is_empty() {
            body.end()?;
            return Ok(FirstPacket::Startup(Startup { version, parameters }));
        }
        parameters.push((text(name)?, text(body.cstr()?)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = (8 + rest.len()) as u32;
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(parse_first_packet(&packet(SSL_REQUEST, b"")), Ok(FirstPacket::SslRequest));
        assert_eq!(parse_first_packet(&packet(GSSENC_REQUEST, b"")), Ok(FirstPacket::GssEncRequest));
        assert_eq!(parse_first_packet(&packet(SSL_REQUEST, b"x")), Err(StartupError::Length));
        let cancel = packet(CANCEL_REQUEST, b"\0\0\0\x07abcd");
        assert_eq!(parse_first_packet(&cancel), Ok(FirstPacket::Cancel { pid: 7, key: b"abcd" }));
        assert_eq!(parse_first_packet(&packet(CANCEL_REQUEST, b"\0\0\0\x07abc")), Err(StartupError::Length));
        assert_eq!(parse_first_packet(&packet(CANCEL_REQUEST, &[0; 300])), Err(StartupError::Length));
    }

    #[test]
    fn parameters_are_read_and_the_last_of_a_name_counts() {
        let sent = packet(3 << 16, b"user\0ann\0user\0bob\0_pq_.x\0\x31\0\0");
        let Ok(FirstPacket::Startup(startup)) = parse_first_packet(&sent) else { panic!("not a startup") };
        assert_eq!(startup.get("user"), Some("bob"));
        assert_eq!(startup.get("database"), None);
        assert_eq!(startup.protocol_options().collect::<Vec<_>>(), ["_pq_.x"]);
    }

    #[test]
    fn malformed_packets_are_refused() {
        for (rest, error) in [
            (&b""[..], StartupError::Layout),
            (b"user\0", StartupError::Layout),
            (b"user\0ann", StartupError::Layout),
            (b"user\0ann\0\0x", StartupError::Layout),
            (b"user\0\xff\0\0", StartupError::Encoding),
        ] {
            assert_eq!(parse_first_packet(&packet(3 << 16, rest)), Err(error), "{rest:?}");
        }
        assert_eq!(parse_first_packet(&packet(2 << 16, b"\0")), Err(StartupError::Version(2, 0)));
        assert_eq!(first_packet_length(b"\0\0\0\x07"), Err(StartupError::Length));
        assert_eq!(first_packet_length(b"\xff\xff\xff\xff"), Err(StartupError::Length));
        assert_eq!(first_packet_length(b"\0\0\0"), Ok(None));
    }

    #[test]
    fn versions_negotiate_downwards() {
        assert_eq!(ProtocolVersion((3 << 16) | 9999).negotiated(), ProtocolVersion::V3_2);
        assert_eq!(ProtocolVersion((3 << 16) | 1).negotiated(), ProtocolVersion::V3_0);
        assert_eq!(ProtocolVersion::V3_0.negotiated(), ProtocolVersion::V3_0);
    }
}
