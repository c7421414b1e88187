"""What is measured. Each measurement runs on one side at a time and returns figures by name."""

import glob
import os
import re
import resource
import socket
import struct
import subprocess
import time

from lab import TRUSTED, Failed, run

MEGABYTE = 1_000_000


class Measure:
    """`title` for people, `mode` of pgbench, and the pool that a side shall have for it."""

    mode = None
    pool = 64
    # What tells sides apart first, and in which unit; the report shows it with its ratio to PgBouncer's.
    columns = ()

    def needs(self, side):
        """Why a side takes no part, or None."""
        return side.can(self)

    def take(self, side, options):
        raise NotImplementedError


class Pgbench(Measure):
    """Transactions for some seconds: how many, how long each took, and the proxy's processor time for one."""

    columns = ("tps", "p50 ms", "p95 ms", "p99 ms", "CPU µs/tx", "user µs", "system µs")

    def __init__(self, title, mode, clients, words, pool=64):
        self.title, self.mode, self.clients, self.words, self.pool = title, mode, clients, words, pool
        self.user = "demo:demo"

    def take(self, side, options):
        log = os.path.join(side.directory, "latency")
        for old in glob.glob(f"{log}.*"):
            os.remove(old)
        words = ("-n", "-M", self.mode, "-c", str(self.clients), "-j", "2", "-T", str(options.seconds), *self.words)
        sampled = ("-l", "--log-prefix", log, "--sampling-rate", "0.1")
        before = side.cpu()
        output = run("pgbench", *words, *sampled, side.url(self.user))
        user, system = (after - first for after, first in zip(side.cpu(), before))
        done = int(re.search(r"transactions actually processed: (\d+)", output).group(1))
        failed = re.search(r"number of failed transactions: (\d+)", output)
        if done == 0 or (failed and int(failed.group(1))):
            raise Failed(f"{self.title} through {side.name}: pgbench had failures:\n{output}")
        figures = {"tps": float(re.search(r"tps = ([0-9.]+)", output).group(1)), **percentiles(log)}
        figures["CPU µs/tx"] = (user + system) * 1e6 / done
        figures["user µs"], figures["system µs"] = user * 1e6 / done, system * 1e6 / done
        return figures


class Logins(Pgbench):
    """A connection for each transaction: login, one row, goodbye."""

    columns = ("tps", "p50 ms", "p99 ms", "CPU µs/tx", "user µs", "system µs")

    def __init__(self, title, user):
        super().__init__(title, "simple", 8, ("-S", "-C"))
        self.user = user


class Stream(Measure):
    """Large results or input: processor time for each gigabyte of the lines' own text."""

    columns = ("MB/s", "CPU s/GB", "user s/GB", "system s/GB")
    pool = 64

    def __init__(self, title, megabytes, once, work):
        self.title, self.megabytes, self.once, self.work = title, megabytes, once, work

    def take(self, side, options):
        times = max(1, round(self.megabytes / self.once))
        before, began = side.cpu(), time.monotonic()
        self.work(side, times)
        seconds = time.monotonic() - began
        user, system = (after - first for after, first in zip(side.cpu(), before))
        gigabytes = times * self.once / 1000
        return {
            "MB/s": times * self.once / seconds,
            "CPU s/GB": (user + system) / gigabytes,
            "user s/GB": user / gigabytes,
            "system s/GB": system / gigabytes,
        }


class Idle(Measure):
    """Memory for a client that ran a statement and says nothing now; and what is kept once all are gone. Of a program that
    has just been started: one that keeps what it had once would seem to need nothing the second time."""

    title = "idle clients"
    columns = ("KiB/client", "KiB/client after", "clients")

    def needs(self, side):
        return None if side.pools else "each client would take a server of its own"

    def take(self, side, options):
        side.stop()
        side.start()
        first = connect(side)
        time.sleep(1)
        before = side.resident()
        clients = [connect(side) for _ in range(options.idle)]
        time.sleep(1)
        held = side.resident()
        for client in clients:
            client.close()
        time.sleep(3)
        kept = side.resident()
        first.close()
        return {
            "KiB/client": (held - before) / 1024 / len(clients),
            "KiB/client after": (kept - before) / 1024 / len(clients),
            "clients": len(clients),
        }


def connect(side):
    """A raw client of protocol 3.0 that has logged in as the role without a password and has run one statement."""
    client = socket.create_connection(("127.0.0.1", side.port))
    words = b"".join(word.encode() + b"\0" for word in ("user", TRUSTED, "database", "demo", ""))
    client.sendall(struct.pack("!II", 8 + len(words), 196608) + words)
    until_ready(client)
    client.sendall(b"Q" + struct.pack("!I", 4 + 9) + b"SELECT 1\0")
    until_ready(client)
    return client


def until_ready(client):
    """Reads up to ReadyForQuery, which ends every answer here."""
    seen = b""
    while not seen.endswith(b"Z\0\0\0\5I"):
        more = client.recv(65536)
        if not more or seen.startswith(b"E"):
            raise Failed(f"the login of an idle client failed: {(seen + more)[:200]!r}")
        seen += more


def percentiles(log):
    """Reads pgbench's sample of latencies (third column, microseconds) in milliseconds."""
    samples = []
    for path in glob.glob(f"{log}.*"):
        with open(path) as file:
            samples += [int(line.split()[2]) for line in file]
    if not samples:
        raise Failed("pgbench logged no latencies: let it run longer")
    samples.sort()
    return {f"p{part} ms": samples[min(len(samples) - 1, len(samples) * part // 100)] / 1000 for part in (50, 95, 99)}


def rows(statement):
    def work(side, times):
        script = os.path.join(side.directory, "rows.sql")
        with open(script, "w") as file:
            file.write(statement + "\n")
        run("pgbench", "-n", "-c", "1", "-t", str(times), "-f", script, side.url())

    return work


def copy_out(side, times):
    words = [word for _ in range(times) for word in ("-c", "COPY wide TO STDOUT")]
    run_to_nowhere("psql", "-Xq", *words, side.url())


def copy_in(side, times):
    file = os.path.join(side.directory, "wide.copy")
    if not os.path.exists(file):
        with open(file, "wb") as to:
            subprocess.run(
                ["psql", "-Xqc", "COPY wide TO STDOUT", side.lab.url(side.lab.primary)], stdout=to, check=True
            )
    words = [word for _ in range(times) for word in ("-c", "TRUNCATE sink", "-c", f"\\copy sink FROM '{file}'")]
    run("psql", "-Xq", *words, side.url())


def run_to_nowhere(*command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed: {done.stderr[-1000:]}")


def all_measures():
    """Every measurement in the order of the report; a name and what it does."""
    measures = {}
    for clients in (1, 32, 200):
        for mode in ("simple", "extended", "prepared"):
            # With 200 clients the pool is small, so that they stand in line for it.
            pool = 20 if clients == 200 else 64
            measures[f"{mode}-{clients}"] = Pgbench(
                f"select-only, {mode}, {clients} client{'s' if clients > 1 else ''}", mode, clients, ("-S",), pool
            )
    measures["tpcb-32"] = Pgbench("TPC-B, prepared, 32 clients", "prepared", 32, ())
    measures["logins-trust"] = Logins("connection for each transaction, trust, 8 clients", TRUSTED)
    measures["logins-scram"] = Logins("connection for each transaction, SCRAM, 8 clients", "demo:demo")
    measures["rows-100"] = Stream("rows of 100 B", 400, 20, rows("SELECT line FROM wide;"))
    measures["rows-1000"] = Stream("rows of 1 kB", 400, 20, rows("SELECT repeat(line, 10) FROM wide LIMIT 20000;"))
    measures["copy-out"] = Stream("COPY out, lines of 100 B", 400, 20, copy_out)
    measures["copy-in"] = Stream("COPY in, lines of 100 B", 200, 20, copy_in)
    measures["idle"] = Idle()
    return measures


def raise_limits():
    """Lets this process and its children hold as many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
