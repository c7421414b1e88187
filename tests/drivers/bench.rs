//! The cluster and the endpoint that the drivers meet: both take `demo` by SCRAM over TLS and in no other way.

use std::io::{Read, Write};
use std::net::TcpStream;

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess, Tls};

use crate::certificates::{self, Authority};
use crate::driver::Driver;

/// Fields are dropped in order: the proxy goes first.
pub struct Bench {
    pub proxy: ProxyProcess,
    cluster: Cluster,
}

/// Where a driver connects, as libpq's environment variables.
pub type Place = Vec<(&'static str, String)>;

impl Bench {
    /// A primary, two standbys and a proxy with default settings, so that it splits and sessions see their writes.
    pub fn start() -> Bench {
        let authority = Authority::new("an authority for drivers");
        let issued = authority.issue("server");
        let tls = Tls { certificate: issued.certificate.clone(), key: issued.key.clone(), client_ca: None };
        let hba = vec!["hostnossl all demo 127.0.0.1/32 reject".to_owned()];
        let cluster = Cluster::start(Options { tls: Some(tls), hba, ..Options::default() });
        let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
        let files = cluster.directory();
        certificates::write(files, "ca.crt", &authority.pem(), 0o644);
        certificates::write(files, "proxy.crt", &issued.certificate, 0o644);
        certificates::write(files, "proxy.key", &issued.key, 0o644);
        let path = |name: &str| files.join(name).display().to_string();
        let options = ProxyOptions::new(env!("CARGO_BIN_EXE_bellwether"))
            .with("auth.rules = [\"hostssl all all all scram-sha-256\"]")
            .with(&format!("tls.cert = {:?}", path("proxy.crt")))
            .with(&format!("tls.key = {:?}", path("proxy.key")))
            .with("server_tls.mode = \"verify-full\"")
            .with(&format!("server_tls.root_cert = {:?}", path("ca.crt")));
        let mut proxy = ProxyProcess::start(&cluster, options).unwrap_or_else(|error| panic!("{error}"));
        proxy.wait_ready(&cluster).unwrap_or_else(|error| panic!("{error}"));
        Bench { proxy, cluster }
    }

    /// Makes an empty database for one run of one driver, and waits until the standbys have it.
    pub fn database(&self, driver: &Driver, way: &str) -> String {
        let name = format!("{}_{way}", driver.key);
        let create = format!("CREATE DATABASE {name} OWNER demo");
        self.cluster.sql("a", &create).unwrap_or_else(|error| panic!("{error}"));
        self.cluster.wait_replayed().unwrap_or_else(|error| panic!("{error}"));
        name
    }

    /// The primary itself.
    pub fn direct(&self, database: &str) -> Place {
        self.place(self.cluster.port("a").expect("there is a node a"), database)
    }

    /// The endpoint.
    pub fn through(&self, database: &str) -> Place {
        self.place(self.proxy.port(), database)
    }

    /// How many statements the proxy has sent to standbys so far.
    pub fn reads_on_standbys(&self) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.proxy.http_port())).expect("HTTP is there");
        stream.write_all(b"GET /metrics HTTP/1.0\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let lines = answer.lines().filter(|line| {
            line.starts_with("bellwether_routed_total{") && line.contains("route=\"standby\"")
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// What PostgreSQL says of today and of itself: `2026-11-28, PostgreSQL 15.18`.
    pub fn when(&self) -> String {
        let sql =
            "SELECT current_date || ', PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)";
        self.cluster.sql("a", sql).unwrap_or_else(|error| panic!("{error}"))
    }

    fn place(&self, port: u16, database: &str) -> Place {
        vec![
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", port.to_string()),
            ("PGUSER", "demo".to_owned()),
            ("PGPASSWORD", "demo".to_owned()),
            ("PGDATABASE", database.to_owned()),
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", self.cluster.directory().join("ca.crt").display().to_string()),
        ]
    }
}
