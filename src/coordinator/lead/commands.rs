//! The SQL of every command to a node. Each may be run twice.

use std::collections::BTreeSet;

use super::{Reach, STEP, slot, target, upstream};
use crate::cluster::{Command, SyncNames, Upstream};
use crate::coordinator::session::{Flag, Session, Trouble};
use crate::pg::SqlState;
use crate::topology::NodeName;

/// Why a command is not known to be done.
pub(super) enum Refusal {
    /// It is not done; why, for people.
    Not(String),
    /// The session was lost: it may have been done.
    Lost,
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        match trouble.code() {
            // The session was ended in the middle of it.
            Some(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN) => Refusal::Lost,
            _ if trouble.is_lost() => Refusal::Lost,
            _ => Refusal::Not(trouble.to_string()),
        }
    }
}

/// Runs a command on `me`, over a session that owns it.
pub(super) async fn run(
    session: &Session,
    me: &NodeName,
    command: &Command,
    reach: &Reach,
) -> Result<(), Refusal> {
    match command {
        Command::Own => Ok(()),
        Command::Recruit { term } => recruit(session, me, *term).await,
        Command::Follow { leader, address, term } => {
            follow(session, me, (leader, address), *term, reach).await
        }
        Command::SetSyncNames(names) => set_sync_names(session, names).await,
        Command::SetSlots(nodes) => set_slots(session, nodes).await,
        Command::TerminateSessions => terminate_sessions(session, me).await,
        Command::Promote { term } => promote(session, *term).await,
        Command::ProbeCommit => probe_commit(session).await,
        Command::Heartbeat => heartbeat(session).await,
        Command::Checkpoint => Ok(session.run("CHECKPOINT").await?),
    }
}

async fn recruit(session: &Session, me: &NodeName, term: u64) -> Result<(), Refusal> {
    let present = Present::of(session).await?;
    if upstream::read(&present.conninfo) != (Upstream::DeadEnd { term }) {
        set(session, "primary_conninfo", &upstream::dead_end(&present.conninfo, me, term)).await?;
    }
    if !present.restore_command.is_empty() {
        if present.restore_by_alter_system {
            tracing::warn!(
                node = %me,
                restore_command = present.restore_command,
                "restore_command was set by ALTER SYSTEM; it is cleared, and must be set again by hand"
            );
        }
        set(session, "restore_command", "").await?;
    }
    reload(session).await
}

async fn follow(
    session: &Session,
    me: &NodeName,
    (leader, address): (&NodeName, &str),
    term: u64,
    reach: &Reach,
) -> Result<(), Refusal> {
    let Some(place) = target::read(address) else {
        return Err(Refusal::Not(format!("\"{address}\" is not an address")));
    };
    let present = Present::of(session).await?;
    let wanted = upstream::follow(&present.conninfo, &reach.replication, me, (leader, &place), term);
    if present.conninfo != wanted {
        set(session, "primary_conninfo", &wanted).await?;
    }
    let slot = slot::name(me);
    if present.slot != slot {
        set(session, "primary_slot_name", &slot).await?;
    }
    session.run("ALTER SYSTEM RESET restore_command").await?;
    reload(session).await
}

/// What a standby's settings say now.
struct Present {
    conninfo: String,
    slot: String,
    restore_command: String,
    restore_by_alter_system: bool,
}

impl Present {
    /// Errs when the node is no standby.
    async fn of(session: &Session) -> Result<Present, Refusal> {
        let row = session.row(PRESENT).await?;
        if !row.needed::<Flag>("standby")?.0 {
            return Err(Refusal::Not("it is not in recovery".to_owned()));
        }
        Ok(Present {
            conninfo: row.text("conninfo")?.to_owned(),
            slot: row.text("slot")?.to_owned(),
            restore_command: row.text("restore_command")?.to_owned(),
            restore_by_alter_system: row.needed::<Flag>("restore_by_alter_system")?.0,
        })
    }
}

const PRESENT: &str = "\
SELECT pg_is_in_recovery() AS standby, current_setting('primary_conninfo') AS conninfo,
  current_setting('primary_slot_name') AS slot, setting AS restore_command,
  coalesce(sourcefile LIKE '%/postgresql.auto.conf', false) AS restore_by_alter_system
FROM pg_settings WHERE name = 'restore_command'";

async fn set_sync_names(session: &Session, names: &SyncNames) -> Result<(), Refusal> {
    // Sent together, as clients may be waiting; the server takes them one after the other.
    let names = names.to_string();
    let named = set(session, "synchronous_standby_names", &names);
    let (named, reloaded) = tokio::join!(biased; named, reload(session));
    named?;
    reloaded
}

async fn set_slots(session: &Session, nodes: &BTreeSet<NodeName>) -> Result<(), Refusal> {
    let rows =
        session.rows("SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical'").await?;
    let mut present = BTreeSet::new();
    for row in &rows {
        present.extend(slot::node(row.text("slot_name")?));
    }
    // Reserved at once, so that a follower that comes later finds the WAL from now on.
    for node in nodes.difference(&present) {
        let name = literal(&slot::name(node));
        session.run(&format!("SELECT pg_create_physical_replication_slot({name}, true)")).await?;
    }
    for node in present.difference(nodes) {
        let name = literal(&slot::name(node));
        session.run(&format!("SELECT pg_drop_replication_slot({name})")).await?;
    }
    Ok(())
}

/// Sessions of superusers can be ended by a superuser only; those that stay are told. What they do is kept from being
/// committed by the fence in `synchronous_standby_names`.
async fn terminate_sessions(session: &Session, me: &NodeName) -> Result<(), Refusal> {
    let row = session.row(TERMINATE).await?;
    let stay: u64 = row.needed("stay")?;
    if stay > 0 {
        tracing::warn!(node = %me, sessions = stay, "sessions of superusers cannot be ended by this role");
    }
    Ok(())
}

const TERMINATE: &str = "\
WITH others AS MATERIALIZED (
  SELECT pid, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR NOT coalesce(rolsuper, false) AS may
  FROM pg_stat_activity LEFT JOIN pg_roles ON pg_roles.oid = usesysid
  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND NOT (usename = current_user AND application_name LIKE 'bellwether %')),
ended AS MATERIALIZED (SELECT pg_terminate_backend(pid) AS sent FROM others WHERE may)
SELECT (SELECT count(*) FROM ended WHERE sent) AS ended, (SELECT count(*) FROM others WHERE NOT may) AS stay";

async fn promote(session: &Session, term: u64) -> Result<(), Refusal> {
    // The comparison and the promotion are one statement: the setting cannot change between them for this session.
    let statement = format!(
        "SELECT pg_is_in_recovery() AS standby, position({} IN current_setting('primary_conninfo')) > 0 AS carries, \
         CASE WHEN pg_is_in_recovery() AND position({0} IN current_setting('primary_conninfo')) > 0 \
         THEN pg_promote(false) END AS promoted",
        literal(&upstream::dead_end_mark(term))
    );
    let row = session.row(&statement).await?;
    if !row.needed::<Flag>("carries")?.0 {
        return Err(Refusal::Not(format!("it was not recruited for term {term}")));
    }
    // Out of recovery already: this was asked for before.
    match row.optional::<Flag>("promoted")? {
        Some(Flag(false)) => Err(Refusal::Not("the promotion could not be asked for".to_owned())),
        Some(Flag(true)) => Ok(rouse(session).await?),
        None => Ok(()),
    }
}

/// Wakes a standby that was asked to promote until it is through, or has had its time. If the request finds the startup
/// process starting a walreceiver, as one does that was recruited just before, it takes note and then sleeps all the
/// same, for up to `wal_retrieve_retry_interval` (5 s): `WaitForWALToBecomeAvailable()` gives up streaming, and the end of
/// streaming is slept over. A reload ends that sleep, unless it comes too early.
async fn rouse(session: &Session) -> Result<(), Trouble> {
    let mut pause = 2 * STEP;
    for _ in 0..5 {
        tokio::time::sleep(pause).await;
        let row = session.row("SELECT pg_is_in_recovery() AND pg_reload_conf() AS roused").await?;
        if !row.needed::<Flag>("roused")?.0 {
            break;
        }
        pause *= 2;
    }
    Ok(())
}

async fn probe_commit(session: &Session) -> Result<(), Refusal> {
    session.take_warning();
    session
        .run("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'bellwether', 'probe')")
        .await?;
    match session.take_warning() {
        false => Ok(()),
        true => Err(Refusal::Not("its wait for a synchronous standby was cancelled".to_owned())),
    }
}

/// Committed, but waiting for nobody: a message outside a transaction lies in the WAL buffers of an idle server until
/// something else is flushed, and followers would hear nothing.
async fn heartbeat(session: &Session) -> Result<(), Refusal> {
    let beat = "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'bellwether', 'beat')";
    Ok(session.run(beat).await?)
}

async fn set(session: &Session, name: &str, value: &str) -> Result<(), Trouble> {
    session.run(&format!("ALTER SYSTEM SET {name} = {}", literal(value))).await
}

async fn reload(session: &Session) -> Result<(), Refusal> {
    Ok(session.run("SELECT pg_reload_conf()").await?)
}

/// Quotes a text for SQL. Sessions of ours have `standard_conforming_strings` on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
