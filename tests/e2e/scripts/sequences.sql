SELECT lastval()
SELECT currval('numbered_id_seq')
SELECT setval('numbered_id_seq', 100)
SELECT nextval('numbered_id_seq')
SELECT currval('numbered_id_seq')
SELECT lastval()
INSERT INTO numbered (n) VALUES (1), (2)
SELECT currval('numbered_id_seq')
SELECT lastval()
INSERT INTO numbered (n) VALUES (3) RETURNING id
SELECT currval(pg_get_serial_sequence('numbered', 'id'))
BEGIN; INSERT INTO numbered (n) VALUES (4); SELECT lastval(); COMMIT
SELECT lastval()
DISCARD SEQUENCES
SELECT lastval()
SELECT currval('numbered_id_seq')
INSERT INTO numbered (n) VALUES (5)
SELECT lastval()
DISCARD ALL
SELECT lastval()
