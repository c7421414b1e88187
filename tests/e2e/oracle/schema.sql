-- The schema the routing corpus speaks of. Names say what counts: `_s` is STABLE, `_v` VOLATILE, `_i` IMMUTABLE.

CREATE TABLE account (
    id int PRIMARY KEY, owner text NOT NULL, balance numeric(12,2), opened date, tags text[], profile jsonb, note varchar(40));
INSERT INTO account SELECT n, 'owner ' || n % 7, n * 10.5, date '2026-01-01' + n, ARRAY['t' || n % 3, 'all'],
    jsonb_build_object('n', n, 'even', n % 2 = 0, 'list', jsonb_build_array(n, n + 1)), NULLIF('note ' || n, 'note 5')
FROM generate_series(1, 20) n;
CREATE TABLE movement (
    id int PRIMARY KEY, account_id int REFERENCES account, amount numeric, at timestamp, kind text);
INSERT INTO movement SELECT n, n % 20 + 1, (n * 37 % 101) - 50, timestamp '2026-02-01' + n * interval '7 hours',
    (ARRAY['in', 'out', 'fee'])[n % 3 + 1] FROM generate_series(1, 60) n;
CREATE INDEX ON movement (account_id);
CREATE TABLE tree (id int PRIMARY KEY, parent int, name text);
INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'left'), (3, 1, 'right'), (4, 2, 'leaf'), (5, 3, 'leaf');
CREATE SEQUENCE counter;
CREATE TABLE numbered (id serial PRIMARY KEY, word text DEFAULT 'w');
INSERT INTO numbered (word) VALUES ('one'), ('two');
CREATE TABLE document (id int, body text, words tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED);
INSERT INTO document (id, body) VALUES (1, 'a bellwether leads the flock'), (2, 'followers read, the leader writes');

-- Relations that standbys lack, or show differently.
CREATE UNLOGGED TABLE scratch (n int);
CREATE TABLE measured (day date, value int) PARTITION BY RANGE (day);
CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO measured SELECT date '2025-12-20' + n, n FROM generate_series(0, 30) n;
CREATE TABLE mixed (n int) PARTITION BY LIST (n);
CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES IN (1);
CREATE UNLOGGED TABLE mixed_2 PARTITION OF mixed FOR VALUES IN (2);
INSERT INTO mixed VALUES (1);
CREATE TABLE ancestor (n int);
CREATE TABLE heir (word text) INHERITS (ancestor);
INSERT INTO ancestor VALUES (1); INSERT INTO heir VALUES (2, 'two');
CREATE FOREIGN TABLE distant (n int) SERVER elsewhere;
CREATE TABLE spread (n int) PARTITION BY LIST (n);
CREATE FOREIGN TABLE spread_1 PARTITION OF spread FOR VALUES IN (1) SERVER elsewhere;

-- Functions.
CREATE FUNCTION add_i(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION balance_s(int) RETURNS numeric STABLE LANGUAGE sql AS 'SELECT balance FROM account WHERE id = $1';
CREATE FUNCTION owner_s(account) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1.owner';
CREATE FUNCTION plain_v(int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION unlabelled(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION owner_v(account) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT $1.owner';
CREATE FUNCTION two_faced(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION two_faced(int, int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION by_type(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION by_type(text) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION many_s(VARIADIC int[]) RETURNS int STABLE LANGUAGE sql AS 'SELECT cardinality($1)';
CREATE FUNCTION optional_s(a int, b int DEFAULT 2) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION counted_s(a int, b bigint DEFAULT nextval('counter')) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION rows_s(int) RETURNS SETOF movement STABLE LANGUAGE sql AS 'SELECT * FROM movement WHERE account_id = $1 ORDER BY id';
CREATE FUNCTION rows_v(int) RETURNS SETOF movement VOLATILE LANGUAGE sql AS 'SELECT * FROM movement WHERE account_id = $1';
CREATE FUNCTION table_s(int) RETURNS TABLE (a int, b text) STABLE LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT $1, ''x''; END';
CREATE FUNCTION atomic_s(n int) RETURNS bigint STABLE BEGIN ATOMIC SELECT count(*) FROM account WHERE id < n; END;
CREATE FUNCTION sign(account) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE settle() LANGUAGE sql AS 'UPDATE account SET balance = balance WHERE id = 1';
CREATE AGGREGATE sum_i(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION step_v(int, int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE AGGREGATE sum_v(int) (SFUNC = step_v, STYPE = int, INITCOND = '0');
CREATE SCHEMA app;
CREATE FUNCTION app.f_s(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION app.lower(text) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT pg_catalog.lower($1)';
CREATE TABLE app.account (id int, secret text);
INSERT INTO app.account VALUES (1, 'app');
CREATE UNLOGGED TABLE app.tree (id int);

-- Operators, types, casts.
CREATE FUNCTION same_i(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE FUNCTION same_v(int, int) RETURNS boolean VOLATILE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same_i);
CREATE OPERATOR =?= (LEFTARG = int, RIGHTARG = int, FUNCTION = same_v);
CREATE OPERATOR app.<=> (LEFTARG = int, RIGHTARG = int, FUNCTION = same_v);
CREATE TYPE mood AS ENUM ('sad', 'fine', 'glad');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION checked_v(int) RETURNS boolean VOLATILE LANGUAGE sql AS 'SELECT $1 > 0';
CREATE DOMAIN odd_v AS int CHECK (checked_v(VALUE));
CREATE TYPE box_of_odd AS (n odd_v);
CREATE TYPE grade AS (n int);
CREATE FUNCTION grade_v(int) RETURNS grade VOLATILE LANGUAGE sql AS 'SELECT ROW($1)::grade';
CREATE CAST (int AS grade) WITH FUNCTION grade_v(int);
CREATE TABLE feeling (who text, how mood, both_ pair, during span, amount positive);
INSERT INTO feeling VALUES ('ann', 'glad', (1, 'x'), '[1,2)', 3), ('bob', 'sad', (2, 'y'), '[2,5)', 4);

-- Views.
CREATE VIEW rich AS SELECT id, owner, balance FROM account WHERE balance > 100;
CREATE VIEW richest AS SELECT * FROM rich ORDER BY balance DESC LIMIT 3;
CREATE VIEW with_s AS SELECT id, balance_s(id) AS b FROM account;
CREATE VIEW with_v AS SELECT id, plain_v(id) AS v FROM account;
CREATE VIEW above_v AS SELECT count(*) AS n FROM with_v;
CREATE VIEW drawing AS SELECT nextval('counter') AS n;
CREATE VIEW watching AS SELECT count(*) AS n FROM pg_stat_activity;
CREATE VIEW scratched AS SELECT * FROM scratch;
CREATE VIEW remote_view AS SELECT * FROM distant;
CREATE VIEW counting AS SELECT last_value FROM counter;
CREATE VIEW locking AS SELECT * FROM account FOR UPDATE;
CREATE VIEW commanded AS SELECT id FROM tree WHERE cmax = '0';
CREATE VIEW cataloging AS SELECT relname FROM pg_class WHERE relname LIKE 'account%';
CREATE VIEW operating AS SELECT id FROM account WHERE id =?= 1;
CREATE VIEW recursive_view AS WITH RECURSIVE r AS (SELECT id FROM tree WHERE id = 1 UNION ALL SELECT t.id FROM tree t JOIN r ON t.parent = r.id) SELECT * FROM r;
CREATE MATERIALIZED VIEW totals AS SELECT account_id, sum(amount) AS total FROM movement GROUP BY 1;

-- Row-level security.
CREATE TABLE guarded (id int, owner text);
INSERT INTO guarded VALUES (1, 'demo'), (2, 'other');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (owner = current_user);
CREATE TABLE audited (id int);
INSERT INTO audited VALUES (1);
ALTER TABLE audited ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON audited FOR SELECT USING (plain_v(id) = 1);
CREATE TABLE write_guarded (id int);
INSERT INTO write_guarded VALUES (1);
ALTER TABLE write_guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY reading ON write_guarded FOR SELECT USING (true);
CREATE POLICY writing ON write_guarded FOR INSERT WITH CHECK (plain_v(id) = 1);
CREATE TABLE policy_off (id int);
CREATE POLICY unused ON policy_off USING (plain_v(id) = 1);

-- What a write brings along.
CREATE TABLE ruled (id int);
CREATE RULE logged AS ON INSERT TO ruled DO ALSO INSERT INTO scratch VALUES (NEW.id);
ANALYZE account, movement, tree;
