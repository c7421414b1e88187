SELECT session_user, current_user
SET ROLE demo_other
SELECT session_user, current_user
SHOW role
BEGIN; RESET ROLE; SELECT current_user; ROLLBACK
SELECT current_user
SET ROLE nobody_of_that_name
SELECT current_user
RESET ROLE
SELECT current_user
BEGIN; SET LOCAL ROLE demo_other; SELECT current_user; COMMIT
SELECT current_user
SET ROLE demo_other
SET work_mem = '5MB'
RESET ALL
SELECT current_user
SET ROLE NONE
SELECT current_user
SET SESSION AUTHORIZATION demo
SELECT session_user, current_user
SET SESSION AUTHORIZATION postgres
SELECT session_user, current_user
RESET SESSION AUTHORIZATION
SET ROLE 'demo_other'
DISCARD ALL
SELECT session_user, current_user
SELECT set_config('role', 'demo_other', false)
SELECT current_user
SELECT set_config('role', 'none', false)
SELECT current_user
