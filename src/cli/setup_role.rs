//! `bellwether setup-role --sql`: the SQL that gives the cluster's login the rights it needs, on PostgreSQL 13 to 18.

use super::args::SetupRoleArgs;
use super::exit;
use super::failure::Failure;
use super::render::say;

/// Prints the SQL.
///
/// # Errors
/// The name cannot be that of a role.
pub fn run(args: &SetupRoleArgs) -> Result<u8, Failure> {
    // What PostgreSQL cuts off silently, uses for its own roles, or would take for the end of the block below.
    if args.user.is_empty()
        || args.user.len() > 63
        || args.user.starts_with("pg_")
        || args.user.contains("$setup$")
    {
        let failure = Failure::usage(format!("{:?} cannot be the name of a role", args.user));
        return Err(failure.hint("use up to 63 letters; names that begin with pg_ are PostgreSQL's own"));
    }
    say(&SQL.replace("$LOGIN$", &literal(&args.user)));
    Ok(exit::DONE)
}

/// Quotes a text whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// Rights by section of the protocol. Grants on functions and parameters reach standbys by replication; those on
/// system catalogs count in the database they are made in.
const SQL: &str = r"-- Rights of the login that Bellwether probes and leads the cluster with. Run it on the primary as a superuser, in the
-- database that cluster.database names. It can be run again at any time.
DO $setup$
DECLARE
    login name := $LOGIN$;
    parameter text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = login) THEN
        EXECUTE format('CREATE ROLE %I', login);
        RAISE NOTICE 'role % is new: give it a password (\password), or a line in pg_hba.conf', login;
    END IF;
    -- Only roles with REPLICATION may make and drop slots, and follow another server.
    EXECUTE format('ALTER ROLE %I LOGIN REPLICATION', login);
    -- Watching: positions, walreceivers, settings and sessions of everybody.
    EXECUTE format('GRANT pg_monitor TO %I', login);
    -- Logins of clients: the built-in auth_query reads verifiers.
    EXECUTE format('GRANT SELECT (rolname, rolpassword, rolcanlogin, rolvaliduntil) ON pg_catalog.pg_authid TO %I', login);
    -- Leading: end sessions on an old primary, promote a standby, make changed settings count.
    EXECUTE format('GRANT pg_signal_backend TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO %I', login);
    -- `bellwether rejoin`: what pg_rewind reads on the new primary.
    EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO %I', login);
    IF current_setting('server_version_num')::integer >= 150000 THEN
        -- Following, fencing and synchronous replication are settings of the servers.
        FOREACH parameter IN ARRAY ARRAY['primary_conninfo', 'primary_slot_name', 'restore_command', 'synchronous_standby_names']
        LOOP
            EXECUTE format('GRANT ALTER SYSTEM ON PARAMETER %I TO %I', parameter, login);
        END LOOP;
        EXECUTE format('GRANT pg_checkpoint TO %I', login);
    ELSE
        RAISE WARNING 'before PostgreSQL 15 only a superuser may use ALTER SYSTEM and CHECKPOINT'
            USING HINT = format('To lead this cluster: ALTER ROLE %I SUPERUSER. To route only, this is not needed.', login);
    END IF;
END
$setup$;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(literal("o'x"), "'o''x'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        for bad in ["", "pg_x", "a$setup$b", &"x".repeat(64)] {
            assert!(run(&SetupRoleArgs { sql: true, user: bad.to_owned() }).is_err(), "{bad}");
        }
    }
}
