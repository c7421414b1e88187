LISTEN own_news
NOTIFY own_news, 'one'
SELECT pg_notify('own_news', 'two')
SELECT 1
BEGIN; NOTIFY own_news, 'undone'; ROLLBACK
BEGIN; NOTIFY own_news, 'three'; COMMIT
SELECT pg_listening_channels()
UNLISTEN own_news
NOTIFY own_news, 'unheard'
SELECT pg_listening_channels()
BEGIN; LISTEN own_news; ROLLBACK
NOTIFY own_news, 'unheard'
LISTEN own_news
LISTEN more_news
UNLISTEN *
NOTIFY own_news, 'unheard'
LISTEN own_news
DISCARD ALL
NOTIFY own_news, 'unheard'
SELECT pg_listening_channels()
