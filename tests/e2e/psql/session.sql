-- Run directly and through the proxy; what psql prints must be the same.
\set ON_ERROR_ROLLBACK on
\echo :SERVER_VERSION_NAME :ENCODING :SERVER_VERSION_NUM
SHOW server_version;
SELECT current_user, session_user, current_database(), current_schemas(true);

-- Several statements in one message, one of which fails: the whole message is one transaction.
CREATE TABLE t (n int PRIMARY KEY, word text NOT NULL DEFAULT 'none', at timestamptz) \; COMMENT ON TABLE t IS 'a table';
INSERT INTO t VALUES (1, 'one') \; INSERT INTO t VALUES (2, 'two') \; SELECT 1/0 \; INSERT INTO t VALUES (3);
SELECT count(*) AS none_of_them FROM t;
SELECT 1 AS first \; SELECT 2 AS second \; SELECT 3 WHERE false;

-- The describing commands: plain reads of the catalog, and many of them.
CREATE INDEX by_word ON t (lower(word)) WHERE n > 0;
CREATE VIEW v AS SELECT n, word FROM t WHERE n < 10;
CREATE FUNCTION f(a int, b text DEFAULT 'x') RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT a';
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE SEQUENCE s;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
\d
\d t
\d+ t
\d+ v
\dt
\di
\dv
\ds
\df
\df+ f
\dT
\dT+ mood
\dD
\dn
\dn+
\du
\drds
\dp
\ddp
\dx
\dE
\dS pg_am
\dA
\db
\dc utf8*
\dC oid
\dF english
\dO "C"
\dL
\do ||
\dy
\l
\sf f
\sv v
\d nothing_there
\z t

-- \copy both ways, and one that fails in the middle.
\copy t (n, word) FROM stdin
10	ten
11	eleven
12	a tab\tand a backslash\\
\.
\copy t (n, word) FROM stdin WITH (FORMAT csv)
20,"twenty"
21
22,"twenty-two"
\.
\copy t (n, word) FROM PROGRAM 'printf "30\\tthirty\\n31\\tthirty-one\\n"'
\copy (SELECT n, word FROM t ORDER BY n) TO stdout
\copy t TO stdout WITH (FORMAT csv, HEADER)
\copy no_such_table TO stdout
COPY t (n, word) TO STDOUT;
COPY t (n) FROM STDIN;
40
41
\.
SELECT count(*) FROM t;

-- Errors leave the connection as it was.
SELECT * FROM nowhere;
SELEC 1;
SELECT 'x'::int;
\errverbose
INSERT INTO t VALUES (10);
SELECT 'still here' AS connection;

-- In a transaction psql sets savepoints of its own.
BEGIN;
INSERT INTO t VALUES (50, 'fifty');
INSERT INTO t VALUES (50, 'again');
SELECT * FROM nowhere;
SELECT word FROM t WHERE n = 50;
COMMIT;
\set ON_ERROR_ROLLBACK off
BEGIN;
SELECT 1/0;
SELECT 'not reached';
COMMIT;
SELECT word FROM t WHERE n = 50;

-- What psql does with results.
SELECT n, word FROM t WHERE n > 10 AND n < 13 ORDER BY n \gdesc
SELECT 40 + 2 AS answer \gset
\echo :answer
SELECT format('SELECT %L AS made', n) FROM t WHERE n < 12 ORDER BY n \gexec
SELECT 'a' AS row, 'b' AS col, 1 AS cell UNION SELECT 'a', 'c', 2 ORDER BY 2 \crosstabview
\x
SELECT n, word FROM t WHERE n = 10;
\x

-- Large results, whole and by cursor.
SELECT md5(string_agg(n::text, ',')) FROM generate_series(1, 100000) AS n;
\o |md5sum
SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 20000) AS n;
\o
\set FETCH_COUNT 1000
\o |md5sum
SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 20000) AS n;
\o
\unset FETCH_COUNT
SELECT length(repeat('wide', 2500000));

-- Settings, messages, prepared statements.
SET search_path TO pg_catalog;
SHOW search_path;
RESET search_path;
SET application_name TO 'psql at work';
SHOW application_name;
SET DateStyle TO 'German';
SELECT '2026-11-20'::date;
RESET ALL;
SELECT '2026-11-20'::date;
\encoding LATIN1
SHOW client_encoding;
\encoding UTF8
DO $$ BEGIN RAISE NOTICE 'noticed'; RAISE WARNING 'warned' USING HINT = 'a hint'; END $$;
SET client_min_messages TO debug1;
DO $$ BEGIN RAISE DEBUG 'debugged'; END $$;
RESET client_min_messages;
PREPARE p(int) AS SELECT $1 + 1 AS incremented;
EXECUTE p(1);
EXECUTE p(41);
DEALLOCATE p;
EXECUTE p(1);

-- Large objects go by FunctionCall.
\o /dev/null
\lo_import session.sql
\o
SELECT count(*) FROM pg_largeobject_metadata;
\o /dev/null
\lo_export :LASTOID /dev/null
\o
\o /dev/null
\lo_unlink :LASTOID
\o
SELECT count(*) FROM pg_largeobject_metadata;

-- Another database, as the same user, and back.
\c postgres
SELECT current_database();
\c demo
SELECT current_database();

DROP TABLE t CASCADE;
DROP FUNCTION f;
DROP TYPE mood;
DROP SEQUENCE s;
DROP DOMAIN positive;
\d
