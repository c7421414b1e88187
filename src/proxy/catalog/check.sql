-- Tells whether the catalog may have changed: a row that replaces another has a later xmin than all before it, so count and
-- sum of the xmins are the same only if the rows are (until transaction numbers have gone all the way round).
SELECT 'fingerprint', concat_ws(',',
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_proc WHERE oid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_aggregate WHERE aggfnoid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_class
        WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND relpersistence <> 't'),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_rewrite WHERE oid >= 16384 AND ev_type = '1'),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_policy),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_inherits),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_namespace),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_operator WHERE oid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_cast WHERE oid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_type
        WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0),
    -- ALTER TYPE changes the attributes of composite types, and nothing else of them.
    (SELECT concat_ws(' ', count(*), sum(a.xmin::text::int8)) FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'c' AND c.oid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_constraint WHERE contypid <> 0),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_opclass WHERE oid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_db_role_setting),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_amop WHERE oid >= 16384),
    (SELECT concat_ws(' ', count(*), sum(xmin::text::int8)) FROM pg_amproc WHERE oid >= 16384),
    (SELECT md5(string_agg(rolname, ' ' ORDER BY rolname)) FROM pg_roles),
    (SELECT reset_val FROM pg_settings WHERE name = 'search_path'));
