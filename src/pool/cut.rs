//! Shuts sockets from outside: whoever must be sure that nothing more comes from a node cannot wait for the tasks that
//! read from it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use super::stream::Stream;
use crate::topology::NodeId;

/// The sockets to the nodes that are open now, each by a handle of its own.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    next: u64,
    open: BTreeMap<(NodeId, u64), OwnedFd>,
}

/// A socket's place among those that can be cut; ends with the connection.
#[derive(Debug)]
pub(super) struct Cuttable {
    cuts: Arc<Cuts>,
    place: (NodeId, u64),
}

impl Cuts {
    /// Makes `stream` one that can be cut. Errs when the process has no file descriptor left.
    pub fn add(self: &Arc<Self>, node: NodeId, stream: &Stream) -> io::Result<Cuttable> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        let mut sockets = self.sockets();
        let place = (node, sockets.next);
        sockets.next += 1;
        sockets.open.insert(place, socket);
        Ok(Cuttable { cuts: Arc::clone(self), place })
    }

    /// Shuts every socket to `node`, both ways: who reads from it meets its end, behind what had come already.
    pub fn cut(&self, node: NodeId) {
        for socket in self.sockets().open.range((node, 0)..=(node, u64::MAX)).map(|(_, socket)| socket) {
            // One that the other side has closed is no longer connected, which is as good.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().expect("no panic happens under this lock")
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.cuts.sockets().open.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn cutting_a_node_ends_its_sockets_and_no_others() {
        let cuts = Arc::<Cuts>::default();
        let pair = || UnixStream::pair().expect("a pair of sockets");
        let ((here, mut there), (other, mut elsewhere)) = (pair(), pair());
        let (mut here, mut other) = (Stream::from(here), Stream::from(other));
        let first = cuts.add(NodeId(1), &here).expect("a descriptor");
        let _second = cuts.add(NodeId(2), &other).expect("a descriptor");
        cuts.cut(NodeId(1));
        assert_eq!(here.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(there.read(&mut [0; 8]).await.expect("an end"), 0);
        elsewhere.write_all(b"x").await.expect("it is open");
        assert_eq!(other.read(&mut [0; 8]).await.expect("it is open"), 1);
        drop(first);
        assert_eq!(cuts.sockets().open.len(), 1);
    }
}
