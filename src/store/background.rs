//! Handles of what goes on by itself: watches, and keys that show who is present.

use tokio::sync::watch;

/// A bell that rings when something under a prefix may have changed.
///
/// It is a hint and nothing more: it may ring for nothing, and a change may pass without it (a connection was
/// lost in between; several watch bugs of etcd 3.4 lose events for good). So whoever waits for it also reads
/// from time to time without it, and never concludes anything from its silence.
#[derive(Debug)]
pub struct Watch {
    bell: watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(bell: watch::Receiver<u64>) -> Self {
        Watch { bell }
    }

    /// Waits until something may have changed since the last call returned (or since the watch began).
    ///
    /// Cancel safe. Never returns once the store itself is gone.
    pub async fn changed(&mut self) {
        if self.bell.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A key that exists while this handle does, for people to look at. Nothing may be decided by it.
///
/// After a crash of ours it goes by itself, some seconds later: an etcd lease lives 2 seconds at the least and
/// longer after a change of leader. When the store could not be reached for a while, it comes back by itself.
#[derive(Debug)]
pub struct Presence {
    value: watch::Sender<Vec<u8>>,
}

impl Presence {
    /// Returns the handle, and what the one who keeps the key listens to: new values, and the handle's end.
    pub(super) fn new(value: Vec<u8>) -> (Self, watch::Receiver<Vec<u8>>) {
        let (sender, values) = watch::channel(value);
        (Presence { value: sender }, values)
    }

    /// Shows another value from now on. The same value again costs nothing.
    pub fn set(&self, value: Vec<u8>) {
        self.value.send_if_modified(|shown| {
            let differs = *shown != value;
            *shown = value;
            differs
        });
    }
}
