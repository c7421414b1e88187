//! Asks every node how it stands, again and again, and publishes who is who.
//!
//! `probe` asks one node once; `rounds` repeats that for all of them; `driver` feeds the answers to the pure
//! [`topology::Observer`](crate::topology::Observer) and publishes its snapshots. Where Bellwether leads, `lead` asks
//! and commands the nodes as [`cluster::decide`](crate::cluster::decide) says. Absent on purpose: any opinion on who is
//! primary (the observer's), and on who should be (the core's).

mod connector;
mod driver;
pub mod lead;
mod probe;
mod record;
mod rounds;
mod session;

pub use connector::{ByteStream, Connect, Connecting, PlainConnector};
pub use driver::{Driver, DriverEnded, Handle, Hint, start};
pub use record::{Led, Seen};
pub use session::Login;

use std::time::Duration;

use crate::topology::{LagLimits, Thresholds};

/// How nodes are probed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pause between two probes of a node while all is well. One second: lag figures are read by people,
    /// and whatever is urgent is probed at once anyway.
    pub interval: Duration,
    /// Pause between probes while there is no primary or it is in doubt. A round trip and one short query
    /// each, so even a loaded server does not notice.
    pub urgent_interval: Duration,
    /// How long one probe may take, login included. Below the interval, so that a node that hangs is
    /// counted once a round.
    pub timeout: Duration,
    /// Failures in a row until a node counts as gone, answers in a row until it is back, and how far standbys may
    /// lag.
    pub thresholds: Thresholds,
    /// Who logs in, and where.
    pub login: Login,
}

impl Settings {
    /// Returns the defaults for a given login.
    pub fn new(login: Login) -> Self {
        Settings {
            interval: Duration::from_secs(1),
            urgent_interval: Duration::from_millis(150),
            timeout: Duration::from_millis(800),
            thresholds: Thresholds { fall: 3, rise: 2, lag: LagLimits::default() },
            login,
        }
    }
}
