SELECT setseed(0.25)
SELECT random()
SELECT random(), random()
DISCARD ALL
BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'of the script'
SELECT count(*) FROM t WHERE word = 'prepared'
COMMIT PREPARED 'of the script'
SELECT count(*) FROM t WHERE word = 'prepared'
BEGIN; SET work_mem = '3MB'; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'of the script'
ROLLBACK PREPARED 'of the script'
SHOW work_mem
ROLLBACK PREPARED 'of the script'
RESET work_mem
BEGIN; SELECT lo_create(424242); SELECT lo_open(424242, 393216)
SELECT lowrite(0, 'a large object')
SELECT lo_lseek(0, 2, 0), loread(0, 5)
COMMIT
SELECT loread(0, 5)
SELECT encode(lo_get(424242), 'escape')
SELECT lo_unlink(424242)
COPY t FROM STDIN
SELECT * FROM t ORDER BY n, word
COPY (SELECT * FROM t ORDER BY n, word) TO STDOUT
COPY t TO STDOUT (FORMAT nonsense)
COPY no_such_table FROM STDIN
WITH gone AS (DELETE FROM t RETURNING *) SELECT count(*) FROM gone
TRUNCATE t
CREATE PROCEDURE demo.commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); ROLLBACK; END $$
CALL demo.commits()
SELECT * FROM t
BEGIN; CALL demo.commits()
ROLLBACK
DROP PROCEDURE demo.commits
TRUNCATE t
DO $$ BEGIN RAISE NOTICE 'heard'; END $$
EXPLAIN (COSTS OFF) SELECT 1
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO t VALUES (9)
SELECT count(*) FROM t
TABLE t
VALUES (1), (2)
DELETE FROM t
VACUUM t
BEGIN; VACUUM t
ROLLBACK
