"""psycopg2: puts parameters into the text and sends it by the simple protocol; statements are prepared in SQL."""
import io
import select
import threading

import psycopg2
import psycopg2.errorcodes

from checks import BIG, ROWS, SLEEPING, WORDS, expect, refusal, report, wait_until


def connect(**options):
    connection = psycopg2.connect("", **options)
    connection.autocommit = True
    return connection


def code_of(error):
    return getattr(error, "pgcode", None)


def execute(sql, *parameters, connection=None):
    cursor = (connection or client).cursor()
    cursor.execute(sql, parameters or None)
    return cursor


def one(sql, *parameters, connection=None):
    return execute(sql, *parameters, connection=connection).fetchone()[0]


def login():
    expect(one("SELECT current_user"), "demo")
    expect(client.info.ssl_in_use, True)
    try:
        connect(password="wrong")
    except psycopg2.OperationalError as error:
        expect("password authentication failed" in str(error), True)
        return "password authentication failed"
    raise AssertionError("a wrong password was taken")


def simple():
    expect(one("SELECT 1; SELECT 'two'"), "two")


def parameters():
    expect(execute("SELECT %s + 1, %s, %s", 41, WORDS, None).fetchone(), (42, WORDS, None))


def named():
    execute("PREPARE doubled (int) AS SELECT $1 * 2")
    for n in range(50):
        expect(one("EXECUTE doubled (%s)", n), 2 * n)
    execute("DEALLOCATE doubled")


def transaction():
    execute("CREATE TABLE moved (n int PRIMARY KEY)")
    client.autocommit = False
    with client:
        execute("INSERT INTO moved VALUES (%s)", 1)
        execute("INSERT INTO moved VALUES (%s)", 2)
    client.autocommit = True
    expect(one("SELECT count(*) FROM moved"), 2)


def rollback():
    client.autocommit = False
    execute("INSERT INTO moved VALUES (3)")
    first = refusal(lambda: execute("SELECT 1 / 0"), code_of)
    second = refusal(lambda: execute("SELECT 1"), code_of)
    client.rollback()
    client.autocommit = True
    expect(one("SELECT count(*) FROM moved"), 2)
    return f"{first}, {second}"


def savepoint():
    client.autocommit = False
    execute("INSERT INTO moved VALUES (4)")
    execute("SAVEPOINT before")
    code = refusal(lambda: execute("INSERT INTO moved VALUES (4)"), code_of)
    execute("ROLLBACK TO SAVEPOINT before")
    execute("INSERT INTO moved VALUES (5)")
    client.commit()
    client.autocommit = True
    expect(one("SELECT count(*) FROM moved"), 4)
    return code


def copy_in():
    execute("CREATE TABLE copied (n int, word text)")
    client.cursor().copy_from(io.StringIO("".join(f"{n}\t{word}\n" for n, word in ROWS)), "copied")
    expect(one("SELECT count(*) FROM copied"), len(ROWS))


def copy_out():
    out = io.StringIO()
    client.cursor().copy_expert("COPY copied TO STDOUT", out)
    expect(out.getvalue(), "".join(f"{n}\t{word}\n" for n, word in ROWS))


def cursor():
    client.autocommit = False
    walk = client.cursor("walk")
    walk.itersize = 100
    walk.execute("SELECT n FROM generate_series(1, 1000) AS n")
    expect(sum(row[0] for row in walk), 500500)
    walk.close()
    client.commit()
    client.autocommit = True


def cancel():
    def when_it_sleeps():
        other = connect()
        wait_until(lambda: one(SLEEPING, connection=other) == 1)
        other.close()
        client.cancel()

    canceller = threading.Thread(target=when_it_sleeps)
    canceller.start()
    code = refusal(lambda: execute("SELECT pg_sleep(60)"), code_of)
    canceller.join()
    expect(one("SELECT 1"), 1)
    return code


def notify():
    execute("LISTEN bells")
    other = connect()
    execute("NOTIFY bells, 'ding'", connection=other)
    other.close()
    while not client.notifies:
        expect(select.select([client], [], [], 30)[0], [client])
        client.poll()
    heard = client.notifies.pop()
    expect((heard.channel, heard.payload), ("bells", "ding"))
    execute("UNLISTEN bells")


def big_row():
    expect(one("SELECT %s", BIG), BIG)


def own_writes():
    execute("CREATE TABLE own (n int)")
    for n in range(1, 101):
        execute("INSERT INTO own VALUES (%s)", n)
        expect(one("SELECT count(*) FROM own"), n)


def altered():
    execute("CREATE TABLE changing AS SELECT 1 AS n")
    execute("PREPARE changing AS SELECT * FROM changing")
    for _ in range(10):
        expect(len(execute("EXECUTE changing").description), 1)
    other = connect()
    execute("ALTER TABLE changing ADD COLUMN word text", connection=other)
    other.close()
    seen = []
    for _ in range(3):
        try:
            seen.append(f"{len(execute('EXECUTE changing').description)} columns")
        except psycopg2.Error as error:
            seen.append(error.pgcode)
    execute("DEALLOCATE changing")
    expect(len(execute("SELECT * FROM changing").description), 2)
    return ", ".join(seen)


client = connect()
report(
    f"psycopg2 {psycopg2.__version__.split()[0]}",
    # The big row last: in one text it is too long to be looked at, and keeps the session on the primary.
    [login, simple, parameters, named, transaction, rollback, savepoint, copy_in, copy_out, cursor, cancel, notify,
     own_writes, altered, big_row],
)
