"""What clients do, and how they leave. Each act says what it must be answered."""

import asyncio
import random

from client import EXECUTE, FLUSH, SYNC, Client, Refused, Unexpected, bind, message, parse, query

ACCOUNTS = 100_000


def account():
    return random.randint(1, ACCOUNTS)


async def read(client):
    await client.says("TDCZI", query(f"SELECT abalance FROM pgbench_accounts WHERE aid = {account()}"))


async def read_by_parameter(client):
    text = parse("", "SELECT abalance FROM pgbench_accounts WHERE aid = $1")
    await client.says("12DCZI", text, bind("", account()), EXECUTE, SYNC)


async def prepared(client):
    """A name that every client uses, and now and then a text that nobody has used before."""
    column = "abalance" if random.random() < 0.9 else f"abalance + {random.random()}"
    await client.says("1ZI", parse("s", f"SELECT {column} FROM pgbench_accounts WHERE aid = $1"), SYNC)
    for _ in range(3):
        await client.says("2DCZI", bind("s", account()), EXECUTE, SYNC)
    await client.says("3ZI", message(b"C", b"Ss\0"), SYNC)


async def write(client):
    await client.says("CZI", query(f"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = {account()}"))


async def transaction(client):
    await client.says("CZT", query("BEGIN"))
    await client.says("CZT", query(f"UPDATE pgbench_accounts SET abalance = 0 WHERE aid = {account()}"))
    await client.says("TDCZT", query("SELECT count(*) FROM pgbench_branches"))
    await client.says("CZI", query(random.choice(("COMMIT", "ROLLBACK"))))


async def failed_transaction(client):
    await client.says("CCZT", query("BEGIN; SAVEPOINT s"))
    await client.says("EZE", query("SELECT 1 / 0"))
    await client.says("EZE", query("SELECT 1"))
    await client.says("CZT", query("ROLLBACK TO s"))
    await client.says("CZI", query("COMMIT"))


async def errors(client):
    await client.says("EZI", query(f"SELECT * FROM nothing_{random.getrandbits(30)}"))
    await client.says("EZI", parse("", "this is no SQL"), bind(""), EXECUTE, SYNC)
    await client.says("1EZI", parse("", "SELECT $1::int"), bind("", "x"), EXECUTE, SYNC)


async def settings(client):
    await client.says("CZI", query(f"SET application_name = 'soak {random.getrandbits(20)}'"))
    await client.says("TDCZI", query("SHOW application_name"))


async def temporary(client):
    mine = f"mine_{random.getrandbits(30)}"
    await client.says("CZI", query(f"CREATE TEMP TABLE {mine} (n int)"))
    await client.says("CZI", query(f"INSERT INTO {mine} SELECT generate_series(1, 50)"))
    await client.says("TDCZI", query(f"SELECT sum(n) FROM {mine}"))
    if random.random() < 0.5:
        await client.says("CZI", query(f"DROP TABLE {mine}"))


async def locks(client):
    await client.says("TDCZI", query(f"SELECT pg_advisory_lock({random.getrandbits(20)})"))
    await client.says("TDCZI", query("SELECT pg_advisory_unlock_all()"))


async def listens(client):
    await client.says("CZI", query("LISTEN soak"))
    await client.says("CZI", query("NOTIFY soak, 'hello'"))
    await client.says("CZI", query("UNLISTEN *"))


async def cursor(client):
    declare = "BEGIN; DECLARE c CURSOR FOR SELECT aid FROM pgbench_accounts"
    await client.says("CCZT", query(declare))
    await client.says("TDCZT", query("FETCH 100 FROM c"))
    await client.says("CZI", query("COMMIT"))


async def copy_in(client):
    client.send(query("COPY sink FROM STDIN"), message(b"d", b"line\n" * 100), message(b"c"))
    await client.says("GCZI")


async def copy_out(client):
    await client.says("HdcCZI", query("COPY (SELECT * FROM wide LIMIT 500) TO STDOUT"))


async def cancelled(client):
    """The cancel may come before the server has begun, and then it does nothing."""
    client.send(query("SELECT pg_sleep(2)"))
    await asyncio.sleep(0.05)
    await client.cancel()
    await client.says("EZI TEZI TDCZI")


async def schema(client):
    name = f"brief_{random.getrandbits(40)}"
    await client.says("CZI", query(f"CREATE TABLE {name} (n int)"))
    await client.says("CZI", query(f"DROP TABLE {name}"))


async def idle(client):
    await asyncio.sleep(random.uniform(1, 20))
    await client.says("TDCZI", query("SELECT 1"))


# How often in a hundred.
ACTS = {
    read: 30,
    read_by_parameter: 15,
    prepared: 12,
    write: 10,
    transaction: 8,
    failed_transaction: 4,
    errors: 4,
    settings: 4,
    temporary: 2,
    locks: 2,
    listens: 2,
    cursor: 2,
    copy_in: 1.5,
    copy_out: 1,
    cancelled: 0.5,
    schema: 0.2,
    idle: 1.8,
}


# ---- how a client leaves ---------------------------------------------------------------------------------


async def goodbye(client):
    await client.terminate()


async def vanishes(client):
    client.kill()


async def breaks_off(client):
    client.reset()


async def in_a_transaction(client):
    sql = f"BEGIN; UPDATE pgbench_accounts SET abalance = 9 WHERE aid = {account()}; SELECT pg_advisory_lock(7, {account()})"
    await client.says("CCTDCZT", query(sql))
    random.choice((client.kill, client.reset))()


async def in_a_statement(client):
    client.send(query("SELECT pg_sleep(0.2), * FROM pgbench_branches"))
    await asyncio.sleep(random.uniform(0, 0.1))
    random.choice((client.kill, client.reset))()


async def in_a_result(client):
    """Reads the beginning, and leaves when all buffers in between are full."""
    client.send(query("SELECT * FROM wide LIMIT 50000"))
    await client.message()
    client.writer.transport.pause_reading()
    await asyncio.sleep(0.2)
    client.reset()


async def in_a_message(client):
    client.send(query("SELECT 'half of this'")[:9])
    await client.writer.drain()
    client.kill()


async def in_a_group(client):
    client.send(parse("", "SELECT generate_series(1, 10)"), bind(""), FLUSH)
    await client.message()
    client.reset()


async def in_a_copy(client):
    client.send(query("COPY sink FROM STDIN"), message(b"d", b"lost\n"))
    await client.message()
    random.choice((client.kill, client.reset))()


async def with_garbage(client):
    client.send(b"\xff" * 64)
    await asyncio.wait_for(client.reader.read(), 60)
    client.kill()


LEAVINGS = {
    goodbye: 60,
    vanishes: 10,
    breaks_off: 8,
    in_a_transaction: 6,
    in_a_statement: 4,
    in_a_message: 4,
    in_a_group: 3,
    in_a_copy: 3,
    in_a_result: 1,
    with_garbage: 1,
}


# ---- those who never get in ------------------------------------------------------------------------------


async def wrong_password(port, tls):
    await refused("28P01", Client.connect(port, "demo", "wrong", tls=tls))


async def wrong_database(port, _):
    await refused("3D000", Client.connect(port, "trusted", database="nowhere"))


async def silent(port, _):
    """Says nothing, or half of its first packet, until the proxy has had enough of it."""
    client = await Client.open(port)
    client.send(b"\0\0\0\x50\0\x03"[: random.randint(0, 6)])
    await asyncio.wait_for(client.reader.read(), 60)
    client.kill()


async def gone_before_the_login(port, _):
    client = await Client.open(port)
    client.send(b"\0\0\0\x20"[: random.randint(0, 4)])
    client.reset()


STRANGERS = {wrong_password: 3, wrong_database: 1, silent: 1, gone_before_the_login: 3}


async def refused(code, connecting):
    try:
        client = await connecting
    except Refused as refused:
        if refused.args == (code,):
            return
        raise
    client.kill()
    raise Unexpected(f"let in, where {code} was due")


def draw(table):
    return random.choices(list(table), table.values())[0]
