CREATE TEMP TABLE mine (n int)
INSERT INTO mine VALUES (1), (2)
SELECT sum(n) FROM mine
EXT SELECT count(*) FROM mine
CREATE TEMP VIEW seen AS SELECT n * 2 AS twice FROM mine
SELECT * FROM seen
DROP TABLE mine CASCADE
SELECT * FROM mine
BEGIN; CREATE TEMP TABLE short (n int) ON COMMIT DROP; INSERT INTO short VALUES (1)
SELECT * FROM short
COMMIT
SELECT * FROM short
CREATE TEMP TABLE emptied (n int) ON COMMIT DELETE ROWS
BEGIN; INSERT INTO emptied VALUES (1); SELECT count(*) FROM emptied; COMMIT
SELECT count(*) FROM emptied
DISCARD TEMP
SELECT count(*) FROM emptied
BEGIN; CREATE TEMP TABLE undone (n int); ROLLBACK
SELECT * FROM undone
CREATE FUNCTION pg_temp.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'
SELECT pg_temp.twice(21)
DROP FUNCTION pg_temp.twice
SELECT 1 AS n INTO TEMP made
SELECT * FROM made
DROP TABLE made
CREATE TEMP SEQUENCE counted
SELECT nextval('counted')
SELECT nextval('counted'), currval('counted')
DROP SEQUENCE counted
CREATE TYPE pg_temp.pair AS (a int, b int)
SELECT (1, 2)::pg_temp.pair
DROP TYPE pg_temp.pair
CREATE TABLE pg_temp.named (n int)
SELECT * FROM named
COPY named FROM STDIN
DISCARD ALL
SELECT * FROM named
DO $$ BEGIN CREATE TEMP TABLE hidden AS SELECT 7 AS n; END $$
SELECT * FROM hidden
DROP TABLE hidden
EXT CREATE TEMP TABLE ext (n int)
SELECT * FROM ext
EXT DROP TABLE ext
SELECT * FROM ext
