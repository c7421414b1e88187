"""READ ONLY transactions as drivers make them: they run on a standby, others on the primary."""
import asyncio
import sys

import asyncpg
import psycopg

URL = sys.argv[1]
WHERE = "SELECT current_setting('cluster_name') FROM read LIMIT 1"


def with_psycopg():
    with psycopg.connect(URL) as connection:
        connection.read_only = True
        assert connection.execute(WHERE).fetchone() == ("b",)
        # Prepared by the driver itself after some runs, in the same transaction.
        for n in range(1, 12):
            assert connection.execute("SELECT n FROM read WHERE n = %s", (n,)).fetchone() == (n,)
        with connection.cursor("named") as cursor:
            cursor.execute("SELECT n FROM read ORDER BY n")
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
        connection.commit()
        try:
            connection.execute("INSERT INTO read VALUES (0)")
            raise AssertionError("a READ ONLY transaction has written")
        except psycopg.errors.ReadOnlySqlTransaction:
            connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert connection.execute(WHERE).fetchone() == ("a",)
        connection.commit()
        connection.isolation_level = None
        connection.read_only = None
        assert connection.execute(WHERE).fetchone() == ("a",)
        connection.execute("INSERT INTO read VALUES (0)")
        connection.rollback()
    with psycopg.connect(URL) as connection:
        connection.read_only = True
        with connection.pipeline():
            answers = [connection.execute("SELECT n FROM read WHERE n = %s", (n,)) for n in range(1, 9)]
            assert [answer.fetchone() for answer in answers] == [(n,) for n in range(1, 9)]
        connection.commit()


async def with_asyncpg():
    connection = await asyncpg.connect(URL)
    async with connection.transaction(readonly=True):
        assert await connection.fetchval(WHERE) == "b"
        assert await connection.fetchval("SELECT n FROM read WHERE n = $1", 7) == 7
        assert [row["n"] async for row in connection.cursor("SELECT n FROM read ORDER BY n LIMIT 60")] == list(range(1, 61))
        async with connection.transaction():
            assert await connection.fetchval(WHERE) == "b"
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        assert await connection.fetchval(WHERE) == "b"
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        assert await connection.fetchval(WHERE) == "a"
    async with connection.transaction():
        assert await connection.fetchval(WHERE) == "a"
    await connection.close()


with_psycopg()
asyncio.run(with_asyncpg())
print("all well")
