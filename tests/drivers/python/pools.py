"""Pools that drivers bring along, at work until standard input ends: each call writes a row and reads it back.

Prints one line for each call that failed, `failed<TAB>pool<TAB>SQLSTATE<TAB>message`, and at the end one a pool.
"""
import asyncio
import sys
import threading
import time

import asyncpg
import django
import sqlalchemy
from django.conf import settings
from django.db import connection, transaction

from checks import DATABASE, HOST, PASSWORD, PORT, USER

ended = threading.Event()


class Book:
    """What became of one pool's calls."""

    def __init__(self, name):
        self.name, self.calls, self.longest = name, 0, 0.0

    def enter(self, began, error=None):
        self.calls += 1
        self.longest = max(self.longest, time.monotonic() - began)
        if error is not None:
            below = getattr(error, "orig", None) or error.__cause__ or error
            code = getattr(below, "sqlstate", None) or type(error).__name__
            print(f"failed\t{self.name}\t{code}\t{' '.join(str(error).split())[:200]}", flush=True)

    def work(self, call):
        while not ended.is_set():
            began, error = time.monotonic(), None
            try:
                call(self.calls)
            except Exception as raised:  # Whatever a driver raises is what it saw.
                error = raised
            self.enter(began, error)
            time.sleep(0.02)
        print(f"worked\t{self.name}\t{self.calls} calls\tthe longest took {self.longest:.2f} s", flush=True)


def with_sqlalchemy():
    url = sqlalchemy.URL.create("postgresql+psycopg", USER, PASSWORD, HOST, PORT, DATABASE)
    pool = sqlalchemy.create_engine(url, pool_size=2, pool_pre_ping=True)

    def call(n):
        with pool.begin() as block:
            block.execute(sqlalchemy.text("INSERT INTO pooled VALUES ('sqlalchemy', :n)"), {"n": n})
        with pool.connect() as reader:
            assert reader.execute(sqlalchemy.text("SELECT max(n) FROM pooled WHERE who = 'sqlalchemy'")).scalar() == n

    Book("sqlalchemy").work(call)


def with_django():
    def call(n):
        # As at the beginning of each request.
        connection.close_if_unusable_or_obsolete()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO pooled VALUES ('django', %s)", (n,))
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(n) FROM pooled WHERE who = 'django'")
            assert cursor.fetchone() == (n,)

    Book("django").work(call)


def with_asyncpg():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # It resets a connection each time it comes back.
    pool = loop.run_until_complete(asyncpg.create_pool(min_size=2, max_size=2))

    async def write_and_read(n):
        async with pool.acquire() as client:
            async with client.transaction():
                await client.execute("INSERT INTO pooled VALUES ('asyncpg', $1)", n)
            assert await client.fetchval("SELECT max(n) FROM pooled WHERE who = 'asyncpg'") == n

    Book("asyncpg").work(lambda n: loop.run_until_complete(write_and_read(n)))


settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "NAME": DATABASE, "USER": USER,
    "PASSWORD": PASSWORD, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True,
}})
django.setup()
workers = [threading.Thread(target=work) for work in (with_sqlalchemy, with_django, with_asyncpg)]
for worker in workers:
    worker.start()
sys.stdin.read()
ended.set()
for worker in workers:
    worker.join()
