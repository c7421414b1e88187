//! Looks at what leading takes on every node, and names the SQL that mends what is missing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Reach, target};
use crate::coordinator::session::{Flag, Row, Session, Trouble};
use crate::topology::NodeName;

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// On which node.
    pub node: NodeName,
    /// What, with the value found.
    pub what: String,
    /// Whether it is as it must be; `None` when that could not be found out.
    pub good: Option<bool>,
    /// What mends it.
    pub fix: Option<String>,
}

/// Asks every node in `members`, each for a few seconds at most.
pub(super) async fn check(reach: &Arc<Reach>, members: Vec<(NodeName, String)>) -> Vec<Check> {
    let mut checks = Vec::new();
    for (node, address) in members {
        let asked = async {
            let session = reach.session(&target::node(&node, &address), "bellwether preflight").await?;
            look(&session).await
        };
        match timeout(WITHIN, asked).await {
            Ok(Ok(found)) => checks.extend(found.into_iter().map(|found| found.on(&node))),
            Ok(Err(trouble)) => checks.push(Check {
                node,
                what: format!("it cannot be asked: {trouble}"),
                good: None,
                fix: Some("bellwether setup-role --sql prints the rights that are needed".to_owned()),
            }),
            Err(_) => {
                checks.push(Check { node, what: "it does not answer".to_owned(), good: None, fix: None })
            }
        }
    }
    checks
}

const WITHIN: Duration = Duration::from_secs(5);

struct Found {
    what: String,
    good: bool,
    fix: Option<String>,
}

impl Found {
    fn on(self, node: &NodeName) -> Check {
        let fix = self.fix.filter(|_| !self.good);
        Check { node: node.clone(), what: self.what, good: Some(self.good), fix }
    }
}

async fn look(session: &Session) -> Result<Vec<Found>, Trouble> {
    let row = session.row(SETTINGS).await?;
    let granted = match row.needed::<u32>("version")? {
        150_000.. => {
            let row = session.row(GRANTED).await?;
            Granted {
                alters: row.needed::<Flag>("alter_system")?.0,
                checkpoints: row.needed::<Flag>("checkpoint")?.0,
            }
        }
        _ => Granted { alters: false, checkpoints: false },
    };
    let mut found = rights(&row, &granted)?;
    found.extend(settings(&row)?);
    Ok(found)
}

/// What every version that can be led understands.
const SETTINGS: &str = "\
SELECT current_setting('server_version_num') AS version, quote_ident(current_user) AS role,
  current_setting('wal_level') AS wal_level, current_setting('hot_standby') AS hot_standby,
  current_setting('max_wal_senders') AS max_wal_senders,
  current_setting('max_replication_slots') AS max_replication_slots,
  current_setting('wal_log_hints') = 'on' OR current_setting('data_checksums') = 'on' AS rewindable,
  (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_receiver_timeout') AS wal_receiver_timeout,
  (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS wal_sender_timeout,
  pg_has_role('pg_monitor', 'USAGE') AS monitor, pg_has_role('pg_signal_backend', 'USAGE') AS signal,
  has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS promote,
  has_function_privilege('pg_reload_conf()', 'EXECUTE') AS reload,
  has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE') AS read_file,
  has_function_privilege('pg_ls_dir(text, boolean, boolean)', 'EXECUTE')
    AND has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE')
    AND has_function_privilege('pg_read_binary_file(text)', 'EXECUTE') AS rewind,
  (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS replication,
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser";

/// What can be granted since PostgreSQL 15; before, only a superuser may.
struct Granted {
    /// ALTER SYSTEM for each setting that leading changes.
    alters: bool,
    /// CHECKPOINT: before each planned move, after each promotion, and to know that names for synchronous commit count.
    checkpoints: bool,
}

const GRANTED: &str = "\
SELECT bool_and(has_parameter_privilege(name, 'ALTER SYSTEM')) AS alter_system,
  pg_has_role('pg_checkpoint', 'USAGE') AS checkpoint FROM unnest(ARRAY[
  'primary_conninfo', 'primary_slot_name', 'restore_command', 'synchronous_standby_names']) name";

fn rights(row: &Row, granted: &Granted) -> Result<Vec<Found>, Trouble> {
    let (superuser, role) = (row.needed::<Flag>("superuser")?.0, row.text("role")?);
    let right = |column, what: &str, grant: &str| {
        let held = row.optional::<Flag>(column)?.is_some_and(|flag| flag.0);
        Ok::<_, Trouble>(Found {
            what: what.to_owned(),
            good: superuser || held,
            fix: Some(format!("{};", grant.replace("{role}", role))),
        })
    };
    let grantable = row.needed::<u32>("version")? >= 150_000;
    let since_15 = |what: &str, held: bool, grant: &str| {
        let grant = if grantable { grant } else { "ALTER ROLE {role} SUPERUSER" };
        let fix = Some(format!("{};", grant.replace("{role}", role)));
        Found { what: what.to_owned(), good: superuser || held, fix }
    };
    Ok(vec![
        right("monitor", "may see settings and statistics", "GRANT pg_monitor TO {role}")?,
        right("signal", "may end sessions", "GRANT pg_signal_backend TO {role}")?,
        right("promote", "may promote", "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO {role}")?,
        right("reload", "may reload", "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {role}")?,
        right("replication", "may make slots", "ALTER ROLE {role} REPLICATION")?,
        right(
            "read_file",
            "may read timeline histories",
            "GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO {role}",
        )?,
        right(
            "rewind",
            "may be rewound from (bellwether rejoin)",
            "GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), \
             pg_read_binary_file(text) TO {role}",
        )?,
        since_15(
            "may set what standbys follow and commits wait for",
            granted.alters,
            "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name, restore_command, \
             synchronous_standby_names TO {role}",
        ),
        since_15("may checkpoint", granted.checkpoints, "GRANT pg_checkpoint TO {role}"),
    ])
}

fn settings(row: &Row) -> Result<Vec<Found>, Trouble> {
    let version: u32 = row.needed("version")?;
    let (senders, slots): (u32, u32) = (row.needed("max_wal_senders")?, row.needed("max_replication_slots")?);
    let set = |name: &str, value: &str| {
        Some(format!("ALTER SYSTEM SET {name} = {value}; -- and restart the server"))
    };
    let mut found = vec![
        Found { what: format!("PostgreSQL {}", version / 10_000), good: version >= 130_000, fix: None },
        Found {
            what: format!("wal_level = {}", row.text("wal_level")?),
            good: row.text("wal_level")? != "minimal",
            fix: set("wal_level", "replica"),
        },
        Found {
            what: format!("hot_standby = {}", row.text("hot_standby")?),
            good: row.text("hot_standby")? == "on",
            fix: set("hot_standby", "on"),
        },
        Found {
            what: format!("max_wal_senders = {senders}"),
            good: senders >= 4,
            fix: set("max_wal_senders", "10"),
        },
        Found {
            what: format!("max_replication_slots = {slots}"),
            good: slots >= 4,
            fix: set("max_replication_slots", "10"),
        },
        Found {
            what: "checksums or wal_log_hints, so that pg_rewind can bring it back".to_owned(),
            good: row.needed::<Flag>("rewindable")?.0,
            fix: set("wal_log_hints", "on"),
        },
    ];
    for (name, millis) in [
        ("wal_receiver_timeout", row.needed::<u64>("wal_receiver_timeout")?),
        ("wal_sender_timeout", row.needed::<u64>("wal_sender_timeout")?),
    ] {
        found.push(Found {
            what: format!("{name} = {millis} ms"),
            // Longer, and a connection that died silently keeps a standby from being counted on.
            good: (1..=LONGEST_TIMEOUT_MS).contains(&millis),
            fix: Some(format!("ALTER SYSTEM SET {name} = '5s'; SELECT pg_reload_conf();")),
        });
    }
    Ok(found)
}

/// Rule 7 of the timings: at most five seconds.
const LONGEST_TIMEOUT_MS: u64 = 5000;
