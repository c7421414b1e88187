PARSE s SELECT $1::int + 1
BIND s 1
BIND s 2
PARSE s SELECT 'taken'
EXECUTE s(5)
EXT EXECUTE s(6)
BIND s 3
DEALLOCATE s
BIND s 4
EXECUTE s(7)
PARSE s SELECT 'new ' || $1
BIND s one
CLOSE_STATEMENT s
BIND s two
CLOSE_STATEMENT s
CLOSE_STATEMENT never_there
PARSE wrong SELECT nonsense from nowhere
BIND wrong
PARSE wrong SELECT 'right'
BIND wrong
BEGIN
PARSE in_transaction SELECT 1
SELECT 1/0
PARSE in_failed SELECT 2
BIND in_transaction
ROLLBACK
BIND in_transaction
BIND in_failed
PARSE insert INSERT INTO pg_temp.none VALUES (1)
PARSE path SELECT current_schema()
SET search_path = demo
BIND path
PARSE path2 SELECT current_schema()
BIND path2
RESET search_path
BIND path
BIND path2
DEALLOCATE ALL
BIND path
PARSE path SELECT 'once more'
BIND path
DISCARD ALL
BIND path
PARSE s SELECT 1
PARSE s2 SELECT 2
DISCARD PLANS
BIND s
BIND s2
PREPARE both AS SELECT 'by sql'
PARSE both SELECT 'by protocol'
BIND both
DEALLOCATE both
PARSE both SELECT 'by protocol'
PREPARE both AS SELECT 'by sql'
EXECUTE both
BIND both
PARSE begin BEGIN
PARSE commit COMMIT
BIND begin
BIND s
BIND commit
PARSE bellwether_mine SELECT 'my name'
BIND bellwether_mine
EXECUTE bellwether_mine
DEALLOCATE bellwether_mine
