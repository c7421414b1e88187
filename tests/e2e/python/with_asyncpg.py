"""asyncpg through the endpoint: named statements, binary formats, its catalog queries, its statement cache."""
import asyncio
import sys

import asyncpg

URL = sys.argv[1]


async def main():
    connection = await asyncpg.connect(URL)
    await connection.execute("CREATE TYPE mood AS ENUM ('calm', 'cross'); CREATE TABLE q (n int PRIMARY KEY, m mood)")
    await connection.executemany("INSERT INTO q VALUES ($1, $2)", [(n, "calm") for n in range(100)])
    async with connection.transaction():
        # The type is unknown to the driver: it asks the catalog.
        row = await connection.fetchrow("SELECT m, n FROM q WHERE n = $1 FOR UPDATE", 7)
        assert (row["m"], row["n"]) == ("calm", 7)
        walked = [record["n"] async for record in connection.cursor("SELECT n FROM q ORDER BY n", prefetch=10)]
        assert walked == list(range(100))
    await errors_and_nesting(connection)
    await connection.copy_records_to_table("q", records=[(n, "cross") for n in range(1000, 2000)])
    await connection.close()
    await many_at_once()
    print("all well")


async def errors_and_nesting(connection):
    async with connection.transaction():
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO q VALUES ($1, 'calm')", 7)
        except asyncpg.UniqueViolationError:
            pass
        assert await connection.fetchval("SELECT count(*) FROM q") == 100


async def many_at_once():
    """The driver's own pool, over ours; its reset query runs at every release."""
    async with asyncpg.create_pool(URL, min_size=4, max_size=8) as pool:
        answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", n) for n in range(200)))
    assert answers == [2 * n for n in range(200)]


asyncio.run(main())
