//! A question of our own to a server: one simple query, a few text rows.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pool::Server;
use crate::wire::backend::{self, TransactionStatus, tag};
use crate::wire::error_response::{ErrorFields, PgError};
use crate::wire::frame::{HEAD, Head};
use crate::wire::write;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server refused.
    #[error("{0}")]
    Refused(PgError),
    /// The connection failed, or what came was not an answer; the server is of no more use.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        AskError::Failed(error.to_string())
    }
}

/// Runs `sql` on `server`, which must be idle, within `limit`; returns its rows.
///
/// On `Failed` the server must be dropped.
pub async fn ask(
    server: &mut Server,
    sql: &str,
    limit: Duration,
) -> Result<Vec<Vec<Option<String>>>, AskError> {
    if let Some(reset) = server.state.reset_sql() {
        tokio::time::timeout(limit, exchange(server, &reset)).await.map_err(|_| timed_out())??;
        server.state.note_reset();
    }
    tokio::time::timeout(limit, exchange(server, sql)).await.map_err(|_| timed_out())?
}

fn timed_out() -> AskError {
    AskError::Failed("no answer in time".into())
}

async fn exchange(server: &mut Server, sql: &str) -> Result<Vec<Vec<Option<String>>>, AskError> {
    let mut out = Vec::new();
    write::query(&mut out, sql.as_bytes());
    server.stream.write_all(&out).await?;
    server.stream.flush().await?;
    let mut buffer = Vec::with_capacity(4096);
    let mut rows = Vec::new();
    let mut refused = None;
    loop {
        let malformed = |error: crate::wire::frame::Malformed| AskError::Failed(error.to_string());
        while let Some(head) = Head::read(&buffer).map_err(malformed)?
            && buffer.len() >= head.total
        {
            let body = &buffer[HEAD..head.total];
            match head.tag {
                tag::DATA_ROW => rows.push(text_row(body).map_err(malformed)?),
                tag::ERROR_RESPONSE => {
                    let fields = ErrorFields::read(body);
                    if fields.is_fatal() {
                        return Err(AskError::Failed(fields.to_error().to_string()));
                    }
                    refused = Some(fields.to_error());
                }
                tag::PARAMETER_STATUS => {
                    let (name, value) = backend::parameter_status(body).map_err(malformed)?;
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    let (name, value) = (text(name), text(value));
                    server.state.note_reported(&name, &value);
                }
                tag::READY_FOR_QUERY => {
                    if TransactionStatus::read(body).map_err(malformed)? != TransactionStatus::Idle {
                        return Err(AskError::Failed("the server is inside a transaction".into()));
                    }
                    return refused.map_or(Ok(rows), |error| Err(AskError::Refused(error)));
                }
                _ => {}
            }
            buffer.drain(..head.total);
        }
        if buffer.len() > MAX_ANSWER {
            return Err(AskError::Failed("the answer is too long".into()));
        }
        if server.stream.read_buf(&mut buffer).await? == 0 {
            return Err(AskError::Failed("the server closed the connection".into()));
        }
    }
}

fn text_row(body: &[u8]) -> Result<Vec<Option<String>>, crate::wire::frame::Malformed> {
    let mut row = Vec::new();
    backend::data_row(body, |_, value| {
        row.push(value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
    })?;
    Ok(row)
}
