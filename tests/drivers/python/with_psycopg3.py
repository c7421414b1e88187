"""psycopg 3: prepares by itself after five runs; `prepare=True` does at once."""
import threading

import psycopg

from checks import BIG, ROWS, SLEEPING, WORDS, expect, refusal, report, wait_until


def connect(**options):
    return psycopg.connect(autocommit=True, **options)


def code_of(error):
    return getattr(error, "sqlstate", None)


def one(sql, *parameters, **options):
    return client.execute(sql, parameters or None, **options).fetchone()[0]


def login():
    expect(one("SELECT current_user"), "demo")
    expect(client.pgconn.ssl_in_use, True)
    try:
        connect(password="wrong")
    except psycopg.OperationalError as error:
        expect("password authentication failed" in str(error), True)
        return "password authentication failed"
    raise AssertionError("a wrong password was taken")


def simple():
    cursor = client.execute("SELECT 1; SELECT 'two'")
    expect(cursor.fetchone(), (1,))
    cursor.nextset()
    expect(cursor.fetchone(), ("two",))


def parameters():
    row = client.execute("SELECT %s::int + 1, %s::text, %s::text", (41, WORDS, None)).fetchone()
    expect(row, (42, WORDS, None))


def named():
    for n in range(50):
        expect(one("SELECT %s::int * 2", n, prepare=True), 2 * n)


def transaction():
    client.execute("CREATE TABLE moved (n int PRIMARY KEY)")
    with client.transaction():
        client.execute("INSERT INTO moved VALUES (%s)", (1,))
        client.execute("INSERT INTO moved VALUES (%s)", (2,))
    expect(one("SELECT count(*) FROM moved"), 2)


def rollback():
    client.execute("BEGIN")
    client.execute("INSERT INTO moved VALUES (3)")
    first = refusal(lambda: client.execute("SELECT 1 / 0"), code_of)
    second = refusal(lambda: client.execute("SELECT 1"), code_of)
    client.execute("ROLLBACK")
    expect(one("SELECT count(*) FROM moved"), 2)
    return f"{first}, {second}"


def savepoint():
    def again():
        with client.transaction():
            client.execute("INSERT INTO moved VALUES (4)")

    with client.transaction():
        client.execute("INSERT INTO moved VALUES (4)")
        code = refusal(again, code_of)
        client.execute("INSERT INTO moved VALUES (5)")
    expect(one("SELECT count(*) FROM moved"), 4)
    return code


def copy_in():
    client.execute("CREATE TABLE copied (n int, word text)")
    with client.cursor().copy("COPY copied FROM STDIN") as copy:
        for row in ROWS:
            copy.write_row(row)
    expect(one("SELECT count(*) FROM copied"), len(ROWS))


def copy_out():
    with client.cursor().copy("COPY copied TO STDOUT") as copy:
        copy.set_types(["int4", "text"])
        expect(sorted(copy.rows()), ROWS)


def cursor():
    with client.transaction(), client.cursor(name="walk") as walk:
        walk.itersize = 100
        walk.execute("SELECT n FROM generate_series(1, 1000) AS n")
        expect(sum(row[0] for row in walk), 500500)


def cancel():
    def when_it_sleeps():
        with connect() as other:
            wait_until(lambda: other.execute(SLEEPING).fetchone()[0] == 1)
        client.cancel_safe()

    canceller = threading.Thread(target=when_it_sleeps)
    canceller.start()
    code = refusal(lambda: client.execute("SELECT pg_sleep(60)"), code_of)
    canceller.join()
    expect(one("SELECT 1"), 1)
    return code


def notify():
    client.execute("LISTEN bells")
    with connect() as other:
        other.execute("NOTIFY bells, 'ding'")
    heard = [(notice.channel, notice.payload) for notice in client.notifies(timeout=30, stop_after=1)]
    expect(heard, [("bells", "ding")])
    client.execute("UNLISTEN bells")


def big_row():
    expect(one("SELECT %s::text", BIG), BIG)


def own_writes():
    client.execute("CREATE TABLE own (n int)")
    for n in range(1, 101):
        client.execute("INSERT INTO own VALUES (%s)", (n,))
        expect(one("SELECT count(*) FROM own"), n)


def altered():
    def columns():
        return len(client.execute("SELECT * FROM changing", prepare=True).description)

    client.execute("CREATE TABLE changing AS SELECT 1 AS n")
    for _ in range(10):
        expect(columns(), 1)
    with connect() as other:
        other.execute("ALTER TABLE changing ADD COLUMN word text")
    seen = []
    for _ in range(3):
        try:
            seen.append(f"{columns()} columns")
        except psycopg.Error as error:
            seen.append(error.sqlstate)
    return ", ".join(seen)


client = connect()
report(
    f"psycopg {psycopg.__version__}",
    [login, simple, parameters, named, transaction, rollback, savepoint, copy_in, copy_out, cursor, cancel, notify,
     big_row, own_writes, altered],
)
