//! One member of etcd: its connection, made when needed and given up when it is silent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::channel::Channel;
use super::endpoint::Endpoint;
use super::tls::Tls;

/// A member and the connection to it.
pub(super) struct Member {
    pub(super) name: String,
    endpoint: Endpoint,
    tls: Option<Tls>,
    channel: Mutex<Option<Channel>>,
    /// Counts how often it was given up.
    trouble: watch::Sender<u64>,
}

impl Member {
    /// `tls` is used if the endpoint asks for it.
    pub(super) fn new(endpoint: Endpoint, tls: Option<&Tls>) -> Self {
        let tls = tls.filter(|_| endpoint.tls).cloned();
        let name = format!("etcd {endpoint}");
        Member { name, endpoint, tls, channel: Mutex::new(None), trouble: watch::Sender::new(0) }
    }

    /// Returns the connection, a new one if need be. Errs with what the system said, or nothing when time ran out.
    pub(super) async fn channel(&self, deadline: Instant) -> Result<Channel, Option<String>> {
        if let Some(channel) = self.slot().clone().filter(|channel| !channel.is_closed()) {
            return Ok(channel);
        }
        let opened = timeout_at(deadline, Channel::open(&self.endpoint, self.tls.as_ref())).await;
        let channel = opened.map_err(|_| None)?.map_err(Some)?;
        *self.slot() = Some(channel.clone());
        Ok(channel)
    }

    /// Lets go of a connection that brought no answer: the next call makes another, and watches look elsewhere.
    pub(super) fn give_up(&self) {
        *self.slot() = None;
        self.trouble.send_modify(|count| *count += 1);
    }

    /// Changes when the member is given up.
    pub(super) fn trouble(&self) -> watch::Receiver<u64> {
        self.trouble.subscribe()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Channel>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
