"""The servers that every side stands in front of: a throw-away cluster of `bellwether demo`, made fit for load."""

import json
import os
import subprocess
import time

# More connections than the largest measurement without a pooler opens, and memory for the whole of the data.
SERVER = ("max_connections = 450", "shared_buffers = 512MB", "max_wal_size = 2GB", "wal_keep_size = 256MB")

# A role that logs in without a password, for what is measured apart from the cost of SCRAM.
TRUSTED = "trusted"


class Failed(Exception):
    """The measurement cannot go on; the message is for the user."""


class Lab:
    """A primary and standbys, streaming, with pgbench's tables in the database `demo`."""

    def __init__(self, bellwether, nodes, scale):
        # Without etcd nobody leads, so that no machine busy with measuring is taken for a dead one.
        steps = "wait ready; stop etcd; sleep 1000000s"
        conf = [word for line in SERVER for word in ("--conf", line)]
        command = [bellwether, "demo", "--json", "--nodes", str(nodes), "--script", steps, *conf]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            self.ready = self._wait_ready()
            self.primary = next(node for node in self.ready["nodes"] if node["role"] == "primary")
            self.nodes = self.ready["nodes"]
            self._let_in()
            self.load(scale)
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                return event
            if event["event"] == "report":
                raise Failed(f"the cluster did not start: {event['error']}")
        raise Failed("the cluster did not start")

    def _let_in(self):
        """Lets the role `trusted` in without a password, on every node, before the lab's own rules."""
        for node in self.nodes:
            data = os.path.join(self.ready["directory"], node["name"])
            path = os.path.join(data, "pg_hba.conf")
            with open(path) as file:
                rules = file.read()
            with open(path, "w") as file:
                file.write(f"host all {TRUSTED} 127.0.0.1/32 trust\n{rules}")
            with open(os.path.join(data, "postmaster.pid")) as file:
                os.kill(int(file.readline()), 1)
        self.as_superuser(f"CREATE ROLE {TRUSTED} LOGIN IN ROLE pg_read_all_data")

    def load(self, scale):
        run("pgbench", "-i", "-q", "-s", str(scale), self.url(self.primary))
        self.as_superuser("CREATE TABLE wide (line text)", "CREATE TABLE sink (line text)")
        for table in ("wide", "sink"):
            self.as_superuser(f"ALTER TABLE {table} OWNER TO demo")
        self.as_superuser(
            "INSERT INTO wide SELECT repeat(chr(97 + n % 26), 100) FROM generate_series(1, 200000) n",
            "VACUUM ANALYZE wide",
        )
        self._wait_level()

    def _wait_level(self):
        """Waits until each standby has replayed all of it, so that no side begins with late standbys."""
        goal = self.as_superuser("SELECT pg_current_wal_insert_lsn()")
        deadline = time.monotonic() + 120
        for node in self.nodes:
            if node is self.primary:
                continue
            while self.as_superuser(f"SELECT pg_last_wal_replay_lsn() >= '{goal}'", node=node) != "t":
                if time.monotonic() > deadline:
                    raise Failed(f"standby {node['name']} does not catch up")
                time.sleep(0.1)

    def as_superuser(self, *statements, node=None):
        """Runs statements by the socket, where the lab lets `postgres` in; returns what the last one says."""
        node = node or self.primary
        sockets = os.path.join(self.ready["directory"], "run")
        words = [word for statement in statements for word in ("-c", statement)]
        return run(
            "psql", "-XAtq", "-h", sockets, "-p", str(node["port"]), "-U", "postgres", "-d", "demo", *words
        ).strip()

    def url(self, node, user="demo:demo"):
        return f"postgres://{user}@{node['host']}:{node['port']}/demo"

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run(*command, **options):
    """Runs a command to its end and returns what it printed; `Failed` says what it complained about."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)[:300]} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout
