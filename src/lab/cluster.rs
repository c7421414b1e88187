//! The cluster: a primary and its standbys, started, broken and mended on demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::node::{Node, Shutdown};
use super::ports::Port;
use super::run_as::RunAs;
use super::settings::{self, ServerConf};
use super::spawner::Spawner;
use super::workdir::Workdir;
use super::{Binaries, Error, psql, template};

/// What kind of cluster to start. The default is a primary `a` with standbys `b` and `c`.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many servers, 1 to 26; the first is the primary. They are named `a`, `b`, `c`, ...
    pub nodes: usize,
    /// Lines for every `postgresql.conf`, after the lab's own.
    pub conf: Vec<String>,
    /// Lines for every `pg_hba.conf`, before the lab's own.
    pub hba: Vec<String>,
    /// Certificates, when the servers shall speak TLS.
    pub tls: Option<Tls>,
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
            conf: Vec::new(),
            hba: Vec::new(),
            tls: None,
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
/// names: `postgres` (superuser), `bellwether` (the proxy's cluster user; superuser here), `replicator`, and
/// `demo`, an ordinary user who owns database `demo`.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Mutex<Node>>,
    names: Vec<String>,
    ports: Vec<Port>,
    primary: Mutex<String>,
    options: Options,
    binaries: Binaries,
    run_as: RunAs,
    spawner: Spawner,
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
        let cluster = Cluster {
            nodes: nodes.map(Mutex::new).collect(),
            ports,
            primary: Mutex::new(names[0].clone()),
            names,
            options,
            binaries,
            run_as,
            spawner: Spawner::new(),
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
        server.spawn(&self.binaries, self.run_as, &self.spawner, self.shutdown().signal())?;
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

    /// TCP port of one server, on 127.0.0.1; the same for the whole life of the cluster.
    pub fn port(&self, node: &str) -> Result<u16, Error> {
        Ok(self.ports[self.index(node)?].number())
    }

    /// Connection string (keyword form) to one server as user `demo`, over TCP.
    pub fn conninfo(&self, node: &str) -> Result<String, Error> {
        self.conninfo_as(node, "demo", "demo")
    }

    /// Connection string (keyword form) to one server over TCP. The lab's roles have their name as password.
    pub fn conninfo_as(&self, node: &str, user: &str, database: &str) -> Result<String, Error> {
        let port = self.port(node)?;
        Ok(format!("host=127.0.0.1 port={port} user={user} password={user} dbname={database}"))
    }

    /// Directory of the servers' Unix sockets (`.s.PGSQL.PORT`).
    pub fn socket_directory(&self) -> PathBuf {
        self.workdir.path().join("run")
    }

    /// The lab's directory, readable and passable for the servers' user.
    pub fn directory(&self) -> &Path {
        self.workdir.path()
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

    // ---- making it ------------------------------------------------------------------------------------

    /// Fills the directory: copies of one stopped primary, so that nobody waits for a base backup.
    fn prepare(&self) -> Result<(), Error> {
        let known = self.workdir.path().join(PRIMARY_FILE);
        if let Ok(name) = fs::read_to_string(&known) {
            self.index(name.trim())?;
            *lock(&self.primary) = name.trim().to_owned();
            return self.names.iter().try_for_each(|name| self.write_settings(name));
        }
        self.refuse_foreign_files()?;
        let sockets = self.socket_directory();
        fs::create_dir(&sockets).map_err(Error::file("cannot create", &sockets))?;
        self.run_as.own(&sockets)?;
        let template = template::prepared(&self.binaries, self.run_as, &self.names, &self.options.initdb)?;
        self.each_node(|name| {
            let data = self.data_directory(name)?;
            template::copy(&template, &data, self.run_as)?;
            // A server has no use for a slot of its own name, now or as a primary.
            let _ = fs::remove_dir_all(data.join("pg_replslot").join(name));
            if *name != self.names[0] {
                template::write(&data.join("standby.signal"), "", self.run_as)?;
            }
            self.write_settings(name)
        })?;
        self.set_primary(&self.names[0])
    }

    /// Starts all servers together; standbys retry until their primary listens.
    fn start_all(&self) -> Result<(), Error> {
        let primary = self.primary();
        let signal = self.shutdown().signal();
        let lost = |name: &&String| **name != primary && self.node(name).is_ok_and(|node| !node.is_standby());
        let (rejoining, starting): (Vec<_>, Vec<_>) = self.names.iter().partition(lost);
        for name in &starting {
            self.node(name)?.spawn(&self.binaries, self.run_as, &self.spawner, signal)?;
        }
        for name in &starting {
            self.node(name)?.wait_ready()?;
        }
        // Only a directory kept from an earlier run can hold a former primary.
        for name in rejoining {
            self.rejoin(name)?;
        }
        self.wait_streaming()
    }

    fn refuse_foreign_files(&self) -> Result<(), Error> {
        let path = self.workdir.path();
        let mut entries = fs::read_dir(path).map_err(Error::file("cannot read", path))?;
        match entries.next() {
            Some(_) => Err(Error::Directory {
                path: path.to_owned(),
                reason: "is not empty and was not made by `bellwether demo`".to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn write_settings(&self, node: &str) -> Result<(), Error> {
        let primary = self.primary();
        self.write_settings_following(node, &primary)
    }

    fn write_settings_following(&self, node: &str, primary: &str) -> Result<(), Error> {
        let data = self.data_directory(node)?;
        let tls = self.options.tls.as_ref();
        let conf = ServerConf {
            name: node,
            port: self.port(node)?,
            socket_directory: &self.socket_directory(),
            follows: (node != primary).then_some(self.port(primary)?),
            tls: tls.is_some(),
            client_ca: tls.is_some_and(|tls| tls.client_ca.is_some()),
            extra: &self.options.conf,
        };
        if let Some(tls) = tls {
            template::write(&data.join("server.crt"), &tls.certificate, self.run_as)?;
            template::write(&data.join("server.key"), &tls.key, self.run_as)?;
            let client_ca = tls.client_ca.as_deref().unwrap_or_default();
            template::write(&data.join("ca.crt"), client_ca, self.run_as)?;
        }
        template::write(&data.join("postgresql.conf"), &conf.render(), self.run_as)?;
        template::write(&data.join("pg_hba.conf"), &settings::host_rules(&self.options.hba), self.run_as)
    }

    fn repoint_standbys(&self) -> Result<(), Error> {
        let primary = self.primary();
        for name in self.names.iter().filter(|name| **name != primary && self.is_running(name)) {
            if self.is_standby(name)? {
                self.follow(name, &primary)?;
            }
        }
        Ok(())
    }

    /// A rewound server has lost its slots (pg_rewind clears `pg_replslot`), so a new primary checks.
    fn create_slots(&self, primary: &str) -> Result<(), Error> {
        let others: Vec<&str> =
            self.names.iter().map(String::as_str).filter(|name| *name != primary).collect();
        let missing = format!(
            "SELECT pg_create_physical_replication_slot(name) FROM unnest('{{{}}}'::name[]) name \
             WHERE name NOT IN (SELECT slot_name FROM pg_replication_slots)",
            others.join(",")
        );
        self.sql(primary, &missing).map(drop)
    }

    fn set_primary(&self, node: &str) -> Result<(), Error> {
        let path = self.workdir.path().join(PRIMARY_FILE);
        fs::write(&path, node).map_err(Error::file("cannot write", &path))?;
        *lock(&self.primary) = node.to_owned();
        Ok(())
    }

    /// Runs `work` for every node at once.
    fn each_node(&self, work: impl Fn(&String) -> Result<(), Error> + Sync) -> Result<(), Error> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self.names.iter().map(|name| scope.spawn(|| work(name))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("the copying thread does not panic"))
        })
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

    fn index(&self, name: &str) -> Result<usize, Error> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| Error::NoSuchNode { name: name.to_owned(), known: self.names.join(", ") })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let how = self.shutdown();
        for node in &self.nodes {
            lock(node).begin_stop(how);
        }
        for node in &self.nodes {
            lock(node).wait_stopped();
        }
    }
}

/// In the lab's directory; holds the name of the primary and marks the directory as a lab's.
const PRIMARY_FILE: &str = "primary";

/// A panic elsewhere does not make the state wrong: every change of it is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
