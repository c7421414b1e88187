//! Server connections by node, database and user.
//!
//! A [`Registry`] holds one [`Pool`] for each node and [`Identity`] in use; a client task checks a [`Server`] out of
//! it, owns it with its socket while it talks to it, and releases it. What is decided is decided in `core` and
//! `budget`, which are pure; the rest is sockets, tasks and wakers.
//!
//! Absent on purpose: which node to use, what a server's session state means, and when it is fit for release.

mod budget;
mod cancel;
mod checkout;
mod connect;
mod connection;
pub mod core;
mod cut;
mod desk;
mod error;
#[cfg(test)]
mod fake;
mod identity;
mod login;
mod opening;
mod registry;
mod settings;
mod stream;
pub mod tls;

pub use self::core::{Counts, Home, Patience};
pub use cancel::{CANCEL_LIMIT, CancelGuard, CancelHandle, CancelTarget, send_cancel};
pub use checkout::{Pool, PoolStats};
pub use connect::raw_connect;
pub use connection::Server;
pub use error::{CheckoutError, ConnectError, ConnectFailure};
pub use identity::Identity;
pub use login::Greeting;
pub use registry::Registry;
pub use settings::{Endpoint, Settings};
pub use stream::{Stream, prepare_tcp};

#[cfg(test)]
mod tests;
