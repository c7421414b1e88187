//! The real API in front of a scripted cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bellwether::api::{Access, Places, Sources, bind};
use bellwether::telemetry::{Metrics, Names};

use super::program::bellwether;
use super::scripted::{Scripted, route};

/// It serves until it is dropped.
pub struct Api {
    pub address: SocketAddr,
    pub world: Scripted,
    _runtime: tokio::runtime::Runtime,
}

pub const TOKEN: &str = "s3cret";

impl Api {
    /// Serves on a free port; changes need [`TOKEN`].
    pub fn serve(world: Scripted) -> Api {
        Api::serve_at(world, None)
    }

    /// Serves at a socket file as well.
    pub fn serve_at(world: Scripted, socket: Option<PathBuf>) -> Api {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("one more thread");
        let names = Names {
            routes: &[],
            rules: &[],
            pins: &[],
            client_states: &[],
            rejections: &[],
            healings: &[],
            cancels: &[],
            fallbacks: &[],
            freshness: &[],
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(world.snapshot.clone()));
        let sources = Sources {
            cluster: "orders".to_owned(),
            snapshot: snapshot.clone(),
            metrics: Arc::new(Metrics::new(&names, snapshot)),
            pools: Box::new(pools),
            refusing: Box::new(|| None),
            operations: Arc::new(world.clone()),
            route: Box::new(route),
        };
        let access = Arc::new(Access::default());
        access.set_token(Some(TOKEN));
        let places = Places { address: "127.0.0.1:0".parse().ok(), socket };
        let server = runtime.block_on(bind(&places, sources, access)).expect("a free port");
        let address = server.address().expect("it is bound");
        runtime.spawn(server.run());
        Api { address, world, _runtime: runtime }
    }

    /// Runs the program against it, with the token.
    pub fn run(&self, line: &str) -> Output {
        let words: Vec<&str> = line.split(' ').collect();
        self.run_words(&words)
    }

    /// The same with arguments that may hold spaces.
    pub fn run_words(&self, arguments: &[&str]) -> Output {
        let url = self.url();
        let env = [("BELLWETHER_API", url.as_str()), ("BELLWETHER_HTTP_TOKEN", TOKEN), ("USER", "ops")];
        bellwether(arguments, &env)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn pools() -> Vec<bellwether::api::PoolStatus> {
    let pool = |node: &str, active, idle, waiting| bellwether::api::PoolStatus {
        node: node.to_owned(),
        database: "shop".to_owned(),
        user: "app".to_owned(),
        idle,
        active,
        waiting,
        ..bellwether::api::PoolStatus::default()
    };
    vec![pool("a", 3, 15, 2), pool("b", 9, 11, 0), pool("c", 0, 2, 0)]
}
