"""What is compared: no proxy at all, PgBouncer, HAProxy as a plain relay of TCP, and Bellwether."""

import os
import re
import shutil
import socket
import subprocess
import time

from lab import TRUSTED, Failed, run

TICKS = os.sysconf("SC_CLK_TCK")


class Side:
    """One way to the servers. Processes are started by `start` and ended by `stop`."""

    name = "direct"
    # Whether there are fewer server connections than clients, so that waiting in line is part of what is measured.
    pools = False

    def __init__(self, lab, directory, pool):
        self.lab, self.directory, self.pool = lab, directory, pool
        self.port = lab.primary["port"]
        self.process = None

    def start(self):
        """Begins to listen; the plain side has nothing to start."""

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def url(self, user="demo:demo"):
        return f"postgres://{user}@127.0.0.1:{self.port}/demo"

    def can(self, measure):
        """Why this side takes no part in a measurement, or None."""
        return None

    def pids(self):
        return []

    def cpu(self):
        """User and system seconds so far, of all processes and threads (fields 14 and 15 of /proc/PID/stat)."""
        user = system = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return user / TICKS, system / TICKS

    def resident(self):
        """Memory in bytes that is in RAM and this process' own."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as status:
                total += sum(int(kb) for kb in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+)", status.read()))
        return total * 1024

    def path(self, name):
        return os.path.join(self.directory, f"{self.name}-{self.pool}-{name}".lower())

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        os.chmod(self.path(name), 0o644)
        return self.path(name)

    def spawn(self, *command):
        with open(self.path("log"), "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if subprocess.run(["psql", "-XAtqc", "SELECT 1", self.url()], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        with open(self.path("log")) as log:
            raise Failed(f"{self.name} does not start:\n{log.read()[-2000:]}")


class PgBouncer(Side):
    """Transaction pooling to the primary."""

    name, pools = "PgBouncer", True

    def __init__(self, lab, directory, pool, binary):
        super().__init__(lab, directory, pool)
        self.binary, self.port = binary, free_port()
        version = run(binary, "--version")
        self.version = re.search(r"PgBouncer (\S+)", version).group(1)

    def can(self, measure):
        numbers = tuple(int(part) for part in self.version.split(".")[:2])
        if measure.mode == "prepared" and numbers < (1, 21):
            return f"PgBouncer {self.version} has no prepared statements in transaction pooling"
        return None

    def start(self):
        verifier = self.lab.as_superuser("SELECT passwd FROM pg_shadow WHERE usename = 'demo'")
        users = self.write("users.txt", f'"demo" "{verifier}"\n"{TRUSTED}" ""\n')
        rules = self.write(
            "hba.conf", f"host all {TRUSTED} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        primary = self.lab.primary
        config = self.write(
            "ini",
            f"[databases]\n* = host={primary['host']} port={primary['port']}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = hba\nauth_hba_file = {rules}\nauth_file = {users}\n"
            f"pool_mode = transaction\ndefault_pool_size = {self.pool}\nmax_client_conn = 11000\n"
            "log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n"
            + ("max_prepared_statements = 200\n" if self.can_prepare() else ""),
        )
        options = ("-u", "nobody") if os.geteuid() == 0 else ()
        self.spawn(self.binary, "-q", *options, config)

    def can_prepare(self):
        return tuple(int(part) for part in self.version.split(".")[:2]) >= (1, 21)

    def pids(self):
        return [self.process.pid]


class HAProxy(Side):
    """A relay of TCP that knows nothing of PostgreSQL: what two sockets cost."""

    name = "HAProxy"

    def __init__(self, lab, directory, pool, binary):
        super().__init__(lab, directory, pool)
        self.binary, self.port = binary, free_port()
        self.version = re.search(r"version (\S+)", run(binary, "-v")).group(1)

    def start(self):
        primary = self.lab.primary
        config = self.write(
            "cfg",
            "global\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n"
            "  timeout server 1h\n"
            f"listen postgres\n  bind 127.0.0.1:{self.port}\n  server primary {primary['host']}:{primary['port']}\n",
        )
        self.spawn(self.binary, "-db", "-f", config)

    def pids(self):
        return [self.process.pid]


class Bellwether(Side):
    """The proxy with all it does by default: splitting, session consistency, and pools to every node."""

    name, pools = "Bellwether", True

    def __init__(self, lab, directory, pool, binary, workers):
        super().__init__(lab, directory, pool)
        self.binary, self.port, self.workers = binary, free_port(), workers
        if workers:
            self.name = f"Bellwether-{workers}"
        self.version = run(binary, "--version").split()[1]

    def start(self):
        self.spawn(self.binary, "proxy", "-c", self.write("toml", self.config()))

    def config(self):
        nodes = "".join(f'{node["name"]} = "postgres://{node["host"]}:{node["port"]}"\n' for node in self.lab.nodes)
        return (
            f'listen = "127.0.0.1:{self.port}"\nworkers = {self.workers}\n'
            '[cluster]\nuser = "bellwether"\npassword = "bellwether"\n'
            f"[nodes]\n{nodes}[pool]\nsize = {self.pool}\nmax_clients = 11000\n"
            f'[auth]\nrules = ["host all {TRUSTED} all trust", "host all all all scram-sha-256"]\n'
            '[http]\nlisten = ""\n'
        )

    def pids(self):
        return [self.process.pid]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def find(name):
    """Where a peer's program is; Debian keeps some outside of a user's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
