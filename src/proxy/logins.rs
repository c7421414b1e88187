//! Connections that have not logged in yet: only so many at a time, and a flood pushes out its own oldest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// The logins in progress, oldest first.
///
/// An honest login takes milliseconds. Whoever opens connections and says nothing fills the list, and is then closed
/// by the connections that follow, so that others are still served.
#[derive(Debug, Default)]
pub struct Logins {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    pending: BTreeMap<u64, Arc<Notify>>,
}

/// One login in progress; its place is given up when dropped.
#[derive(Debug)]
pub struct Login<'a> {
    logins: &'a Logins,
    id: u64,
    pushed_out: Arc<Notify>,
}

impl Logins {
    /// Takes a place; with more than `limit` taken, the oldest has to go.
    pub fn enter(&self, limit: usize) -> Login<'_> {
        let pushed_out = Arc::new(Notify::new());
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        if inner.pending.len() >= limit.max(1)
            && let Some((_, oldest)) = inner.pending.pop_first()
        {
            oldest.notify_one();
        }
        inner.pending.insert(id, pushed_out.clone());
        Login { logins: self, id, pushed_out }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic happens under this lock")
    }
}

impl Login<'_> {
    /// Waits until others need the place.
    pub async fn pushed_out(&self) {
        self.pushed_out.notified().await;
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.logins.lock().pending.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_pushed_out(login: &Login<'_>) -> bool {
        pin!(login.pushed_out()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let logins = Logins::default();
        let first = logins.enter(2);
        let second = logins.enter(2);
        assert!(!is_pushed_out(&first));
        let third = logins.enter(2);
        assert!(is_pushed_out(&first));
        assert!(!is_pushed_out(&second) && !is_pushed_out(&third));
        drop((first, second, third));
        assert!(logins.lock().pending.is_empty());
    }
}
