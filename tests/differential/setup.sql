-- What every script finds in its database: tables that only are read in base, and twenty homes.
CREATE SCHEMA keeper;
CREATE SCHEMA base AUTHORIZATION demo;
SET ROLE demo;
CREATE TABLE base.numbers (n int PRIMARY KEY, square int NOT NULL, word text);
INSERT INTO base.numbers SELECT n, n * n, CASE WHEN n % 7 > 0 THEN 'number ' || n END FROM generate_series(1, 100) AS n;
CREATE TABLE base.kinds (
    id int PRIMARY KEY, flag boolean, small int2, wide int8, exact numeric(12, 4), approximate float8, name name,
    letters varchar(20), padded char(5), bytes bytea, day date, moment timestamptz, span interval, doc jsonb,
    list int[], address inet, unique_id uuid, bits bit(4), reach int4range);
INSERT INTO base.kinds VALUES
    (1, true, -7, 9007199254740993, 3.1416, 0.1, 'naïve', 'Ärger', 'ab', '\x00ff10', '2024-02-29', '2024-02-29 12:34:56.789+00',
     '1 year 2 mons 3 days 04:05:06', '{"b": [1, null, "x"], "a": 1}', '{1,NULL,3}', '192.168.0.1/24',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', B'1010', '[1,5)'),
    (2, false, 32767, -1, -99999999.9999, 'NaN', '', '', '', '', 'infinity', '-infinity', '0', '[]', '{}', '::1',
     '00000000-0000-0000-0000-000000000000', B'0000', 'empty');
INSERT INTO base.kinds (id) VALUES (3);
CREATE TABLE base.tree (id int PRIMARY KEY, parent int REFERENCES base.tree, name text NOT NULL);
INSERT INTO base.tree VALUES (1, NULL, 'root'), (2, 1, 'left'), (3, 1, 'right'), (4, 2, 'leaf'), (5, 2, 'other leaf');
CREATE VIEW base.odd AS SELECT n, word FROM base.numbers WHERE n % 2 = 1;
CREATE FUNCTION base.doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION base.counted() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM base.numbers';
CREATE FUNCTION base.told(what text) RETURNS text LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''told %'', what; RETURN what; END';
CREATE FUNCTION base.fails(what text) RETURNS int LANGUAGE plpgsql STABLE AS
    'BEGIN RAISE EXCEPTION ''failed: %'', what USING ERRCODE = ''P4711'', HINT = ''try again'', DETAIL = ''in detail''; END';
GRANT USAGE ON SCHEMA base TO helper;
GRANT SELECT ON ALL TABLES IN SCHEMA base TO helper;
RESET ROLE;

-- t and child are the script's to write; whatever else it makes is in work_NN.
DO $$
DECLARE home text;
BEGIN
    FOR number IN 0..19 LOOP
        home := to_char(number, 'FM00');
        EXECUTE format('CREATE SCHEMA work_%s AUTHORIZATION demo', home);
        EXECUTE format('CREATE SCHEMA home_%s AUTHORIZATION demo', home);
        EXECUTE format('CREATE TABLE home_%s.t (n int PRIMARY KEY, word text)', home);
        EXECUTE format('CREATE TABLE home_%s.child (id int PRIMARY KEY, n int REFERENCES home_%s.t DEFERRABLE INITIALLY DEFERRED)', home, home);
        EXECUTE format('CREATE TABLE home_%s.log (id serial PRIMARY KEY, what text NOT NULL)', home);
        EXECUTE format('ALTER TABLE home_%s.t OWNER TO demo', home);
        EXECUTE format('ALTER TABLE home_%s.child OWNER TO demo', home);
        EXECUTE format('ALTER TABLE home_%s.log OWNER TO demo', home);
        EXECUTE format('INSERT INTO home_%s.t VALUES (1, ''one''), (2, ''two''), (3, ''three''), (4, NULL), (5, ''five'')', home);
        EXECUTE format('ANALYZE home_%s.t', home);
    END LOOP;
END $$;

-- Makes a home as it was, if it is not.
CREATE FUNCTION keeper.tidy(home text) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '20s' SET client_min_messages = warning AS $$
DECLARE
    work regnamespace := ('work_' || home)::regnamespace;
    content text;
    others int;
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = work) OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = work)
        OR EXISTS (SELECT FROM pg_type WHERE typnamespace = work) THEN
        EXECUTE format('DROP SCHEMA work_%s CASCADE', home);
        EXECUTE format('CREATE SCHEMA work_%s AUTHORIZATION demo', home);
    END IF;
    EXECUTE format('SELECT string_agg(t::text, '' '' ORDER BY n) FROM home_%s.t', home) INTO content;
    EXECUTE format('SELECT (SELECT count(*) FROM home_%s.child) + (SELECT last_value + is_called::int - 1 FROM home_%s.log_id_seq)', home, home) INTO others;
    IF content IS DISTINCT FROM '(1,one) (2,two) (3,three) (4,) (5,five)' OR others > 0 THEN
        EXECUTE format('TRUNCATE home_%s.t, home_%s.child, home_%s.log RESTART IDENTITY', home, home, home);
        EXECUTE format('INSERT INTO home_%s.t VALUES (1, ''one''), (2, ''two''), (3, ''three''), (4, NULL), (5, ''five'')', home);
    END IF;
END $$;
ANALYZE;
