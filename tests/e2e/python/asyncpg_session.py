"""asyncpg in depth: its cache of statements, its catalog queries, cursors, COPY, codecs, reset and listeners."""
import asyncio
import datetime
import decimal
import io
import ipaddress
import json
import sys
import uuid

import asyncpg

URL = sys.argv[1]


async def main():
    connection = await asyncpg.connect(URL)
    await connection.execute("CREATE TABLE q (n int PRIMARY KEY, word text)")
    await connection.execute("INSERT INTO q SELECT n, 'w' || n FROM generate_series(1, 1000) AS n")
    await statement_cache(connection)
    await schema_changes(connection)
    await introspection(connection)
    await codecs(connection)
    await transactions(connection)
    await cursors(connection)
    await copies(connection)
    await timeouts(connection)
    await listeners(connection)
    await pool_with_reset()
    await settings()
    await connection.execute("DROP TABLE q")
    await connection.close()
    print("all well")


async def statement_cache(connection):
    """100 statements by default: more than that are closed and prepared again."""
    for turn in range(2):
        for n in range(150):
            assert await connection.fetchval(f"SELECT $1::int + {n}", 1) == 1 + n
    prepared = await connection.prepare("SELECT word FROM q WHERE n = $1")
    assert [str(attribute.name) for attribute in prepared.get_attributes()] == ["word"]
    assert prepared.get_parameters()[0].name == "int4"
    # Every run may meet another server.
    for n in range(1, 60):
        assert await prepared.fetchval(n) == f"w{n}"
    assert await connection.fetch("SELECT n FROM q WHERE n < $1 ORDER BY n", 4) == [(1,), (2,), (3,)]
    plan = await prepared.explain(5)
    assert plan[0]["Plan"]


async def schema_changes(connection):
    await connection.execute("CREATE TABLE changed (n int)")
    await connection.execute("INSERT INTO changed VALUES (1)")
    for _ in range(6):
        assert tuple(await connection.fetchrow("SELECT * FROM changed WHERE n = $1", 1)) == (1,)
    await connection.execute("ALTER TABLE changed ADD COLUMN word text DEFAULT 'x'")
    for _ in range(6):
        assert tuple(await connection.fetchrow("SELECT * FROM changed WHERE n = $1", 1)) == (1, "x")
    await connection.execute("DROP TABLE changed")


async def introspection(connection):
    await connection.execute(
        "CREATE TYPE mood AS ENUM ('calm', 'cross');"
        "CREATE TYPE pair AS (a int, b text);"
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
        "CREATE TABLE typed (m mood, ms mood[], p pair, ps pair[], d positive, r int4range)"
    )
    await connection.execute(
        "INSERT INTO typed VALUES ($1, $2, $3, $4, $5, $6)",
        "calm", ["calm", "cross"], (1, "x"), [(2, "y"), (3, None)], 7, asyncpg.Range(1, 5),
    )
    row = await connection.fetchrow("SELECT * FROM typed")
    assert (row["m"], row["ms"], tuple(row["p"]), row["d"]) == ("calm", ["calm", "cross"], (1, "x"), 7)
    assert [tuple(pair) for pair in row["ps"]] == [(2, "y"), (3, None)] and row["r"].upper == 5
    await connection.reload_schema_state()
    assert await connection.fetchval("SELECT m FROM typed") == "calm"
    await connection.execute("DROP TABLE typed; DROP TYPE pair; DROP TYPE mood; DROP DOMAIN positive")


async def codecs(connection):
    now = datetime.datetime(2026, 11, 20, 12, 30, tzinfo=datetime.timezone.utc)
    values = {
        "int8": 2**40, "float8": 0.5, "numeric": decimal.Decimal("12.340"), "text": "grüße", "bytea": b"\0\xff",
        "timestamptz": now, "date": now.date(), "interval": datetime.timedelta(days=1, seconds=2),
        "uuid": uuid.UUID(int=5), "inet": ipaddress.ip_interface("10.0.0.1/8"), "bool": True,
        "jsonb": json.dumps({"a": 1}), "int4[]": [1, None, 3], "text[]": ["a", 'b"c'],
    }
    for kind, value in values.items():
        returned = await connection.fetchval(f"SELECT $1::{kind}", value)
        assert returned == value, (kind, value, returned)
    await connection.set_type_codec("json", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    assert await connection.fetchval("SELECT $1::json", {"k": [1, 2]}) == {"k": [1, 2]}
    await connection.reset_type_codec("json", schema="pg_catalog")


async def transactions(connection):
    async with connection.transaction(isolation="serializable"):
        await connection.execute("INSERT INTO q VALUES (2000, 'x')")
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO q VALUES (2001, 'y')")
                raise LookupError
        except LookupError:
            pass
        assert await connection.fetchval("SELECT count(*) FROM q WHERE n >= 2000") == 1
    async with connection.transaction(readonly=True, isolation="repeatable_read"):
        assert await connection.fetchval("SELECT count(*) FROM q") == 1001
    try:
        async with connection.transaction():
            await connection.execute("DELETE FROM q")
            await connection.execute("SELECT 1 / 0")
    except asyncpg.DivisionByZeroError:
        pass
    assert await connection.execute("DELETE FROM q WHERE n = 2000") == "DELETE 1"


async def cursors(connection):
    async with connection.transaction():
        walked = [row["n"] async for row in connection.cursor("SELECT n FROM q ORDER BY n", prefetch=7)]
        assert walked == list(range(1, 1001))
        cursor = await connection.cursor("SELECT n FROM q WHERE n > $1 ORDER BY n", 100)
        assert [row["n"] for row in await cursor.fetch(3)] == [101, 102, 103]
        assert await cursor.forward(10) == 10
        other = await connection.cursor("SELECT n FROM q ORDER BY n DESC")
        assert (await other.fetchrow())["n"] == 1000
        assert (await cursor.fetchrow())["n"] == 114


async def copies(connection):
    await connection.execute("CREATE TABLE copied (n int, word text, at timestamptz)")
    at = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
    records = [(n, f"w{n}", at) for n in range(20000)]
    assert await connection.copy_records_to_table("copied", records=records) == "COPY 20000"
    out = io.BytesIO()
    assert await connection.copy_from_query("SELECT n FROM copied WHERE n < $1 ORDER BY n", 3, output=out) == "COPY 3"
    assert out.getvalue() == b"0\n1\n2\n"
    assert await connection.copy_to_table("copied", source=io.BytesIO(b"1\ta\t\\N\n"), columns=["n", "word", "at"]) == "COPY 1"
    out = io.BytesIO()
    await connection.copy_from_table("copied", output=out, format="csv")
    assert out.getvalue().count(b"\n") == 20001
    try:
        await connection.copy_to_table("copied", source=io.BytesIO(b"1\ta\t\\N\n" * 10000 + b"bad\n" + b"2\tb\t\\N\n" * 10000))
        raise AssertionError("bad data went unnoticed")
    except (asyncpg.BadCopyFileFormatError, asyncpg.InvalidTextRepresentationError):
        pass

    async def failing():
        for n in range(5):
            yield (n, "x", at)
        raise LookupError

    try:
        await connection.copy_records_to_table("copied", records=failing())
        raise AssertionError("the records' own error was lost")
    except LookupError:
        pass
    assert await connection.fetchval("SELECT count(*) FROM copied") == 20001
    await connection.execute("DROP TABLE copied")


async def timeouts(connection):
    """A timeout in the driver sends a CancelRequest."""
    for _ in range(5):
        try:
            await connection.fetchval("SELECT pg_sleep(60)", timeout=0.05)
            raise AssertionError("it slept")
        except asyncio.TimeoutError:
            pass
        assert await connection.fetchval("SELECT 1") == 1
    running = asyncio.create_task(connection.fetchval("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        pass
    assert await connection.fetchval("SELECT 1") == 1


async def listeners(connection):
    heard = asyncio.Queue()
    noted = asyncio.Queue()
    await connection.add_listener("bells", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
    connection.add_log_listener(lambda _, message: noted.put_nowait(message.message))
    other = await asyncpg.connect(URL)
    for n in range(20):
        await other.execute("SELECT pg_notify('bells', $1)", str(n))
    for n in range(20):
        assert await asyncio.wait_for(heard.get(), 10) == ("bells", str(n))
    await connection.execute("NOTIFY bells, 'mine'")
    assert await asyncio.wait_for(heard.get(), 10) == ("bells", "mine")
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'noted'; END $$")
    assert await asyncio.wait_for(noted.get(), 10) == "noted"
    await connection.remove_listener("bells", next(iter(connection._listeners["bells"])).cb)
    assert await connection.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0
    await other.close()


async def pool_with_reset():
    """At every release the driver resets: advisory locks, cursors, listeners and settings are gone."""
    async with asyncpg.create_pool(URL, min_size=2, max_size=2) as pool:
        for _ in range(4):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SHOW work_mem") == "4MB"
                assert await connection.fetchval("SELECT pg_try_advisory_lock(42)")
                await connection.execute("SET work_mem = '8MB'")
                await connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
                await connection.execute("LISTEN left_behind")
                await connection.execute("SELECT set_config('application_name', 'leaky', false)")
                await connection.remove_listener("none", print)
        # Twenty clients of the pool, over two connections.
        answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(200)))
        assert answers == list(range(200))
        async with pool.acquire() as one, pool.acquire() as two:
            for connection in one, two:
                assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
                assert await connection.fetchval("SELECT count(*) FROM pg_cursors WHERE name = 'held'") == 0
                assert await connection.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0
                assert await connection.fetchval("SHOW application_name") != "leaky"


async def settings():
    wanted = {"application_name": "settings", "work_mem": "6MB", "statement_timeout": "0", "timezone": "Europe/Berlin"}
    connection = await asyncpg.connect(URL, server_settings=wanted, command_timeout=30)
    for _ in range(4):
        assert await connection.fetchval("SHOW work_mem") == "6MB"
        assert await connection.fetchval("SELECT current_setting('timezone')") == "Europe/Berlin"
    assert connection.get_settings().TimeZone == "Europe/Berlin"
    assert connection.get_server_version().major >= 13
    await connection.execute("SET work_mem = '7MB'")
    await connection.reset()
    assert await connection.fetchval("SHOW work_mem") == "6MB"
    await connection.close()


asyncio.run(main())
