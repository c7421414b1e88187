//! A connection that has not logged in: its messages, each with whatever came along in the same read.

use tokio::io::AsyncReadExt;

use super::handshake::Failure;
use crate::pg::SqlState;
use crate::pool::Stream;
use crate::wire::error_response::PgError;
use crate::wire::frame::{HEAD, Head};
use crate::wire::startup;

/// Room for most packets of a login. A read that does not fill it proves the socket empty, so that nobody asks it again
/// in vain.
const ROOM: usize = 512;

/// The connection, and what has been read of it too early.
pub struct Early {
    pub stream: Stream,
    input: Vec<u8>,
}

impl Early {
    /// Wraps a connection of which nothing was read.
    pub fn new(stream: Stream) -> Self {
        Early { stream, input: Vec::new() }
    }

    /// Reads a packet as they come before the login: with a length, without a type.
    pub async fn first_packet(&mut self) -> Result<Vec<u8>, Failure> {
        self.fill(size_of::<u32>()).await?;
        let length = match startup::first_packet_length(&self.input) {
            Ok(Some(length)) => length,
            Ok(None) => return Err(Failure::Silent),
            Err(error) => return Err(PgError::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string()).into()),
        };
        self.fill(length).await?;
        Ok(self.input.drain(..length).collect())
    }

    /// Reads a message whose body has at most `most` bytes; returns its type and body.
    pub async fn message(&mut self, most: usize) -> Result<(u8, Vec<u8>), Failure> {
        self.fill(HEAD).await?;
        let malformed = || PgError::fatal(SqlState::PROTOCOL_VIOLATION, "invalid message length");
        let head = Head::read(&self.input).map_err(|_| malformed())?.ok_or(Failure::Silent)?;
        if head.total - HEAD > most {
            return Err(malformed().into());
        }
        self.fill(head.total).await?;
        let body = self.input[HEAD..head.total].to_vec();
        self.input.drain(..head.total);
        Ok((head.tag, body))
    }

    /// Refuses what came behind a request for encryption: whoever has the line can have put it there.
    pub fn nothing_behind(&self, request: &str) -> Result<(), Failure> {
        if self.input.is_empty() {
            return Ok(());
        }
        let message = format!("received unencrypted data after {request} request");
        let detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.";
        Err(PgError::fatal(SqlState::PROTOCOL_VIOLATION, message).detail(detail).into())
    }

    /// Takes the connection, and what came behind the last message.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.input)
    }

    /// Waits until `length` bytes are there.
    async fn fill(&mut self, length: usize) -> Result<(), Failure> {
        while let missing @ 1.. = length.saturating_sub(self.input.len()) {
            self.input.reserve(missing.max(ROOM));
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Failure::Silent);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    async fn early(sent: &[u8]) -> Early {
        let (mut peer, ours) = UnixStream::pair().expect("socket pair");
        peer.write_all(sent).await.expect("it fits");
        Early::new(Stream::from(ours))
    }

    #[tokio::test]
    async fn what_comes_along_is_kept_for_later() {
        let mut early = early(b"\0\0\0\x09\x01\x02\x03\x04\x05p\0\0\0\x07pw\0Q\0").await;
        assert_eq!(early.first_packet().await.expect("a packet"), b"\0\0\0\x09\x01\x02\x03\x04\x05");
        assert_eq!(early.message(3).await.expect("a message"), (b'p', b"pw\0".to_vec()));
        assert_eq!(early.into_parts().1, b"Q\0");
    }

    #[tokio::test]
    async fn lengths_are_checked_before_memory_is_taken() {
        let told = |result: Result<(), Failure>| match result {
            Err(Failure::Told(error)) => error.message.to_string(),
            _ => panic!("not refused"),
        };
        let mut long = early(b"p\0\0\0\x08pw!\0").await;
        assert_eq!(told(long.message(3).await.map(|_| ())), "invalid message length");
        let mut short = early(b"\0\0\0\x07\0\0\0").await;
        assert_eq!(told(short.first_packet().await.map(|_| ())), "invalid length of startup packet");
        assert!(matches!(early(b"\0\0").await.first_packet().await, Err(Failure::Silent)));
    }
}
