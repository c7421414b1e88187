//! The texts of a lab server's `postgresql.conf` and `pg_hba.conf`, and the roles every lab has.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

/// Roles, passwords and the database of a lab, run once when a template is made.
///
/// `bellwether` is the cluster user the proxy probes and looks up verifiers with. It is a superuser here for
/// simplicity; in production `pg_monitor` and the right to call the `auth_query` function are enough.
/// `coordinator` has what leading the cluster over SQL takes and no more, [`ALTER_SYSTEM`] included.
pub(super) const ROLES: &str = "
CREATE ROLE bellwether LOGIN SUPERUSER PASSWORD 'bellwether';
CREATE ROLE coordinator LOGIN REPLICATION PASSWORD 'coordinator';
GRANT pg_monitor, pg_signal_backend TO coordinator;
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO coordinator;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO coordinator;
GRANT SELECT (rolname, rolpassword, rolcanlogin, rolvaliduntil) ON pg_authid TO coordinator;
CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'replicator';
CREATE ROLE demo LOGIN PASSWORD 'demo';
ALTER ROLE postgres PASSWORD 'postgres';
CREATE DATABASE demo OWNER demo;
";

/// The rest of what leading takes. PostgreSQL 15 is the first version that lets others than superusers have it.
pub(super) const ALTER_SYSTEM: &str = "
GRANT pg_checkpoint TO coordinator;
GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name, restore_command, synchronous_standby_names
  TO coordinator
";

/// What distinguishes one server's configuration from the next.
pub(super) struct ServerConf<'a> {
    pub(super) name: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) socket_directory: &'a Path,
    /// Where the server listens that this one streams from when it is a standby.
    pub(super) follows: Option<(Ipv4Addr, u16)>,
    /// Whether it does so over a slot of its own name there.
    pub(super) slot: bool,
    /// Whether `server.crt` and `server.key` lie in the data directory.
    pub(super) tls: bool,
    /// Whether `ca.crt` lies there too, to check client certificates.
    pub(super) client_ca: bool,
    /// Lines of the test's own; they come last and so win.
    pub(super) extra: &'a [String],
}

impl ServerConf<'_> {
    /// Returns the whole `postgresql.conf`. Durability is off and everything is small: the data is thrown away,
    /// and many of these run at once.
    pub(super) fn render(&self) -> String {
        let mut text = String::from(COMMON);
        let _ = writeln!(text, "cluster_name = '{}'", self.name);
        let _ = writeln!(text, "listen_addresses = '{}'", self.address);
        let _ = writeln!(text, "port = {}", self.port);
        let _ = writeln!(text, "unix_socket_directories = '{}'", self.socket_directory.display());
        if let Some((address, port)) = self.follows {
            let _ = writeln!(
                text,
                "primary_conninfo = 'host={address} port={port} user=replicator password=replicator \
                 application_name={}'",
                self.name
            );
            if self.slot {
                let _ = writeln!(text, "primary_slot_name = '{}'", self.name);
            }
        }
        if self.tls {
            text.push_str("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n");
        }
        if self.client_ca {
            text.push_str("ssl_ca_file = 'ca.crt'\n");
        }
        for line in self.extra {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// Returns `pg_hba.conf`: the test's lines first (the first match decides), then passwords for everybody. The
/// lab itself comes in as `postgres` over the socket in its own directory.
pub(super) fn host_rules(extra: &[String]) -> String {
    let mut text = String::new();
    for line in extra {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(HOST_RULES);
    text
}

const COMMON: &str = "# Written by the lab at every start.
max_connections = 150
superuser_reserved_connections = 5
shared_buffers = 16MB
fsync = off
full_page_writes = on
wal_level = replica
wal_log_hints = on
wal_init_zero = off
max_wal_size = 32MB
min_wal_size = 4MB
wal_keep_size = 32MB
checkpoint_timeout = 30min
max_wal_senders = 12
max_replication_slots = 12
max_prepared_transactions = 20
hot_standby = on
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 100ms
recovery_target_timeline = 'latest'
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] %q%u@%d '
lc_messages = 'C'
timezone = 'UTC'
log_timezone = 'UTC'
";

const HOST_RULES: &str = "local all         postgres              trust
local all         all                   scram-sha-256
local replication all                   scram-sha-256
host  all         all      samenet      scram-sha-256
host  replication all      samenet      scram-sha-256
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_may_overrule_any_line() {
        let extra = ["max_connections = 7".to_owned()];
        let conf = ServerConf {
            name: "b",
            address: Ipv4Addr::LOCALHOST,
            port: 15_001,
            socket_directory: Path::new("/tmp/x"),
            follows: Some((Ipv4Addr::LOCALHOST, 15_000)),
            slot: true,
            tls: false,
            client_ca: false,
            extra: &extra,
        };
        let text = conf.render();
        assert!(text.contains("primary_slot_name = 'b'"));
        assert!(text.trim_end().ends_with("max_connections = 7"));
    }
}
