SHOW work_mem
SET work_mem = '7MB'
SHOW work_mem
SET LOCAL work_mem = '1MB'
SHOW work_mem
BEGIN; SET LOCAL work_mem = '1MB'; SHOW work_mem
SHOW work_mem
COMMIT
SHOW work_mem
BEGIN; SET work_mem = '2MB'; SAVEPOINT s; SET work_mem = '3MB'
SHOW work_mem
ROLLBACK TO s
SHOW work_mem
SET work_mem = '4MB'
RELEASE s
COMMIT
SHOW work_mem
BEGIN
SET work_mem = '9MB'
ROLLBACK
SHOW work_mem
BEGIN; SAVEPOINT a; SET jit = off; SAVEPOINT b; SET work_mem = '11MB'; ROLLBACK TO a; COMMIT
SHOW work_mem
SHOW jit
BEGIN; SET work_mem = '10MB'
SELECT 1/0
COMMIT
SHOW work_mem
SET jit = off; SELECT 1/0
SHOW jit
SET jit = off; SELECT 1
SHOW jit
SET work_mem TO DEFAULT
SHOW work_mem
SET search_path TO demo, "Other one", public
SHOW search_path
SELECT current_schemas(false)
SELECT set_config('my.own', 'mine', false)
SHOW my.own
SELECT current_setting('my.own')
EXT SELECT set_config('my.own', 'extended', false)
SHOW my.own
PARSE set SELECT set_config($1, $2, false)
BIND set my.own bound
SHOW my.own
BEGIN
BIND set my.own undone
ROLLBACK
SHOW my.own
SELECT set_config('work_mem', '12MB', true)
SHOW work_mem
BEGIN; SELECT set_config('work_mem', '13MB', true); SHOW work_mem; COMMIT
SHOW work_mem
SET no_such_setting = 1
SET work_mem = 'nonsense'
SHOW work_mem
SET TIME ZONE 'Europe/Rome'
SHOW TimeZone
SELECT '2026-01-01 12:00+00'::timestamptz
SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE
SELECT '2026-01-01 12:00+00'::timestamptz
SET TIME ZONE LOCAL
SELECT '2026-01-01 12:00+00'::timestamptz
SET datestyle = German, DMY
SELECT '2026-01-31'::date
SET datestyle TO ISO
SELECT '2026-01-31'::date
SET NAMES 'LATIN1'
SHOW client_encoding
SET client_encoding = UTF8
SHOW client_encoding
SET standard_conforming_strings = off
SELECT 'a\\b'
SET standard_conforming_strings = on
SELECT 'a\\b'
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY
SHOW transaction_isolation
SHOW default_transaction_read_only
INSERT INTO t VALUES (1)
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SHOW transaction_isolation; COMMIT
SHOW transaction_isolation
BEGIN; SET work_mem = '14MB'; COMMIT AND CHAIN
SET work_mem = '15MB'
ROLLBACK AND CHAIN
SHOW work_mem
COMMIT
SHOW work_mem
SET SEED TO 0.5
SET application_name = 'it''s "mine" \ here'
SHOW application_name
SET bytea_output = escape
SELECT '\x41'::bytea
SET extra_float_digits = 0
SELECT 0.1::float8 + 0.2
SET statement_timeout = '1min'
SHOW statement_timeout
RESET statement_timeout
SHOW statement_timeout
RESET search_path
SHOW search_path
RESET ALL
SHOW work_mem
SHOW TimeZone
SHOW application_name
SHOW search_path
SHOW bytea_output
SET work_mem = '16MB'
SHOW work_mem
DISCARD ALL
SHOW work_mem
SHOW TimeZone
SHOW application_name
SHOW jit
BEGIN; SET work_mem = '17MB'; DISCARD ALL
ROLLBACK
SHOW work_mem
BEGIN; SET work_mem = '18MB'
RESET ALL
SHOW work_mem
ROLLBACK
SHOW work_mem
SET work_mem = '19MB'
BEGIN; RESET work_mem; ROLLBACK
SHOW work_mem
BEGIN; RESET ALL; ROLLBACK
SHOW work_mem
