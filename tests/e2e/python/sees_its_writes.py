"""Sessions of two drivers that write and read at once, in every form the drivers have, and hold what they read against what
they wrote and have seen. To be run by hand for minutes as well: URL [SECONDS [SESSIONS]]."""
import asyncio
import collections
import random
import sys
import time

import asyncpg
import psycopg

URL = sys.argv[1]
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
SESSIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 24

READ = "SELECT current_setting('cluster_name') AS node, own.n AS own, common.n AS common FROM seen.own, seen.common WHERE id = "
WRITE = "UPDATE seen.own SET n = n + 1 WHERE id = "
RAISE = "UPDATE seen.common SET n = n + 1"


class Record:
    def __init__(self):
        self.nodes = collections.Counter()
        self.forms = collections.Counter()
        self.complaints = []
        self.token = None

    def note(self, form, row, session):
        node, own, common = row
        self.nodes[node] += 1
        self.forms[form, "primary" if node == "a" else "standby"] += 1
        if own != session.written:
            self.complaints.append(f"{form}: stale on {node}: {own}, wrote {session.written}")
        # What a standby shows the primary may show a moment later: a commit is sent once it is flushed, and the primary's own
        # backend has yet to say that it is done. So it is only among standbys that nobody goes back.
        if common < session.seen and node != "a":
            self.complaints.append(f"{form}: backward on {node}: {common}, saw {session.seen}")
        session.seen = max(session.seen, common)


class Session:
    """What one connection wrote and saw."""

    def __init__(self, number):
        self.id, self.written, self.seen = number, 0, 0


async def with_asyncpg(session, record, stop):
    # No cache: each statement is prepared, described and closed. With it: prepared once.
    cache = 0 if session.id % 4 == 0 else 100
    connection = await asyncpg.connect(URL, statement_cache_size=cache)
    form = "asyncpg, no cache" if cache == 0 else "asyncpg, prepared"
    while time.monotonic() < stop:
        if random.random() < 0.5:
            await connection.execute(WRITE + "$1", session.id)
        else:
            async with connection.transaction():
                await connection.execute(RAISE)
                await connection.execute(WRITE + "$1", session.id)
        session.written += 1
        for _ in range(random.choice([1, 1, 4])):
            record.note(form, await connection.fetchrow(READ + "$1", session.id), session)
            await asyncio.sleep(random.choice([0, 0, 0.002]))
        await hand_on(connection, session, record)
    await connection.close()


async def hand_on(connection, session, record):
    """Every now and then a session takes what another one wrote and saw, and gives its own."""
    if random.random() < 0.05:
        if record.token is not None:
            token, common = record.token
            await connection.execute(f"SET bellwether.token = '{token}'")
            session.seen = max(session.seen, common)
        row = await connection.fetchrow(READ + "$1", session.id)
        record.note("token", row, session)
        record.token = (await connection.fetchval("SHOW bellwether.token"), row["common"])


async def with_psycopg(session, record, stop):
    simple = session.id % 4 == 1
    factory = psycopg.AsyncClientCursor if simple else psycopg.AsyncCursor
    connection = await psycopg.AsyncConnection.connect(URL, autocommit=True, cursor_factory=factory)
    form = "psycopg, simple" if simple else "psycopg, prepared"
    while time.monotonic() < stop:
        await connection.execute(RAISE)
        if simple:
            await connection.execute(f"BEGIN; {WRITE}{session.id}; COMMIT")
        else:
            await connection.execute(WRITE + "%s", [session.id])
        session.written += 1
        for _ in range(random.choice([1, 1, 4])):
            cursor = await connection.execute(READ + "%s", [session.id])
            record.note(form, await cursor.fetchone(), session)
        if not simple:
            # Write and read without waiting in between.
            async with connection.pipeline():
                await connection.execute(WRITE + "%s", [session.id])
                cursor = await connection.execute(READ + "%s", [session.id])
            session.written += 1
            record.note("psycopg, pipeline", await cursor.fetchone(), session)
    await connection.close()


async def main():
    connection = await asyncpg.connect(URL)
    await connection.execute(
        f"CREATE SCHEMA IF NOT EXISTS seen; DROP TABLE IF EXISTS seen.own, seen.common; "
        f"CREATE TABLE seen.own (id int PRIMARY KEY, n int) WITH (fillfactor = 30); CREATE TABLE seen.common (n int); "
        f"INSERT INTO seen.own SELECT n, 0 FROM generate_series(0, {SESSIONS}) n; INSERT INTO seen.common VALUES (0)"
    )
    # Until the catalog knows the tables they are read on the primary.
    deadline = time.monotonic() + 20
    while (await connection.fetchrow(READ + "0"))["node"] == "a" and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    await connection.close()
    record, stop = Record(), time.monotonic() + SECONDS
    run = [with_asyncpg if n % 2 == 0 else with_psycopg for n in range(SESSIONS)]
    await asyncio.gather(*(one(Session(n), record, stop) for n, one in enumerate(run)))
    total, primary = record.nodes.total(), record.nodes["a"]
    print(f"reads: {total}, by node: {dict(record.nodes)}")
    for (form, kind), count in sorted(record.forms.items()):
        print(f"  {form}, {kind}: {count}")
    print(f"on standbys: {100 * (total - primary) / total:.1f} %")
    assert not record.complaints, f"{len(record.complaints)} complaints: {record.complaints[:10]}"
    assert total > 20 * SECONDS, "hardly anything was read"
    for form in {form for form, _ in record.forms if form != "psycopg, pipeline"}:
        assert record.forms[form, "standby"] > 0, f"{form} never reads on a standby"
    print("all well")


asyncio.run(main())
