//! A line to a server that can be made to lose what the server says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes bytes on until it is dropped.
pub struct Relay {
    pub port: u16,
    deaf: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub async fn start(target: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deaf = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&deaf);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let flag = Arc::clone(&flag);
                lines.spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let there = tokio::io::copy(&mut from_client, &mut to_server);
                    let back = async {
                        let mut buffer = vec![0; 64 * 1024];
                        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                            if !flag.load(Ordering::SeqCst)
                                && to_client.write_all(&buffer[..read]).await.is_err()
                            {
                                break;
                            }
                        }
                    };
                    tokio::select! { _ = there => {}, () = back => {} }
                });
            }
        });
        Relay { port, deaf, _tasks: tasks }
    }

    /// From now on the server hears everything, and nothing it says comes back; or all is well again.
    pub fn lose_answers(&self, lose: bool) {
        self.deaf.store(lose, Ordering::SeqCst);
    }
}
