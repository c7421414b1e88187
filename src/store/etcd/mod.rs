//! The store in etcd, version 3.4 or newer, over its gRPC.
//!
//! Calls go to one member until it fails; then the next one is asked. No lease and no watch carries safety.

mod channel;
mod endpoint;
mod keep;
mod member;
mod messages;
mod session;
mod tls;
mod translate;

pub use endpoint::{Endpoint, EndpointError};
pub use tls::{TlsFileError, TlsFiles};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::session::Session;
use self::tls::Tls;
use self::translate::Place;
use super::{Answer, Attendance, Failure, Outcome, Presence, Reading, Store, Txn, Wanted, Watch};

/// How to reach etcd, and which place in it is ours.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The members' client addresses; at least one. Those are asked in turn, the first one first.
    pub endpoints: Vec<Endpoint>,
    /// First part of every key: several installations can share one etcd.
    pub namespace: String,
    /// Second part of every key: the cluster's name.
    pub cluster: String,
    /// Needed when an endpoint is `https`.
    pub tls: Option<TlsFiles>,
    /// User and password, where etcd has authentication switched on.
    pub login: Option<(String, String)>,
    /// How long one member may take to answer one call, its connection included.
    pub timeout: Duration,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nobody to ask.
    #[error("no etcd endpoint is given")]
    NoEndpoint,
    /// `https` without [`Settings::tls`].
    #[error("endpoint {0} is https, and no file of authorities is given to check its certificate")]
    NoAuthorities(Endpoint),
    /// A file for TLS is no good.
    #[error(transparent)]
    Files(#[from] TlsFileError),
}

/// A cluster's place in etcd. Clones share connections.
#[derive(Clone)]
pub struct Etcd {
    session: Arc<Session>,
    place: Place,
}

impl Etcd {
    /// Reads the files the settings name. Connects when first asked something, so etcd may be down.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        if settings.endpoints.is_empty() {
            return Err(SettingsError::NoEndpoint);
        }
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        if let (None, Some(endpoint)) = (&tls, settings.endpoints.iter().find(|endpoint| endpoint.tls)) {
            return Err(SettingsError::NoAuthorities(endpoint.clone()));
        }
        let place = Place::new(&settings.namespace, &settings.cluster);
        Ok(Etcd { session: Arc::new(Session::new(settings, tls.as_ref())), place })
    }
}

impl Store for Etcd {
    fn read<'a>(&'a self, wanted: &'a [Wanted]) -> Answer<'a, Result<Reading, Failure>> {
        Box::pin(async move {
            let question = self.place.read(wanted);
            self.session.repeatable("KV/Txn", &question, |answer| self.place.reading(answer)).await
        })
    }

    fn commit(&self, txn: Txn) -> Answer<'_, Outcome> {
        Box::pin(async move {
            let question = self.place.txn(&txn);
            self.session.once("KV/Txn", &question, |answer| self.place.outcome(answer)).await
        })
    }

    fn roll_call(&self) -> Answer<'_, Vec<Attendance>> {
        Box::pin(async move {
            // Linearizable, so that a member that is cut off from the others does not answer.
            let question = self.place.read(&[Wanted::key("identity")]);
            self.session.roll_call("KV/Txn", &question, |answer| self.place.reading(answer)).await
        })
    }

    fn watch(&self, prefix: &str) -> Watch {
        let (bell, rings) = watch::channel(0);
        tokio::spawn(keep::watch(Arc::clone(&self.session), self.place.range(&Wanted::prefix(prefix)), bell));
        Watch::new(rings)
    }

    fn present(&self, key: &str, value: Vec<u8>, lease: Duration) -> Presence {
        let (presence, values) = Presence::new(value);
        tokio::spawn(keep::presence(Arc::clone(&self.session), self.place.key(key), lease, values));
        presence
    }
}

/// Without the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoints", &self.endpoints)
            .field("namespace", &self.namespace)
            .field("cluster", &self.cluster)
            .field("tls", &self.tls)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("place", &self.place).finish_non_exhaustive()
    }
}
