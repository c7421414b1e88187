"""pg8000, all in Python: its native interface."""
import io
import ssl

import pg8000.native

from checks import (
    BIG, CA, DATABASE, HOST, PASSWORD, PORT, ROWS, USER, WORDS, NotApplicable, expect, refusal, report, wait_until,
)


def connect(password=PASSWORD):
    context = ssl.create_default_context(cafile=CA)
    return pg8000.native.Connection(USER, HOST, DATABASE, PORT, password, ssl_context=context)


def code_of(error):
    return error.args[0].get("C") if error.args and isinstance(error.args[0], dict) else None


def one(sql, **parameters):
    return client.run(sql, **parameters)[0][0]


def login():
    expect(one("SELECT current_user"), "demo")
    return refusal(lambda: connect("wrong"), code_of)


def simple():
    expect(client.run("SELECT 1; SELECT 'two'"), [[1], ["two"]])


def parameters():
    expect(client.run("SELECT :n + 1, :t, :x::text", n=41, t=WORDS, x=None), [[42, WORDS, None]])


def named():
    doubled = client.prepare("SELECT :n * 2")
    for n in range(50):
        expect(doubled.run(n=n), [[2 * n]])
    doubled.close()


def transaction():
    client.run("CREATE TABLE moved (n int PRIMARY KEY)")
    client.run("START TRANSACTION")
    client.run("INSERT INTO moved VALUES (:n)", n=1)
    client.run("INSERT INTO moved VALUES (:n)", n=2)
    client.run("COMMIT")
    expect(one("SELECT count(*) FROM moved"), 2)


def rollback():
    client.run("START TRANSACTION")
    client.run("INSERT INTO moved VALUES (3)")
    first = refusal(lambda: client.run("SELECT 1 / 0"), code_of)
    second = refusal(lambda: client.run("SELECT 1"), code_of)
    client.run("ROLLBACK")
    expect(one("SELECT count(*) FROM moved"), 2)
    return f"{first}, {second}"


def savepoint():
    client.run("START TRANSACTION")
    client.run("INSERT INTO moved VALUES (4)")
    client.run("SAVEPOINT before")
    code = refusal(lambda: client.run("INSERT INTO moved VALUES (4)"), code_of)
    client.run("ROLLBACK TO SAVEPOINT before")
    client.run("INSERT INTO moved VALUES (5)")
    client.run("COMMIT")
    expect(one("SELECT count(*) FROM moved"), 4)
    return code


def copy_in():
    client.run("CREATE TABLE copied (n int, word text)")
    client.run("COPY copied FROM STDIN", stream=io.StringIO("".join(f"{n}\t{word}\n" for n, word in ROWS)))
    expect(one("SELECT count(*) FROM copied"), len(ROWS))


def copy_out():
    out = io.StringIO()
    client.run("COPY copied TO STDOUT", stream=out)
    expect(out.getvalue(), "".join(f"{n}\t{word}\n" for n, word in ROWS))


def cursor():
    client.run("START TRANSACTION")
    client.run("DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n")
    total = 0
    while rows := client.run("FETCH 100 FROM walk"):
        total += sum(row[0] for row in rows)
    client.run("CLOSE walk")
    client.run("COMMIT")
    expect(total, 500500)


def cancel():
    raise NotApplicable("no call for it")


def notify():
    client.run("LISTEN bells")
    other = connect()
    other.run("NOTIFY bells, 'ding'")
    other.close()
    # The driver reads what has come when it reads an answer.
    wait_until(lambda: client.run("SELECT 1") and client.notifications)
    expect(client.notifications.popleft()[1:], ("bells", "ding"))
    client.run("UNLISTEN bells")


def big_row():
    expect(one("SELECT :t::text", t=BIG), BIG)


def own_writes():
    client.run("CREATE TABLE own (n int)")
    for n in range(1, 101):
        client.run("INSERT INTO own VALUES (:n)", n=n)
        expect(one("SELECT count(*) FROM own"), n)


def altered():
    client.run("CREATE TABLE changing AS SELECT 1 AS n")
    statement = client.prepare("SELECT * FROM changing")
    for _ in range(10):
        expect(len(statement.run()[0]), 1)
    other = connect()
    other.run("ALTER TABLE changing ADD COLUMN word text")
    other.close()
    seen = []
    for _ in range(3):
        try:
            seen.append(f"{len(statement.run()[0])} columns")
        except pg8000.native.DatabaseError as error:
            seen.append(code_of(error))
    return ", ".join(seen)


client = connect()
report(
    f"pg8000 {pg8000.__version__}",
    [login, simple, parameters, named, transaction, rollback, savepoint, copy_in, copy_out, cursor, cancel, notify,
     big_row, own_writes, altered],
)
