//! The cluster: a primary and its standbys, started, broken and mended on demand.

mod setup;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::node::{Node, Shutdown};
use super::ports::Port;
use super::run_as::RunAs;
use super::spawner::Spawner;
use super::workdir::Workdir;
use super::{Binaries, Error, Host, psql, template};

/// What kind of cluster to start. The default is a primary `a` with standbys `b` and `c`.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many servers, 1 to 26; the first is the primary. They are named `a`, `b`, `c`, ...
    pub nodes: usize,
    /// Where each of them runs; those beyond run on this machine.
    pub hosts: Vec<Host>,
    /// Lines for every `postgresql.conf`, after the lab's own.
    pub conf: Vec<String>,
    /// Lines for every `pg_hba.conf`, before the lab's own.
    pub hba: Vec<String>,
    /// Certificates, when the servers shall speak TLS.
    pub tls: Option<Tls>,
    /// Whether the lab makes replication slots and has standbys use them. Whoever leads the cluster makes slots of its
    /// own, and one that nobody uses any more keeps WAL for ever.
    pub slots: bool,
    /// Further options for `initdb`.
    pub initdb: Vec<String>,
    /// Where to keep the data; `None` is a fresh temporary directory. A directory that holds a lab's data
    /// already is started as it lies.
    pub directory: Option<PathBuf>,
    /// Whether `directory` stays when the cluster stops.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodes: 3,
            hosts: Vec::new(),
            conf: Vec::new(),
            hba: Vec::new(),
            tls: None,
            slots: true,
            initdb: Vec::new(),
            directory: None,
            keep: false,
        }
    }
}

/// Certificates for the servers, PEM text.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain, for all servers the same.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Issuer of client certificates, to ask for them.
    pub client_ca: Option<String>,
}

/// A running cluster. Dropping it stops the servers and removes their directory; so does the death of this
/// process.
///
/// Methods may be called from several threads. Every lab has these roles, with passwords equal to their
/// names: `postgres` (superuser), `bellwether` (the proxy's cluster user; superuser here), `coordinator` (the
/// rights to lead the cluster over SQL, and no superuser from PostgreSQL 15 on), `replicator`, and `demo`, an
/// ordinary user who owns database `demo`.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Mutex<Node>>,
    names: Vec<String>,
    ports: Vec<Port>,
    primary: Mutex<String>,
    options: Options,
    binaries: Binaries,
    run_as: RunAs,
    /// One a node.
    spawners: Vec<Spawner>,
    // Last: its guard looks for servers still running.
    workdir: Workdir,
}

/// How long a cluster may take to come to an awaited state on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Cluster {
    /// Starts the servers and waits until every standby streams.
    pub fn start(options: Options) -> Result<Cluster, Error> {
        let binaries = Binaries::find()?;
        let run_as = RunAs::choose();
        super::reap_stale();
        let workdir = match &options.directory {
            Some(path) => Workdir::named(path, options.keep, run_as)?,
            None => Workdir::temporary(run_as)?,
        };
        let names: Vec<String> = ('a'..='z').take(options.nodes.max(1)).map(String::from).collect();
        let ports = names.iter().map(|_| Port::reserve()).collect::<Result<_, _>>()?;
        let nodes = names.iter().map(|name| Node::new(name, workdir.path()));
        let hosts = options.hosts.iter().cloned().chain(std::iter::repeat(Host::default()));
        let spawners = hosts.take(names.len()).map(|host| Spawner::on(&host)).collect();
        let cluster = Cluster {
            nodes: nodes.map(Mutex::new).collect(),
            ports,
            primary: Mutex::new(names[0].clone()),
            names,
            options,
            binaries,
            run_as,
            spawners,
            workdir,
        };
        cluster.prepare()?;
        cluster.start_all()?;
        Ok(cluster)
    }

    // ---- commands -------------------------------------------------------------------------------------

    /// Starts a stopped server as it lies: a former primary comes back as a primary (see
    /// [`rejoin`](Self::rejoin)). Returns when it answers.
    pub fn start_node(&self, node: &str) -> Result<(), Error> {
        self.write_settings(node)?;
        let mut server = self.node(node)?;
        server.spawn(&self.binaries, self.run_as, self.spawner(node)?, self.shutdown().signal())?;
        server.wait_ready()
    }

    /// Stops a running server and waits for its end.
    pub fn stop(&self, node: &str, how: Shutdown) -> Result<(), Error> {
        let mut server = self.running(node)?;
        server.begin_stop(how);
        server.wait_stopped();
        Ok(())
    }

    /// Kills a server's processes with SIGKILL, as a crash of its machine would.
    pub fn kill9(&self, node: &str) -> Result<(), Error> {
        self.running(node)?.kill();
        Ok(())
    }

    /// Kills a server's postmaster alone with SIGKILL; its children notice and end by themselves, a little later.
    pub fn kill_postmaster(&self, node: &str) -> Result<(), Error> {
        self.running(node)?.kill_postmaster();
        Ok(())
    }

    /// Stops a server's processes in their tracks: connections stay open and nobody answers.
    pub fn freeze(&self, node: &str) -> Result<(), Error> {
        self.node(node)?.freeze();
        Ok(())
    }

    /// Lets a frozen server go on as if nothing had been.
    pub fn thaw(&self, node: &str) -> Result<(), Error> {
        self.node(node)?.thaw();
        Ok(())
    }

    /// Takes note that somebody else has made `node` the primary, for [`primary`](Self::primary) and whatever
    /// follows it.
    pub fn note_primary(&self, node: &str) -> Result<(), Error> {
        self.index(node)?;
        self.set_primary(node)
    }

    /// Stops every server that runs. Whatever another thread is waiting for fails soon after.
    pub fn halt(&self) {
        let how = self.shutdown();
        for node in &self.nodes {
            lock(node).begin_stop(how);
        }
        for node in &self.nodes {
            lock(node).wait_stopped();
        }
    }

    /// Promotes a standby and waits until it accepts writes. The old primary, if it still runs, keeps running
    /// and the other standbys keep following it: two primaries, as after a careless failover. See
    /// [`switchover`](Self::switchover) and [`fail_over`](Self::fail_over) for the careful ones.
    pub fn promote(&self, node: &str) -> Result<(), Error> {
        if self.sql(node, "SELECT pg_promote(true, 60)")? != "t" {
            let detail = self.node(node)?.log_tail();
            return Err(Error::TimedOut { what: format!("promotion of {node:?}"), seconds: 60, detail });
        }
        self.set_primary(node)?;
        self.create_slots(node)
    }

    /// Promotes `node` after the primary is gone, and makes the other running standbys follow it.
    pub fn fail_over(&self, node: &str) -> Result<(), Error> {
        self.promote(node)?;
        self.repoint_standbys()
    }

    /// Hands the primary role to `node` without loss: stops the primary (which sends its last WAL first),
    /// promotes `node`, and brings the old primary back as a standby.
    pub fn switchover(&self, node: &str) -> Result<(), Error> {
        let old = self.primary();
        drop(self.running(node)?);
        self.wait_streaming()?;
        self.stop(&old, Shutdown::Fast)?;
        self.fail_over(node)?;
        self.rejoin(&old)?;
        self.wait_streaming()
    }

    /// Starts a stopped server as a standby of the present primary; a former primary is rewound first
    /// (`pg_rewind`).
    pub fn rejoin(&self, node: &str) -> Result<(), Error> {
        let primary = self.primary();
        if node == primary || self.node(node)?.is_standby() {
            return self.start_node(node);
        }
        if self.node(node)?.is_running() {
            return Err(self.node(node)?.wrong_state("is running already"));
        }
        // The rewind reads the control file, which only a checkpoint after the promotion brings up to date.
        self.sql(&primary, "CHECKPOINT")?;
        let data = self.data_directory(node)?;
        let source = format!(
            "host={} port={} user=postgres dbname=postgres",
            self.socket_directory().display(),
            self.port(&primary)?
        );
        let arguments = [
            "-D".into(),
            data.clone().into(),
            format!("--source-server={source}").into(),
            "--no-sync".into(),
        ];
        template::run(&self.binaries, "pg_rewind", self.run_as, &arguments)?;
        template::write(&data.join("standby.signal"), "", self.run_as)?;
        // The rewind copied what was set on the new primary by ALTER SYSTEM.
        template::write(&data.join("postgresql.auto.conf"), "", self.run_as)?;
        self.start_node(node)
    }

    /// Makes a standby stream from `primary` (no restart needed).
    pub fn follow(&self, node: &str, primary: &str) -> Result<(), Error> {
        self.write_settings_following(node, primary)?;
        self.node(node)?.reload();
        Ok(())
    }

    /// Stops applying WAL on a standby: it still receives, but reads go stale.
    pub fn pause_replay(&self, node: &str) -> Result<(), Error> {
        self.sql(node, "SELECT pg_wal_replay_pause()")?;
        self.wait_for(&format!("pause of replay on {node:?}"), || {
            Ok(self.sql(node, "SELECT pg_get_wal_replay_pause_state()")? == "paused")
        })
    }

    /// Lets a standby apply WAL again.
    pub fn resume_replay(&self, node: &str) -> Result<(), Error> {
        self.sql(node, "SELECT pg_wal_replay_resume()").map(drop)
    }

    /// Waits until every running standby streams from the primary.
    pub fn wait_streaming(&self) -> Result<(), Error> {
        let primary = self.primary();
        let running = self.names.iter().filter(|name| **name != primary);
        let wanted = running.filter(|name| self.is_running(name)).count().to_string();
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        self.wait_for("streaming of all standbys", || Ok(self.sql(&primary, streaming)? == wanted))
    }

    /// Waits until every running standby (whose replay is not paused) has applied all the primary wrote up to
    /// now.
    pub fn wait_replayed(&self) -> Result<(), Error> {
        let upto = self.sql(&self.primary(), "SELECT pg_current_wal_insert_lsn()")?;
        let question = format!(
            "SELECT NOT pg_is_in_recovery() OR pg_is_wal_replay_paused() OR pg_last_wal_replay_lsn() >= '{upto}'"
        );
        for name in self.names.iter().filter(|name| self.is_running(name)) {
            self.wait_for(
                &format!("replay of {upto} on {name:?}"),
                || Ok(self.sql(name, &question)? == "t"),
            )?;
        }
        Ok(())
    }

    /// Runs SQL on one server as superuser in database `demo`, and returns the rows: columns separated by `|`,
    /// no header, no final newline.
    pub fn sql(&self, node: &str, sql: &str) -> Result<String, Error> {
        let port = self.port(node)?;
        let sockets = self.socket_directory();
        let conninfo = format!("host={} port={port} user=postgres dbname=demo", sockets.display());
        psql::run(&self.binaries, &format!("node {node}"), &conninfo, sql)
    }

    /// Runs SQL over any connection string (the proxy's endpoint, for example); rows as in
    /// [`sql`](Self::sql).
    pub fn sql_at(&self, conninfo: &str, sql: &str) -> Result<String, Error> {
        psql::run(&self.binaries, "endpoint", conninfo, sql)
    }

    /// Runs a file of SQL and psql commands over any connection string.
    pub fn file_at(&self, conninfo: &str, file: &Path) -> Result<String, Error> {
        psql::run_file(&self.binaries, "endpoint", conninfo, file)
    }

    // ---- questions ------------------------------------------------------------------------------------

    /// The names of all servers, running or not, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Name of the server that was last made primary by this lab.
    pub fn primary(&self) -> String {
        lock(&self.primary).clone()
    }

    /// Whether the server's process runs.
    pub fn is_running(&self, node: &str) -> bool {
        self.node(node).is_ok_and(|mut server| server.is_running())
    }

    /// Whether the server lies (or runs) as a standby.
    pub fn is_standby(&self, node: &str) -> Result<bool, Error> {
        Ok(self.node(node)?.is_standby())
    }

    /// Where one server listens for TCP: its host's address.
    pub fn address(&self, node: &str) -> Result<Ipv4Addr, Error> {
        let host = self.options.hosts.get(self.index(node)?);
        Ok(host.map_or(Ipv4Addr::LOCALHOST, Host::address))
    }

    /// TCP port of one server; the same for the whole life of the cluster.
    pub fn port(&self, node: &str) -> Result<u16, Error> {
        Ok(self.ports[self.index(node)?].number())
    }

    /// Connection string (keyword form) to one server as user `demo`, over TCP.
    pub fn conninfo(&self, node: &str) -> Result<String, Error> {
        self.conninfo_as(node, "demo", "demo")
    }

    /// Connection string (keyword form) to one server over TCP. The lab's roles have their name as password.
    pub fn conninfo_as(&self, node: &str, user: &str, database: &str) -> Result<String, Error> {
        let (address, port) = (self.address(node)?, self.port(node)?);
        Ok(format!("host={address} port={port} user={user} password={user} dbname={database}"))
    }

    /// Directory of the servers' Unix sockets (`.s.PGSQL.PORT`).
    pub fn socket_directory(&self) -> PathBuf {
        self.workdir.path().join("run")
    }

    /// The lab's directory, readable and passable for the servers' user.
    pub fn directory(&self) -> &Path {
        self.workdir.path()
    }

    /// Whether the directory stays at the end.
    pub fn is_kept(&self) -> bool {
        self.options.keep
    }

    /// Data directory of one server.
    pub fn data_directory(&self, node: &str) -> Result<PathBuf, Error> {
        Ok(self.node(node)?.data.clone())
    }

    /// Log file of one server.
    pub fn log_file(&self, node: &str) -> Result<PathBuf, Error> {
        Ok(self.node(node)?.log.clone())
    }

    /// Process id of one server's postmaster while it runs.
    pub fn pid(&self, node: &str) -> Result<Option<u32>, Error> {
        Ok(self.node(node)?.pid())
    }

    /// The programs this cluster runs with.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    fn wait_for(&self, what: &str, mut done: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if done()? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tails = self.names.iter().filter_map(|name| Some(self.node(name).ok()?.log_tail()));
                let detail = tails.collect::<Vec<_>>().join("\n");
                return Err(Error::TimedOut { what: what.to_owned(), seconds: PATIENCE.as_secs(), detail });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How servers stop when nobody asks: data that stays deserves its checkpoint.
    fn shutdown(&self) -> Shutdown {
        if self.options.keep { Shutdown::Fast } else { Shutdown::Immediate }
    }

    fn running(&self, node: &str) -> Result<MutexGuard<'_, Node>, Error> {
        let mut server = self.node(node)?;
        if server.is_running() { Ok(server) } else { Err(server.wrong_state("is not running")) }
    }

    fn node(&self, name: &str) -> Result<MutexGuard<'_, Node>, Error> {
        Ok(lock(&self.nodes[self.index(name)?]))
    }

    fn spawner(&self, node: &str) -> Result<&Spawner, Error> {
        Ok(&self.spawners[self.index(node)?])
    }

    fn index(&self, name: &str) -> Result<usize, Error> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| Error::NoSuchNode { name: name.to_owned(), known: self.names.join(", ") })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.halt();
    }
}

/// A panic elsewhere does not make the state wrong: every change of it is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
