SELECT pg_advisory_lock(101)
SELECT pg_try_advisory_lock(101)
SELECT pg_advisory_unlock(101)
SELECT pg_advisory_unlock(101)
SELECT pg_advisory_unlock(101)
SELECT pg_catalog.pg_advisory_lock_shared(7, 8)
SELECT pg_advisory_unlock_shared(7, 8)
SELECT pg_try_advisory_lock(102), pg_try_advisory_lock(103)
SELECT pg_advisory_unlock(102)
SELECT pg_advisory_unlock_all()
SELECT pg_advisory_unlock(103)
BEGIN; SELECT pg_advisory_xact_lock(104); COMMIT
SELECT pg_advisory_unlock(104)
BEGIN; SELECT pg_advisory_lock(105); ROLLBACK
SELECT pg_advisory_unlock(105)
EXT SELECT pg_advisory_lock(106)
EXT SELECT pg_advisory_unlock(106)
SELECT pg_advisory_lock(107)
DISCARD ALL
SELECT pg_advisory_unlock(107)
CREATE FUNCTION demo.locks() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(108)'
SELECT demo.locks()
SELECT pg_advisory_unlock(108)
DROP FUNCTION demo.locks
