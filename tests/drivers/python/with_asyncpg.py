"""asyncpg: named statements for everything with rows, results in binary, catalog queries of its own."""
import asyncio
import io

import asyncpg

from checks import BIG, ROWS, SLEEPING, WORDS, expect, report

LOOP = asyncio.new_event_loop()


def connect(**options):
    return asyncpg.connect(**options)


async def code_of(awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        return error.sqlstate
    raise AssertionError("it was not refused")


async def login():
    expect(await client.fetchval("SELECT current_user"), "demo")
    expect(client._transport.get_extra_info("ssl_object") is not None, True)
    return await code_of(connect(password="wrong"))


async def simple():
    expect(await client.execute("SELECT 1; SELECT 'two'"), "SELECT 1")


async def parameters():
    row = await client.fetchrow("SELECT $1::int + 1, $2::text, $3::text", 41, WORDS, None)
    expect(tuple(row), (42, WORDS, None))


async def named():
    statement = await client.prepare("SELECT $1::int * 2")
    for n in range(50):
        expect(await statement.fetchval(n), 2 * n)


async def transaction():
    await client.execute("CREATE TABLE moved (n int PRIMARY KEY)")
    async with client.transaction():
        await client.execute("INSERT INTO moved VALUES ($1)", 1)
        await client.execute("INSERT INTO moved VALUES ($1)", 2)
    expect(await client.fetchval("SELECT count(*) FROM moved"), 2)


async def rollback():
    block = client.transaction()
    await block.start()
    await client.execute("INSERT INTO moved VALUES (3)")
    first = await code_of(client.fetchval("SELECT 1 / 0"))
    second = await code_of(client.fetchval("SELECT 1"))
    await block.rollback()
    expect(await client.fetchval("SELECT count(*) FROM moved"), 2)
    return f"{first}, {second}"


async def savepoint():
    async def again():
        async with client.transaction():
            await client.execute("INSERT INTO moved VALUES (4)")

    async with client.transaction():
        await client.execute("INSERT INTO moved VALUES (4)")
        code = await code_of(again())
        await client.execute("INSERT INTO moved VALUES (5)")
    expect(await client.fetchval("SELECT count(*) FROM moved"), 4)
    return code


async def copy_in():
    await client.execute("CREATE TABLE copied (n int, word text)")
    expect(await client.copy_records_to_table("copied", records=ROWS), "COPY 1000")
    expect(await client.fetchval("SELECT count(*) FROM copied"), len(ROWS))


async def copy_out():
    out = io.BytesIO()
    await client.copy_from_table("copied", output=out)
    expect(out.getvalue().decode(), "".join(f"{n}\t{word}\n" for n, word in ROWS))


async def cursor():
    async with client.transaction():
        walk = client.cursor("SELECT n FROM generate_series(1, 1000) AS n", prefetch=100)
        expect(sum([row["n"] async for row in walk]), 500500)


async def cancel():
    """asyncpg cancels what is awaited no longer, so the error is asyncio's; the connection must go on."""
    sleeping = asyncio.create_task(client.fetchval("SELECT pg_sleep(60)"))
    other = await connect()
    while await other.fetchval(SLEEPING) == 0:
        await asyncio.sleep(0.01)
    sleeping.cancel()
    try:
        await sleeping
    except asyncio.CancelledError:
        pass
    expect(await client.fetchval("SELECT 1"), 1)
    expect(await other.fetchval(SLEEPING), 0)
    await other.close()


async def notify():
    heard = asyncio.Queue()

    def ring(_connection, _pid, channel, payload):
        heard.put_nowait((channel, payload))

    await client.add_listener("bells", ring)
    other = await connect()
    await other.execute("NOTIFY bells, 'ding'")
    await other.close()
    expect(await asyncio.wait_for(heard.get(), 30), ("bells", "ding"))
    await client.remove_listener("bells", ring)


async def big_row():
    expect(await client.fetchval("SELECT $1::text", BIG), BIG)


async def own_writes():
    await client.execute("CREATE TABLE own (n int)")
    for n in range(1, 101):
        await client.execute("INSERT INTO own VALUES ($1)", n)
        expect(await client.fetchval("SELECT count(*) FROM own"), n)


async def altered():
    await client.execute("CREATE TABLE changing AS SELECT 1 AS n")
    for _ in range(10):
        expect(len(await client.fetchrow("SELECT * FROM changing")), 1)
    other = await connect()
    await other.execute("ALTER TABLE changing ADD COLUMN word text")
    await other.close()
    seen = []
    for _ in range(3):
        try:
            seen.append(f"{len(await client.fetchrow('SELECT * FROM changing'))} columns")
        except asyncpg.PostgresError as error:
            seen.append(error.sqlstate)
    return ", ".join(seen)


def waiting(check):
    """The same check for the reporter, which knows nothing of asyncio."""
    def run():
        return LOOP.run_until_complete(check())
    run.__name__ = check.__name__
    return run


client = LOOP.run_until_complete(connect())
CHECKS = [login, simple, parameters, named, transaction, rollback, savepoint, copy_in, copy_out, cursor, cancel, notify,
          big_row, own_writes, altered]
report(f"asyncpg {asyncpg.__version__}", [waiting(check) for check in CHECKS])
LOOP.run_until_complete(client.close())
