-- What only a superuser can make for the routing corpus: extensions, and foreign tables that lead nowhere.
CREATE EXTENSION citext;
CREATE EXTENSION dblink;
CREATE EXTENSION file_fdw;
CREATE EXTENSION hstore;
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION tablefunc;
CREATE EXTENSION tsm_system_rows;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE nothing (line text) SERVER files OPTIONS (filename '/dev/null');
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'nobody', password_required 'false');
GRANT USAGE ON FOREIGN SERVER elsewhere, files TO demo;
GRANT SELECT ON nothing TO demo;
