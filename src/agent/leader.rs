//! What the primary says of itself and of its followers, by `psql`: it and pg_rewind take the same connection string,
//! passwords, certificates and services.

use std::time::{Duration, Instant};

use super::programs::Programs;
use super::trouble::{Kind, Trouble};
use crate::pg::{Address, ConnInfo};

/// How to reach the primary.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// In the keyword form, without the password.
    conninfo: String,
    password: Option<String>,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaderFacts {
    pub(super) in_recovery: bool,
    pub(super) system_identifier: u64,
    /// The one it writes on; 0 in recovery.
    pub(super) timeline: u32,
    /// Where its latest checkpoint lies.
    pub(super) checkpoint: String,
    /// Seconds since 1970.
    pub(super) started: i64,
    pub(super) port: u16,
    /// Its major version.
    pub(super) version: String,
}

/// What it sees of a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Follower {
    /// Nothing.
    Absent,
    /// It is connected, and not yet as far.
    Behind,
    /// It has replayed what was asked for.
    CaughtUp,
}

/// How long the checkpoint after a promotion may take. A busy server spreads it; ours is asked for at once.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(120);

const FACTS: &str = "SELECT pg_is_in_recovery(), \
    (SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END, \
    (SELECT checkpoint_lsn FROM pg_control_checkpoint()), \
    extract(epoch FROM pg_postmaster_start_time())::bigint, current_setting('port'), \
    current_setting('server_version_num')::int / 10000";

impl Leader {
    /// Takes the connection string apart.
    pub(super) fn new(info: &ConnInfo, password: Option<String>) -> Result<Leader, Trouble> {
        let [address] = info.hosts.as_slice() else {
            let failure =
                Trouble::new(Kind::Usage, "the connection string of the primary must name one host");
            return Err(failure.hint("write --primary \"host=10.0.0.1 port=5432 user=bellwether\""));
        };
        let (host, port) = match address {
            Address::Tcp { host, port } => (host.clone(), *port),
            Address::Unix { directory, port } => (directory.display().to_string(), *port),
        };
        let mut conninfo = format!("host={} port={port}", quoted(&host));
        let kept = info
            .settings
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "password" | "dbname" | "application_name"));
        kept.for_each(|(key, value)| conninfo += &format!(" {key}={}", quoted(value)));
        Ok(Leader { conninfo, password: info.setting("password").map(str::to_owned).or(password) })
    }

    /// Returns the string for `database`, without the password, which others could see on a command line.
    pub(super) fn to_database(&self, database: &str) -> String {
        format!("{} dbname={}", self.conninfo, quoted(database))
    }

    /// Returns what a standby called `name` follows it by. With the password: the file is for the owner only.
    pub(super) fn to_follow(&self, name: &str) -> String {
        let password = self.password.as_ref().map(|password| format!(" password={}", quoted(password)));
        format!("{}{} application_name={}", self.conninfo, password.unwrap_or_default(), quoted(name))
    }

    /// Sets what a program finds the password by.
    pub(super) fn password<'a>(
        &self,
        command: &'a mut std::process::Command,
    ) -> &'a mut std::process::Command {
        match &self.password {
            Some(password) => command.env("PGPASSWORD", password),
            None => command,
        }
    }

    pub(super) fn facts(&self, programs: &Programs) -> Result<LeaderFacts, Trouble> {
        let said = self.sql(programs, FACTS)?;
        let fields: Vec<&str> = said.split('|').collect();
        let read = || {
            let [recovery, identifier, timeline, checkpoint, started, port, version] = fields[..] else {
                return None;
            };
            Some(LeaderFacts {
                in_recovery: recovery == "t",
                system_identifier: identifier.parse().ok()?,
                timeline: timeline.parse().ok()?,
                checkpoint: checkpoint.to_owned(),
                started: started.parse().ok()?,
                port: port.parse().ok()?,
                version: version.to_owned(),
            })
        };
        read()
            .ok_or_else(|| Trouble::failed("what the primary says of itself is not understood").cause(&said))
    }

    /// Waits until its control file tells of `timeline`: a rewind before that compares with the old one, finds nothing
    /// to do, or leaves a server that cannot start.
    pub(super) fn wait_for_checkpoint(&self, programs: &Programs, timeline: u32) -> Result<(), Trouble> {
        // Where the login may not ask for one, the server's own comes at some time.
        let asked = self.sql(programs, "CHECKPOINT");
        let deadline = Instant::now() + CHECKPOINT_WITHIN;
        loop {
            let told = self.sql(programs, "SELECT timeline_id FROM pg_control_checkpoint()")?;
            if told == timeline.to_string() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let failure = Trouble::failed("the primary has made no checkpoint since its promotion");
                let cause = asked
                    .err()
                    .and_then(|asked| asked.cause)
                    .unwrap_or_else(|| format!("its control file is on timeline {told}"));
                return Err(failure
                    .cause(cause)
                    .hint("run CHECKPOINT on the primary as a superuser, then run this again"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Makes sure that the login may read what a rewind reads: found out in the midst of it, that spoils the data.
    pub(super) fn check_rights(&self, programs: &Programs) -> Result<(), Trouble> {
        let sql = "SELECT string_agg(f, ', ') FROM unnest(ARRAY['pg_ls_dir(text, boolean, boolean)', \
            'pg_stat_file(text, boolean)', 'pg_read_binary_file(text)', \
            'pg_read_binary_file(text, bigint, bigint, boolean)']) f WHERE NOT has_function_privilege(f, 'EXECUTE')";
        match self.sql(programs, sql)?.as_str() {
            "" => Ok(()),
            missing => Err(Trouble::new(Kind::Usage, "the login may not read what a rewind needs")
                .cause(format!("it may not execute {missing} on the primary"))
                .hint("run there what `bellwether setup-role --sql --user LOGIN` prints")),
        }
    }

    /// Returns where its log stands.
    pub(super) fn position(&self, programs: &Programs) -> Result<String, Trouble> {
        self.sql(programs, "SELECT pg_current_wal_lsn()")
    }

    /// Returns whether the follower called `name` has replayed up to `position`.
    pub(super) fn follower(
        &self,
        programs: &Programs,
        name: &str,
        position: &str,
    ) -> Result<Follower, Trouble> {
        let sql = format!(
            "SELECT bool_or(state = 'streaming' AND replay_lsn >= {}::pg_lsn) FROM pg_stat_replication WHERE application_name = {}",
            literal(position),
            literal(name)
        );
        Ok(match self.sql(programs, &sql)?.as_str() {
            "t" => Follower::CaughtUp,
            "f" => Follower::Behind,
            _ => Follower::Absent,
        })
    }

    /// Whether there is a replication slot of that name that nobody uses.
    pub(super) fn has_slot(&self, programs: &Programs, name: &str) -> Result<bool, Trouble> {
        let sql = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active AND slot_name = {}",
            literal(name)
        );
        Ok(self.sql(programs, &sql)? == "1")
    }

    fn sql(&self, programs: &Programs, sql: &str) -> Result<String, Trouble> {
        let said = programs.run("psql", |command| {
            command.args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-w",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &self.to_database("postgres"),
                "-c",
                sql,
            ]);
            self.password(command).env("PGCONNECT_TIMEOUT", "10")
        })?;
        if said.success {
            return Ok(said.output);
        }
        // psql's own code for a connection that failed.
        let kind = if said.code == Some(2) { Kind::Unreachable } else { Kind::Failed };
        let message = match kind {
            Kind::Unreachable => format!("cannot connect to the primary ({})", self.conninfo),
            _ => "the primary refused a question".to_owned(),
        };
        Err(Trouble::new(kind, message)
            .cause(said.complaint)
            .hint("its rights are those of `bellwether setup-role --sql`"))
    }
}

/// Quotes a value of a connection string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_on_no_command_line() {
        let info: ConnInfo =
            r"host=h port=1 user=u password='a\'b' dbname=x sslmode=require".parse().expect("it is good");
        let leader = Leader::new(&info, None).expect("one host");
        assert_eq!(
            leader.to_database("postgres"),
            "host='h' port=1 sslmode='require' user='u' dbname='postgres'"
        );
        let followed = leader.to_follow("a");
        assert_eq!(
            followed,
            r"host='h' port=1 sslmode='require' user='u' password='a\'b' application_name='a'"
        );
        let two: ConnInfo = "host=a,b".parse().expect("it is good");
        assert!(Leader::new(&two, None).is_err());
    }
}
