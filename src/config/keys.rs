//! The table of every configuration key. The reference file, the README and the checks are made from it.

use std::time::Duration;

use super::key::{Applies, Key, Kind};

const SECRET: Kind = Kind::Secret;
const LIST: Kind = Kind::List { separator: ',' };
/// Host rules contain commas, so a semicolon stands between them in the environment.
const RULES: Kind = Kind::List { separator: ';' };
const MAX_COUNT: u64 = 1_000_000;

const POOL_MODE: Kind = Kind::Choice(&["transaction", "session"]);

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

/// A duration that may be zero.
const OPTIONAL_DURATION: Kind = Kind::Duration { min: Duration::ZERO };
const DURATION: Kind = Kind::Duration { min: Duration::from_millis(1) };

macro_rules! keys {
    ($($path:literal $kind:expr, $default:literal, $applies:ident, $what:literal, $reason:literal;)*) => {
        /// Every key, in the order of the reference file. Plain keys stand before the tables.
        pub static KEYS: &[Key] = &[$(Key {
            path: $path, kind: $kind, default: $default, applies: Applies::$applies, what: $what, reason: $reason,
        }),*];
    };
}

#[rustfmt::skip]
keys! {
    "listen" LIST, r#"["127.0.0.1:6432"]"#, Restart,
        "Where clients connect: host:port, or unix:/path of a socket file; one or several",
        "local only until you say otherwise; 6432 is the port poolers are expected on";
    "listen_read_only" LIST, "[]", Restart,
        "Where clients connect that reach standbys only: places as in listen; none by default",
        "for tools that tell reads from writes by address; all others need listen alone";
    "workers" count(0, 1024), "0", Restart,
        "Threads that serve connections; 0 takes one for each CPU the process may use but one, and at least one",
        "a transaction costs least where workers do not share CPUs with the kernel's work for the network";
    "etcd" LIST, "", Restart,
        "Members of etcd, such as http://10.0.0.9:2379: what the proxies of a cluster agree on stands there",
        "needed to lead; three members on three machines survive the loss of one; memory: serves one proxy, for trials";
    "failover" Kind::Choice(&["automatic", "manual", "observe"]), "", Restart,
        "Who promotes: Bellwether by itself, Bellwether when an operator asks, or somebody else (observe)",
        "automatic where etcd is set; observe where it is not, and beside Patroni and the like";

    "cluster.name" Kind::Text, r#""main""#, Restart,
        "Name of the cluster in logs, metrics and answers over HTTP",
        "give each cluster its own where one dashboard shows several";
    "cluster.user" Kind::Text, r#""bellwether""#, Restart,
        "Role that probes the nodes and runs auth_query",
        "a role of its own; probes need CONNECT only (with pg_monitor they see more), the built-in auth_query a superuser";
    "cluster.password" SECRET, "", Restart,
        "Password of that role",
        "leave it out where pg_hba.conf lets the role in without one, or with a certificate";
    "cluster.database" Kind::Text, r#""postgres""#, Restart,
        "Database the probes connect to",
        "exists on every server";

    "nodes.*" Kind::Text, "", Restart,
        "A server: postgres://host:port, or postgres://%2Fsocket%2Fdirectory:port",
        "the name is yours; roles are observed, so none is written here";
    "nodes.*.url" Kind::Text, "", Restart,
        "The same in the long form",
        "use the long form to set weight, reads or zone";
    "nodes.*.weight" count(0, 1000), "1", Restart,
        "Share of the reads relative to the other standbys; 0 takes none",
        "equal shares unless machines differ";
    "nodes.*.reads" Kind::Bool, "true", Restart,
        "Whether it may serve reads while it is a standby",
        "set it to false for a standby kept for backups or reports";
    "nodes.*.no_failover" Kind::Bool, "false", Restart,
        "Whether it is never promoted unless an operator names it",
        "for a standby far away, or on a smaller machine; read when the cluster is adopted";
    "nodes.*.no_sync" Kind::Bool, "false", Restart,
        "Whether commits never wait for it with leading.durability = sync",
        "for a standby far away; read when the cluster is adopted";
    "nodes.*.priority" count(0, 1000), "0", Restart,
        "Of standbys equally far, the one with the highest is promoted",
        "equal unless machines differ; read when the cluster is adopted";
    "nodes.*.zone" Kind::Text, "", Restart,
        "Where it stands, such as the name of a data centre; compared with routing.zone",
        "reads that stay in their zone are quicker, and traffic between zones is often billed";

    "leading.name" Kind::Text, r#""""#, Restart,
        "Name of this proxy among those of the cluster; empty for host name and port",
        "must be another one for each proxy, and the same one after a restart";
    "leading.coordinator" Kind::Bool, "true", Restart,
        "Whether this proxy may be the one that leads; one is active at a time",
        "set it to false on proxies far from the servers";
    "leading.replication" SECRET, "", Restart,
        "What a standby's primary_conninfo needs to log in, such as user=replicator passfile=/path",
        "needed where a node's own primary_conninfo does not say it, as on a former primary";
    "leading.max_lag_bytes" Kind::Size, r#""1MB""#, Restart,
        "The most WAL a failover by itself may lose",
        "hardly anything; raise it where a standby far away is the last resort";
    "leading.max_lag_time" DURATION, r#""10s""#, Restart,
        "How long ago a standby may have been level with the primary and be promoted by itself",
        "bytes alone say little about a standby that was cut off from a quiet primary";
    "leading.switch_lag_bytes" Kind::Size, r#""1MB""#, Restart,
        "The most WAL the new primary of a switchover may be behind when it begins",
        "what is behind is replayed while clients wait";
    "leading.durability" Kind::Choice(&["async", "sync"]), r#""async""#, Restart,
        "What a commit waits for: nobody (async), or standbys, so that a failover loses nothing (sync)",
        "sync costs each commit a round trip; read when the cluster is adopted";
    "leading.sync_standbys" count(1, 100), "1", Restart,
        "How many standbys a commit waits for with durability = sync",
        "one survives the loss of the primary; read when the cluster is adopted";
    "leading.strict" Kind::Bool, "true", Restart,
        "Whether commits wait when fewer standbys than that are left, instead of going on with less",
        "zero loss is promised only so; read when the cluster is adopted";
    "leading.permission" DURATION, r#""4s""#, Restart,
        "How long a proxy may talk to the primary after it last read in etcd that it may",
        "bridges an election of etcd; a failover waits so long for a proxy that does not answer";
    "leading.renew" DURATION, r#""500ms""#, Restart,
        "How often a proxy reads that again",
        "two lost readings in a row do no harm";
    "leading.probe" DURATION, r#""150ms""#, Restart,
        "How often the coordinator asks the primary for its health",
        "a silent primary is called silent after probe_misses and one of these";
    "leading.probe_misses" count(1, 100), "3", Restart,
        "Probes without an answer until a node is silent",
        "three forgive a lost packet and a stall; a refused connection counts at once";
    "leading.restart_grace" DURATION, r#""2s""#, Restart,
        "How long a primary that is starting up may take before it counts as lost",
        "a crashed server is often back sooner than another one is promoted";
    "leading.drain_timeout" DURATION, r#""2s""#, Restart,
        "How long a switchover waits for running transactions before it is given up",
        "clients with new transactions wait as long";
    "leading.between_failovers" DURATION, r#""1m""#, Restart,
        "The least time between two failovers, unless the new primary is certainly gone",
        "keeps a cluster in trouble from promoting one node after the other";
    "leading.hold_max" DURATION, r#""10s""#, Restart,
        "How long a statement waits for a primary before it fails",
        "longer than a failover takes; shorter than clients wait";

    "store.namespace" Kind::Text, r#""bellwether""#, Restart,
        "First part of every key in etcd: /<namespace>/<cluster.name>/",
        "lets several installations share one etcd";
    "store.timeout" DURATION, r#""500ms""#, Restart,
        "How long one member of etcd may take to answer before the next one is asked",
        "a healthy member answers in milliseconds";
    "store.user" Kind::Text, r#""""#, Restart,
        "User for etcd, where its authentication is switched on",
        "one that may read and write below the namespace";
    "store.password" SECRET, "", Restart,
        "Password of that user",
        "goes with store.user";
    "store.ca" Kind::Path, "", Restart,
        "Authorities that certificates of etcd are checked against, PEM",
        "needed where a member is https";
    "store.cert" Kind::Path, "", Restart,
        "Certificate shown to etcd, PEM",
        "for members that ask for one";
    "store.key" Kind::Path, "", Restart,
        "Private key of that certificate, PEM",
        "goes with store.cert";

    "health.interval" DURATION, r#""1s""#, Restart,
        "Pause between two probes of a node",
        "a change of primary is seen within fall times this";
    "health.timeout" DURATION, r#""800ms""#, Restart,
        "How long one probe may take",
        "less than the interval, so that probes of one node never overlap";
    "health.fall" count(1, 100), "3", Restart,
        "Failed probes in a row before a node counts as down",
        "three forgive a lost packet and a slow checkpoint";
    "health.rise" count(1, 100), "2", Restart,
        "Good probes in a row before it counts as up again",
        "two keep a server that comes and goes out of the rotation";

    "routing.split" Kind::Bool, "true", Reload,
        "Whether plain reads outside a transaction go to standbys",
        "false sends all to the primary that does not ask for a standby";
    "routing.zone" Kind::Text, r#""""#, Reload,
        "Where this proxy stands: standbys of the same zone take its reads while there is one",
        "leave it out where all are equally near";
    "routing.slow_start" OPTIONAL_DURATION, r#""10s""#, Reload,
        "Time over which the share of a standby grows, from a tenth, after it came back to others",
        "its caches are cold, and all reads at once would find it slow; 0s gives it its share at once";
    "routing.max_lag_bytes" Kind::Size, r#""256MB""#, Restart,
        "WAL a standby may have left to replay; with more it takes no reads until it is back to half; 0B for no limit",
        "far more than a healthy standby ever has: this is for one that is stuck, not for freshness";
    "routing.max_lag_time" OPTIONAL_DURATION, r#""30s""#, Restart,
        "How far a standby may be behind in time, by the proxy's clock; half of it to return; 0s for no limit",
        "longer than a checkpoint or a long query on the standby holds replay up";
    "routing.no_standby" Kind::Choice(&["primary", "error"]), r#""primary""#, Reload,
        "What becomes of a read while no standby serves reads: the primary runs it, or it fails",
        "error where the primary could not bear the reads beside its writes";

    "routing.consistency" Kind::Choice(&["session", "eventual", "bounded", "strong"]), r#""session""#, Reload,
        "How fresh reads on standbys are: session sees what it wrote and saw, bounded is never staler than two limits, strong sees the latest commit",
        "what an application expects of one server; a session changes it with SET bellwether.consistency";
    "routing.max_staleness_bytes" Kind::Size, r#""16MB""#, Reload,
        "For bounded: WAL that a standby may lack",
        "one WAL segment";
    "routing.max_staleness" OPTIONAL_DURATION, r#""10s""#, Reload,
        "For bounded: how old what a standby shows may be, by the proxy's clock",
        "what people take for a slow page; longer is an outage";
    "routing.on_stale" Kind::Choice(&["primary", "wait", "error"]), r#""primary""#, Reload,
        "What becomes of a read for which no standby is fresh enough: the primary runs it once a standby that is behind has had 50ms, or after wait_limit, or it fails",
        "wait or error where the primary could not bear the reads";
    "routing.wait_limit" OPTIONAL_DURATION, r#""500ms""#, Reload,
        "How long such a read waits for a standby with wait and error",
        "a standby further behind than that has more than the usual to replay";

    "routing.catalog_refresh" DURATION, r#""30s""#, Reload,
        "How often a database's catalog is checked for changes that did not pass through here",
        "changes that pass through count at once; the check costs the primary some milliseconds";
    "routing.primary_functions" LIST, "", Reload,
        "Functions that need the primary whatever the catalog says: name, or schema.name",
        "for one that is labelled STABLE and writes all the same";
    "routing.standby_functions" LIST, "", Reload,
        "Functions that may run on a standby although they are VOLATILE or tell of one node",
        "for one whose author left the label out, or random() and clock_timestamp()";
    "routing.primary_relations" LIST, "", Reload,
        "Tables and views read on the primary only: name, or schema.name",
        "for a table whose readers must see every commit at once";
    "routing.standby_relations" LIST, "", Reload,
        "Tables and views that may be read on a standby although they are foreign, or use volatile functions",
        "for foreign tables that a standby reaches as well";

    "pool.mode" POOL_MODE, r#""transaction""#, Reload,
        "How long a client keeps a server: for a transaction, or for its session",
        "transaction serves many clients with few servers; whatever needs a session is pinned by itself";
    "pool.size" count(1, 10_000), "20", Reload,
        "Server connections for each node, database and user",
        "a server does its best work with a few connections for each CPU";
    "pool.min" count(0, 10_000), "0", Reload,
        "Server connections kept open even when idle, once a pool has been used",
        "raise it where the first queries after a quiet time must not wait for a login";
    "pool.reserve" count(0, 10_000), "5", Reload,
        "Further connections a pool may open once a client has waited for reserve_after",
        "room for a burst without a permanently larger size";
    "pool.reserve_after" DURATION, r#""1s""#, Reload,
        "How long a client waits before the reserve is opened",
        "longer than any healthy queue of short transactions";
    "pool.max_per_user" count(0, MAX_COUNT), "0", Reload,
        "Server connections of one user on one node over all databases; 0 for no limit",
        "set it to keep one user from taking all of max_connections";
    "pool.max_per_database" count(0, MAX_COUNT), "0", Reload,
        "Server connections to one database on one node over all users; 0 for no limit",
        "set it to keep one database from taking all of max_connections";
    "pool.max_per_node" count(0, MAX_COUNT), "0", Reload,
        "Server connections to one node over all users and databases; 0 for no limit",
        "keep it below the servers' max_connections less what others need";
    "pool.max_clients" count(1, MAX_COUNT), "10000", Restart,
        "Client connections at a time; the next one is refused",
        "a client costs a few kilobytes; the limit of open files must be higher than this plus all pools";
    "pool.checkout_timeout" DURATION, r#""30s""#, Reload,
        "How long a statement waits for a server before it fails",
        "below what most drivers and load balancers wait";
    "pool.connect_timeout" DURATION, r#""5s""#, Reload,
        "How long opening a server connection may take, login included",
        "a healthy server answers in milliseconds; a dead one must not hold clients for long";
    "pool.idle_timeout" DURATION, r#""10m""#, Reload,
        "Idle time after which a server connection above pool.min is closed",
        "gives memory back after a peak";
    "pool.max_lifetime" DURATION, r#""1h""#, Reload,
        "Age after which a server connection is replaced, or up to a tenth earlier",
        "bounds the memory a backend's caches collect";
    "pool.check_after_idle" DURATION, r#""30s""#, Reload,
        "Idle time after which a server connection is asked for a sign of life before use",
        "firewalls drop quiet connections without a word";
    "pool.prepared" count(1, 100_000), "500", Reload,
        "Prepared statements kept on each server connection; the least recently used one is closed",
        "each costs memory in the backend, and more than a few hundred are seldom in use";

    "databases.*.pool_mode" POOL_MODE, "", Reload,
        "pool.mode for one database",
        "for an application that needs its session throughout";
    "databases.*.pool_size" count(1, 10_000), "", Reload,
        "pool.size for one database",
        "for one that is much busier or much quieter than the rest";
    "users.*.pool_mode" POOL_MODE, "", Reload,
        "pool.mode for one user; counts before that of the database",
        "for a migration tool, say";

    "auth.rules" RULES, r#"["local all,replication all scram-sha-256", "host all,replication all all scram-sha-256"]"#, Reload,
        "Who may log in, and how: lines as in pg_hba.conf, the first that fits decides",
        "a password from everybody; the verifiers come from the primary, so no list of users is needed";
    "auth.verifier_file" Kind::Path, "", Reload,
        "File of lines \"user\" \"verifier\", asked before the primary",
        "for users that must be able to log in while no server answers";
    "auth.auth_query" Kind::Text, r#""SELECT rolname, rolpassword, rolcanlogin FROM pg_catalog.pg_authid WHERE rolname = $1 AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())""#, Reload,
        "Query that yields name and verifier of user $1, run on the primary as cluster.user",
        "needs a superuser; name a SECURITY DEFINER function here to do without, and qualify every name";
    "auth.login_timeout" DURATION, r#""60s""#, Reload,
        "How long a client may take to log in",
        "PostgreSQL's authentication_timeout";
    "auth.max_logins" count(1, MAX_COUNT), "1000", Reload,
        "Connections that have not logged in yet; with more, the oldest is closed",
        "strangers may cost sockets and memory only so far";

    "tls.cert" Kind::Path, "", Reload,
        "Certificate chain shown to clients, PEM; without it clients connect in plain text",
        "read again on every reload, connections stay";
    "tls.key" Kind::Path, "", Reload,
        "Private key of that certificate, PEM",
        "goes with tls.cert";
    "tls.client_ca" Kind::Path, "", Reload,
        "Authorities that client certificates are checked against, PEM",
        "needed for the method cert and for clientcert= in rules";

    "server_tls.mode" Kind::Choice(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]), r#""prefer""#, Restart,
        "TLS towards the servers, as libpq's sslmode",
        "takes what the server offers; use verify-full across a network you do not own";
    "server_tls.root_cert" Kind::Path, "", Reload,
        "Authorities that server certificates are checked against, PEM",
        "needed for verify-ca and verify-full";
    "server_tls.cert" Kind::Path, "", Reload,
        "Certificate shown to the servers, PEM",
        "for servers whose pg_hba.conf asks for one";
    "server_tls.key" Kind::Path, "", Reload,
        "Private key of that certificate, PEM",
        "goes with server_tls.cert";
    "server_tls.channel_binding" Kind::Choice(&["disable", "prefer", "require"]), r#""prefer""#, Restart,
        "Whether a SCRAM login is bound to the server's certificate, as libpq's channel_binding",
        "proves there is nobody in between, where both sides can";

    "http.listen" Kind::Text, r#""127.0.0.1:9632""#, Restart,
        "Where metrics, health and status are served: host:port; \"\" for nowhere",
        "local only: the answers name your servers and users";
    "http.token" SECRET, "", Reload,
        "What whoever changes something over HTTP must show, as a bearer token",
        "without it nothing can be changed over the network";
    "http.socket" Kind::Text, r#""""#, Restart,
        "Path of a Unix socket that serves the same, for the owner of the process only; changes need no token there",
        "for operators on the machine: bellwether status --api unix:PATH";

    "log.format" Kind::Choice(&["auto", "text", "json"]), r#""auto""#, Restart,
        "Form of the log on standard error: text, or one JSON object a line",
        "auto writes text on a terminal and JSON elsewhere";
    "log.level" Kind::Text, r#""info""#, Reload,
        "Least level logged, or a filter such as info,bellwether::pool=debug",
        "info says what changed; debug says what every session does";

    "shutdown.drain_timeout" OPTIONAL_DURATION, r#""25s""#, Reload,
        "How long transactions may go on after SIGTERM",
        "below the 30s after which Kubernetes and others kill";
}

/// Returns the row called `path`.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}
