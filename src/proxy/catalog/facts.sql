-- Reads what sql::Catalog is made of. The first column of each row tells what it is; rows.rs reads them. Objects below 16384 (FirstNormalObjectId) are the system's own.
-- Functions: of an aggregate, what counts are its support functions.
SELECT 'function', p.oid, n.nspname, p.proname, p.pronargs, p.pronargdefaults, p.provariadic <> 0,
    CASE WHEN a.aggfnoid IS NULL THEN p.provolatile = 'v' ELSE EXISTS (
        SELECT FROM pg_proc s WHERE s.provolatile = 'v' AND s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
            a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
WHERE p.oid >= 16384 AND p.prokind <> 'p' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype);

-- Relations. Temporary ones belong to sessions that keep their server.
SELECT 'relation', c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND n.nspname <> 'pg_toast';

-- Children that must not be read on a standby, and whose children they are, up to the topmost parent.
WITH RECURSIVE edges AS (
    SELECT i.inhparent, i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE c.relkind = 'f' OR (c.relkind = 'r' AND c.relpersistence = 'u')
    UNION SELECT i.inhparent, i.inhrelid FROM edges e JOIN pg_inherits i ON i.inhrelid = e.inhparent)
SELECT 'part', inhparent, 'child', 'relation', inhrelid FROM edges;

-- What views, policies for reading, and defaults of arguments are made of: the OIDs in their trees. pg_depend does not
-- tell, for it leaves out what is the system's own, such as nextval().
WITH trees AS MATERIALIZED (
    SELECT ev_class AS owner, 'view' AS of, ev_action::text AS tree FROM pg_rewrite WHERE ev_type = '1' AND ev_class >= 16384
    UNION ALL SELECT p.polrelid, 'policy', p.polqual::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL AND c.relrowsecurity
    UNION ALL SELECT oid, 'default', proargdefaults::text FROM pg_proc WHERE oid >= 16384 AND proargdefaults IS NOT NULL
), found AS MATERIALIZED (
    SELECT DISTINCT t.owner, t.of, m[1] AS field, m[2]::oid AS oid
    FROM trees t, regexp_matches(t.tree, ':(funcid|aggfnoid|winfnoid|tsmhandler|opno|relid|resulttype) ([1-9][0-9]*)', 'g') m
    UNION SELECT t.owner, t.of, 'opno', o::oid
    FROM trees t, regexp_matches(t.tree, ':opnos \(o ([0-9 ]+)\)', 'g') m, regexp_split_to_table(m[1], ' +') o WHERE o <> ''
), functions AS (
    SELECT owner, of, oid FROM found WHERE field NOT IN ('opno', 'relid', 'resulttype')
    UNION SELECT f.owner, f.of, o.oprcode FROM found f JOIN pg_operator o ON o.oid = f.oid
    WHERE f.field = 'opno' AND (o.oid >= 16384 OR o.oprcode >= 16384::oid)
)
SELECT DISTINCT 'part', f.owner, f.of, CASE WHEN p.oid >= 16384 THEN 'function' ELSE 'system_function' END,
    CASE WHEN p.oid >= 16384 THEN p.oid::text ELSE p.proname::text END, p.provolatile = 'v'
FROM functions f JOIN pg_proc p ON p.oid = f.oid
UNION ALL
SELECT 'part', f.owner, f.of, CASE WHEN c.oid >= 16384 THEN 'relation' ELSE 'system_relation' END,
    CASE WHEN c.oid >= 16384 THEN c.oid::text ELSE n.nspname || '.' || c.relname END, NULL
FROM found f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.field = 'relid' AND f.oid <> f.owner
UNION ALL
SELECT 'type_part', f.owner, f.of, 'type', f.oid::text, NULL FROM found f WHERE f.field = 'resulttype' AND f.oid >= 16384
UNION ALL
SELECT 'part', owner, of, 'lock', NULL, NULL FROM trees WHERE tree ~ ':rowMarks \('
UNION ALL
-- cmin and cmax (MinCommandIdAttributeNumber, MaxCommandIdAttributeNumber)
SELECT 'part', owner, of, 'command_id', NULL, NULL FROM trees WHERE tree ~ ':varattno -[35] ';

-- Operators that run a volatile function, by themselves or as the planner may turn them round.
SELECT 'operator', n.nspname, o.oprname FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oid >= 16384 AND EXISTS (
    SELECT FROM pg_operator t JOIN pg_proc p ON p.oid = t.oprcode
    WHERE t.oid IN (o.oid, o.oprcom, o.oprnegate) AND p.provolatile = 'v');

-- Types that run volatile functions when something becomes one of them, and types made of these. Those that a cast makes must be
-- named for that; of the others there may be literals, arguments and columns whose type no text names.
WITH RECURSIVE bad AS (
    SELECT t.oid, false AS by_cast FROM pg_type t JOIN pg_proc p ON p.oid IN (t.typinput, t.typreceive, t.typmodin)
    WHERE t.oid >= 16384 AND p.oid >= 16384 AND p.provolatile = 'v'
    UNION SELECT r.rngtypid, false FROM pg_range r JOIN pg_proc p ON p.oid IN (r.rngcanonical, r.rngsubdiff)
    WHERE r.rngtypid >= 16384 AND p.provolatile = 'v'
    UNION SELECT c.casttarget, true FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc WHERE c.oid >= 16384 AND p.provolatile = 'v'
    UNION SELECT k.contypid, false FROM pg_constraint k,
        regexp_matches(k.conbin::text, ':(funcid|opno) ([1-9][0-9]*)', 'g') m
        LEFT JOIN pg_operator o ON m[1] = 'opno' AND o.oid = m[2]::oid
        JOIN pg_proc p ON p.oid = CASE m[1] WHEN 'opno' THEN o.oprcode ELSE m[2]::oid END
    WHERE k.contypid <> 0 AND k.contypid >= 16384 AND p.provolatile = 'v'
    UNION SELECT t.oid, b.by_cast FROM bad b, pg_type t
    WHERE (t.oid >= 16384 AND (t.typbasetype = b.oid OR t.typelem = b.oid
        OR EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = t.oid AND r.rngsubtype = b.oid)
        OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0
            AND a.atttypid = b.oid))))
SELECT 'type', n.nspname, t.typname, t.oid::text, NULL, NULL
FROM (SELECT DISTINCT oid FROM bad) b JOIN pg_type t ON t.oid = b.oid JOIN pg_namespace n ON n.oid = t.typnamespace
UNION ALL
SELECT DISTINCT 'part', a.attrelid::text, 'column', 'type', NULL, NULL
FROM bad b JOIN pg_attribute a ON a.atttypid = b.oid JOIN pg_class c ON c.oid = a.attrelid
WHERE NOT b.by_cast AND a.attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
UNION ALL
SELECT DISTINCT 'part', p.oid::text, 'argument', 'type', NULL, NULL
FROM bad b JOIN pg_proc p ON p.oid >= 16384 AND (p.prorettype = b.oid OR b.oid = ANY (p.proargtypes)
    OR b.oid = ANY (p.proallargtypes))
WHERE NOT b.by_cast;

-- What runs volatile functions without being named.
SELECT 'distrust', 'type' FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc
WHERE c.oid >= 16384 AND c.castcontext = 'i' AND p.provolatile = 'v'
UNION ALL
SELECT 'distrust', 'type' FROM pg_type t JOIN pg_proc p ON p.oid IN (t.typoutput, t.typsend)
WHERE t.oid >= 16384 AND p.oid >= 16384 AND p.provolatile = 'v'
UNION ALL
SELECT 'distrust', 'operator' FROM pg_opfamily f
JOIN pg_am m ON m.oid = f.opfmethod AND m.amname IN ('btree', 'hash'),
LATERAL (
    SELECT o.oprcode::oid AS oid FROM pg_amop a JOIN pg_operator o ON o.oid = a.amopopr WHERE a.amopfamily = f.oid
    UNION ALL SELECT a.amproc::oid FROM pg_amproc a WHERE a.amprocfamily = f.oid) s
JOIN pg_proc p ON p.oid = s.oid WHERE p.oid >= 16384 AND p.provolatile = 'v';

-- Search paths that sessions may start with. Our own login's setting would hide that of the server.
SELECT 'default_path', CASE WHEN EXISTS (
    SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) v
    WHERE r.rolname = session_user AND v LIKE 'search_path=%') THEN NULL ELSE reset_val END
FROM pg_settings WHERE name = 'search_path'
UNION ALL
SELECT 'default_path', substr(v, length('search_path=') + 1) FROM pg_db_role_setting s, unnest(s.setconfig) v
WHERE v LIKE 'search_path=%' AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()));

SELECT 'role_schema', n.nspname FROM pg_namespace n JOIN pg_roles r ON r.rolname = n.nspname;
