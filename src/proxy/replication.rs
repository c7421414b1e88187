//! Replication connections: logged in here, then passed through to a walsender of the primary byte by byte.

use std::sync::Arc;

use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};

use super::clients::{Client, Registered};
use super::early::Early;
use super::handshake::Failure;
use super::startup::Request;
use super::state::Worker;
use crate::pg::SqlState;
use crate::pool::{CancelHandle, CancelTarget, Identity, Stream, raw_connect};
use crate::wire::error_response::PgError;
use crate::wire::startup::ProtocolVersion;
use crate::wire::write;

/// Buffer for each direction: a walsender sends messages of up to 128 KiB.
const BUFFER: usize = 64 * 1024;

/// Two open streams.
pub struct PassThrough {
    client: Stream,
    server: Stream,
    registered: Arc<Client>,
}

/// Opens the connection to the primary and greets the client.
pub(super) async fn open(
    early: Early,
    worker: &Arc<Worker>,
    request: &Request,
    identity: &Arc<Identity>,
    registered: &Registered<'_>,
) -> Result<PassThrough, Failure> {
    let (mut client, behind) = early.into_parts();
    match connect(worker, request, identity, registered).await {
        Ok((mut server, greeting)) => {
            server.write_all(&behind).await?;
            client.write_all(&greeting).await?;
            client.flush().await?;
            Ok(PassThrough { client, server, registered: registered.client.clone() })
        }
        Err(error) => {
            let mut out = Vec::new();
            error.write(&mut out);
            let _ = client.write_all(&out).await;
            let _ = client.shutdown().await;
            Err(Failure::Told(error))
        }
    }
}

async fn connect(
    worker: &Arc<Worker>,
    request: &Request,
    identity: &Arc<Identity>,
    registered: &Registered<'_>,
) -> Result<(Stream, Vec<u8>), PgError> {
    let shared = &worker.shared;
    let primary = shared.snapshot().primary.and_then(|node| shared.registry.endpoint(node));
    let endpoint =
        primary.ok_or_else(|| PgError::fatal(SqlState::CANNOT_CONNECT_NOW, "no primary is available"))?;
    let parameters: Vec<(&str, &str)> =
        request.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
    let limit = shared.registry.settings().connect_timeout;
    let (stream, greeting) = raw_connect(&endpoint, identity, ProtocolVersion::V3_0, &parameters, limit)
        .await
        .map_err(|error| error.to_pg_error())?;
    let target = CancelTarget { endpoint, pid: greeting.pid, key: greeting.key };
    registered.client.attach(Arc::new(CancelHandle::new(target)));
    registered.client.set_running(true);
    let mut out = Vec::new();
    write::authentication_ok(&mut out);
    for (name, value) in &greeting.parameters {
        write::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    write::backend_key_data(&mut out, registered.client.pid, registered.client.key());
    write::ready_for_query(&mut out, b'I');
    Ok((stream, out))
}

impl PassThrough {
    /// Copies both ways until either side ends, or the connection is to be ended.
    pub async fn run(mut self) {
        let registered = self.registered.clone();
        let ended = std::future::poll_fn(|cx| {
            if registered.poll_ended(cx) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        tokio::select! {
            _ = copy_bidirectional_with_sizes(&mut self.client, &mut self.server, BUFFER, BUFFER) => {}
            () = ended => {}
        }
        self.registered.detach();
    }
}
