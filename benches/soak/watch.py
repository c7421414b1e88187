"""Samples the proxy and its servers, once a second."""

import asyncio
import os
import re
import time

from client import Client, query

# Ours are not counted: they come past the proxy.
BUSY = """SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in%'),
  (SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND usename IN ('demo', 'trusted'))
  FROM pg_stat_activity WHERE usename IN ('demo', 'trusted') AND backend_type = 'client backend'
  AND application_name <> 'watch'"""


class Watch:
    """Keeps a connection to each node, past the proxy."""

    def __init__(self, lab, side):
        self.lab, self.side, self.pid = lab, side, side.pids()[0]
        self.samples, self.began = [], time.monotonic()

    async def open(self):
        self.nodes = {node["name"]: await Client.connect(node["port"], "trusted") for node in self.lab.nodes}
        for node in self.nodes.values():
            await node.says("CZI", query("SET application_name = watch"))

    def now(self):
        return time.monotonic() - self.began

    async def sample(self):
        sample = {"at": self.now(), **self.process()}
        for name, node in self.nodes.items():
            servers, inside, locks = await figures(node)
            sample |= {f"servers {name}": servers, f"in transaction {name}": inside, f"advisory locks {name}": locks}
        self.samples.append(sample)
        return sample

    async def sample_for(self, seconds, going_on=lambda: True):
        """Samples each second for so long, or while `going_on` says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and going_on():
            due = time.monotonic() + 1
            await self.sample()
            await asyncio.sleep(max(0, due - time.monotonic()))

    def process(self):
        directory = f"/proc/{self.pid}"
        with open(f"{directory}/status") as file:
            status = file.read()
        opened = self.descriptors()
        return {
            "memory": self.side.resident() / 2**20,
            "threads": int(re.search(r"Threads:\s+(\d+)", status).group(1)),
            "descriptors": sum(opened.values()),
            **opened,
        }

    def descriptors(self):
        """The proxy's file descriptors by what they are for: its clients, servers (probes included), and all else."""
        ours, servers = self.side.port, {node["port"] for node in self.lab.nodes}
        with open(f"/proc/{self.pid}/net/tcp") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        port = lambda address: int(address.rsplit(":")[1], 16)
        kinds = {}
        for row in rows:
            if port(row[2]) in servers:
                kinds[f"socket:[{row[9]}]"] = "to servers"
            elif port(row[1]) == ours and port(row[2]):
                kinds[f"socket:[{row[9]}]"] = "clients"
        found = {"clients": 0, "to servers": 0, "others": 0}
        for number in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found[kinds.get(os.readlink(f"/proc/{self.pid}/fd/{number}"), "others")] += 1
            except FileNotFoundError:
                pass
        return found


async def figures(node):
    node.send(query(BUSY))
    found = []
    while True:
        kind, body = await node.message()
        if kind == "D":
            rest = body[2:]
            while rest:
                length = int.from_bytes(rest[:4], "big")
                found.append(int(rest[4 : 4 + length]))
                rest = rest[4 + length :]
        if kind == "Z":
            return found
