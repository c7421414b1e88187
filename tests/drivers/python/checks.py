"""What the programs for Python share: one line a check, its name, ok or fail or n/a, and what it saw.

Where to connect comes in libpq's environment variables, which most drivers read by themselves.
"""
import os
import platform
import time

HOST, PORT, DATABASE = os.environ["PGHOST"], int(os.environ["PGPORT"]), os.environ["PGDATABASE"]
USER, PASSWORD, CA = os.environ["PGUSER"], os.environ["PGPASSWORD"], os.environ["PGSSLROOTCERT"]

WORDS = "grüße 'x' \\ \"y\""
ROWS = [(n, f"word {n}") for n in range(1, 1001)]
BIG = "0123456789abcdef" * (8 * 1024 * 1024 // 16)
SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
    "AND query LIKE 'SELECT pg_sleep%'"
)


class NotApplicable(Exception):
    """The driver has no call for this; the text says what is missing."""


def report(version, checks):
    """Runs every check; its name is that of the function."""
    print(f"version\tok\t{version}, Python {platform.python_version()}", flush=True)
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            told, saw = "ok", check() or ""
        except NotApplicable as reason:
            told, saw = "n/a", str(reason)
        except Exception as error:  # Whatever a driver raises is what it saw.
            told, saw = "fail", f"{type(error).__name__}: {error}"
        print(f"{name}\t{told}\t{' '.join(saw.split())}", flush=True)


def expect(seen, wanted):
    if seen != wanted:
        raise AssertionError(f"{str(seen)[:200]!r} in place of {str(wanted)[:200]!r}")


def refusal(call, code_of):
    """Runs what must fail, and returns its SQLSTATE."""
    try:
        call()
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        return code
    raise AssertionError("it was not refused")


def wait_until(done):
    deadline = time.monotonic() + 30
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to that")
        time.sleep(0.01)
