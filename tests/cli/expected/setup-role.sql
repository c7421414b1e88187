-- Rights of the login that Bellwether probes and leads the cluster with. Run it on the primary as a superuser, in the
-- database that cluster.database names. It can be run again at any time.
DO $setup$
DECLARE
    login name := 'be''ll';
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
