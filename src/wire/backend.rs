//! Views over the messages of a server.

use super::frame::{Body, Malformed};

/// Tags of backend messages (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
#[allow(missing_docs)] // The names are the manual's.
pub mod tag {
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// What ReadyForQuery says of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block (`I`).
    Idle,
    /// In a transaction block (`T`).
    InTransaction,
    /// In a transaction block that failed (`E`).
    Failed,
}

impl TransactionStatus {
    /// Reads the body of ReadyForQuery.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        match body {
            b"I" => Ok(TransactionStatus::Idle),
            b"T" => Ok(TransactionStatus::InTransaction),
            b"E" => Ok(TransactionStatus::Failed),
            _ => Err(Malformed::Trailing),
        }
    }

    /// Returns the byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        }
    }
}

/// What a server asks for while a connection is authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationRequest<'a> {
    /// Done.
    Ok,
    /// The password in clear.
    Cleartext,
    /// md5 of (md5 of password and user) and this salt.
    Md5 {
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// SASL, with these mechanisms on offer.
    Sasl(Vec<&'a [u8]>),
    /// Next step of SASL.
    SaslContinue(&'a [u8]),
    /// Last step of SASL.
    SaslFinal(&'a [u8]),
    /// Something we cannot do (GSSAPI, SSPI, Kerberos), by its number.
    Other(i32),
}

impl<'a> AuthenticationRequest<'a> {
    /// Reads the body of an Authentication* message.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut body = Body::new(body);
        Ok(match body.i32()? {
            0 => AuthenticationRequest::Ok,
            3 => AuthenticationRequest::Cleartext,
            5 => {
                let salt = body.bytes(4)?;
                AuthenticationRequest::Md5 { salt: [salt[0], salt[1], salt[2], salt[3]] }
            }
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    let name = body.cstr()?;
                    if name.is_empty() {
                        break;
                    }
                    mechanisms.push(name);
                }
                AuthenticationRequest::Sasl(mechanisms)
            }
            11 => AuthenticationRequest::SaslContinue(body.rest()),
            12 => AuthenticationRequest::SaslFinal(body.rest()),
            other => AuthenticationRequest::Other(other),
        })
    }
}

/// Reads ParameterStatus: name and value.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut body = Body::new(body);
    Ok((body.cstr()?, body.cstr()?))
}

/// Reads BackendKeyData: process id and cancel key (4 bytes, or up to 256 since protocol 3.2).
pub fn backend_key_data(body: &[u8]) -> Result<(i32, &[u8]), Malformed> {
    let mut body = Body::new(body);
    let pid = body.i32()?;
    let key = body.rest();
    if (4..=super::startup::MAX_CANCEL_KEY).contains(&key.len()) {
        Ok((pid, key))
    } else {
        Err(Malformed::Short)
    }
}

/// Reads the tag of CommandComplete, without its zero byte.
pub fn command_tag(body: &[u8]) -> Result<&[u8], Malformed> {
    Body::new(body).cstr()
}

/// Reads ParameterDescription: type OIDs, one after the other.
pub fn parameter_description(body: &[u8]) -> Result<&[u8], Malformed> {
    let mut body = Body::new(body);
    let count = usize::from(body.u16()?);
    let types = body.bytes(count * 4)?;
    body.end()?;
    Ok(types)
}

/// A column of a RowDescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// OID of its type.
    pub type_oid: i32,
    /// Modifier of its type; -1 for none.
    pub type_modifier: i32,
}

/// Reads the columns of a RowDescription into `each`.
pub fn row_description<'a>(body: &'a [u8], mut each: impl FnMut(Column<'a>)) -> Result<(), Malformed> {
    let mut body = Body::new(body);
    let count = body.i16()?;
    for _ in 0..usize::try_from(count).map_err(|_| Malformed::Short)? {
        let name = body.cstr()?;
        // OID of the table and number of the column in it.
        body.bytes(6)?;
        let type_oid = body.i32()?;
        // Length of the type.
        body.i16()?;
        let type_modifier = body.i32()?;
        // Format.
        body.i16()?;
        each(Column { name, type_oid, type_modifier });
    }
    body.end()
}

/// Reads the first row's columns of a text DataRow into `each`, which gets the index and the value.
pub fn data_row<'a>(body: &'a [u8], mut each: impl FnMut(usize, Option<&'a [u8]>)) -> Result<(), Malformed> {
    let mut body = Body::new(body);
    let count = body.i16()?;
    for index in 0..usize::try_from(count).map_err(|_| Malformed::Short)? {
        let length = body.i32()?;
        match usize::try_from(length) {
            Ok(length) => each(index, Some(body.bytes(length)?)),
            Err(_) => each(index, None),
        }
    }
    body.end()
}
