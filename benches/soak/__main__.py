"""Has clients of every kind come and go at a high rate, and tells whether the proxy keeps anything of them.

The same churn runs twice: a short one, after which everybody leaves and a level is taken, and a long one, after which
the level must be the same. Every answer is checked as well. Only Python's standard library is used.
"""

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "side_by_side"))

import graph
from churn import Churn
from lab import Failed, Lab
from sides import Bellwether
from watch import Watch

# How much more memory may be in use after the long churn than after the short one, in MiB: what the allocator happens
# to keep. In 20 minutes of 300 clients a second a leak of 24 bytes a client would be more.
ALLOWED_MIB = 8
# Connections to a node for each of the two users, and what the pools may add to them when somebody waits for long.
POOL, RESERVE = 20, 5


class Endpoint(Bellwether):
    """The proxy as measurements have it, with TLS besides, and little patience with those who do not log in."""

    def __init__(self, lab, directory, binary):
        super().__init__(lab, directory, POOL, binary, 0)
        self.certificate = os.path.join(directory, "certificate.pem")
        self.key = os.path.join(directory, "key.pem")
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 2"
        subprocess.run(
            [*make.split(), "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True
        )

    def config(self):
        # Short, for those who never log in; long enough for those who do on a busy machine.
        patience = super().config().replace("[auth]\n", '[auth]\nlogin_timeout = "10s"\n')
        return f'{patience}[tls]\ncert = "{self.certificate}"\nkey = "{self.key}"\n'


def main():
    options = arguments()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    directory = tempfile.mkdtemp(prefix="bellwether-soak-")
    os.chmod(directory, 0o755)
    lab = Lab(options.bellwether, 3, 1)
    side = None
    try:
        lab.as_superuser("GRANT demo, pg_monitor TO trusted", "ALTER TABLE sink SET (autovacuum_enabled = on)")
        side = Endpoint(lab, directory, options.bellwether)
        side.start()
        good = asyncio.run(soak(lab, side, options))
    finally:
        if side:
            side.stop()
        lab.stop()
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0 if good else 1)


def arguments():
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__.splitlines()[0])
    parser.add_argument("--bellwether", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=20, help="how long clients come and go in all (20)")
    parser.add_argument("--rate", type=float, default=300, help="clients a second (300)")
    parser.add_argument("--processes", type=int, default=2, help="processes that play the clients (2)")
    parser.add_argument("--graph", metavar="FILE", help="draws there what was sampled, as SVG")
    return parser.parse_args()


async def soak(lab, side, options):
    watch = Watch(lab, side)
    await watch.open()
    await watch.sample_for(3)
    marks, levels, counts, complaints = [], [], {}, []
    for share, word in ((0.15, "warm-up"), (0.85, "the long churn")):
        marks.append((watch.now(), word))
        churn = Churn(side.port, options.rate, options.processes)
        await watch.sample_for(share * options.minutes * 60)
        counted, told = await stopped(churn, watch)
        counts = {name: counts.get(name, 0) + count for name, count in counted.items()}
        complaints += told
        marks.append((watch.now(), "all left"))
        levels.append(await level(watch))
    if options.graph:
        with open(options.graph, "w") as file:
            file.write(drawn(watch, marks, counts))
    return report(options, watch, levels, counts, complaints, marks)


async def stopped(churn, watch):
    """Goes on sampling while the last clients end."""
    ended = asyncio.get_running_loop().run_in_executor(None, churn.stop)
    await watch.sample_for(120, lambda: not ended.done())
    return await ended


async def level(watch):
    """What is in use once everybody has left: of ten samples in the middle."""
    deadline = time.monotonic() + 30
    while (await watch.sample())["clients"] and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    begin = len(watch.samples)
    await watch.sample_for(10)
    taken = watch.samples[begin:]
    return {key: statistics.median(sample[key] for sample in taken) for key in taken[0]}


def report(options, watch, levels, counts, complaints, marks):
    before, after = levels
    busiest = {key: max(sample[key] for sample in watch.samples) for key in watch.samples[0]}
    clients = counts["connections"] + counts["strangers"]
    seconds = options.minutes * 60
    print(
        f"{time.strftime('%Y-%m-%d')}: {clients} clients in {options.minutes:g} minutes, {clients / seconds:.0f} a second "
        f"(a day at {clients / 86400:.1f} a second); {counts['SCRAM']} logged in by SCRAM, {counts['TLS']} over TLS, "
        f"{counts['strangers']} did not get in; {counts['acts']} acts; {counts['unexpected']} answers that should not be\n"
    )
    print("| In use | After the warm-up | At the most | After the long churn |\n|---|---|---|---|")
    rows = [("memory, MiB", "memory"), ("threads", "threads"), ("file descriptors", "descriptors")]
    rows += [("of clients", "clients"), ("to servers, probes included", "to servers"), ("of all else", "others")]
    rows += [(f"connections to server {name}", f"servers {name}") for name in watch.nodes]
    rows += [(f"in a transaction on {name}", f"in transaction {name}") for name in watch.nodes]
    rows += [(f"advisory locks on {name}", f"advisory locks {name}") for name in watch.nodes]
    for title, key in rows:
        print(f"| {title} | {before[key]:.4g} | {busiest[key]:.4g} | {after[key]:.4g} |")
    grown = after["memory"] - before["memory"]
    long = clients * 0.85
    checks = {
        f"memory grew by {grown:.1f} MiB, {grown * 2**20 / long:.0f} bytes a client": grown <= ALLOWED_MIB,
        f"descriptors of no client or server: {before['others']:.0f} before, {after['others']:.0f} after": after["others"]
        <= before["others"],
        f"threads: {before['threads']:.0f} before, {after['threads']:.0f} after": after["threads"] <= before["threads"],
        f"clients left: {after['clients']:.0f}": after["clients"] == 0,
        "connections to servers within the pools' sizes": all(
            after[f"servers {name}"] <= 2 * (POOL + RESERVE) for name in watch.nodes
        ),
        "no transaction and no lock is left on any server": not any(
            after[f"in transaction {name}"] or after[f"advisory locks {name}"] for name in watch.nodes
        ),
        f"answers that should not be: {counts['unexpected']}": counts["unexpected"] == 0,
    }
    print()
    for check, good in checks.items():
        print(f"{'ok  ' if good else 'FAIL'} {check}")
    for complaint in complaints[:10]:
        print(f"     {complaint}")
    return all(checks.values())


def drawn(watch, marks, counts):
    title = f"{counts['connections'] + counts['strangers']} clients come and go, {time.strftime('%Y-%m-%d')}"
    nodes = [(f"server {name}", f"servers {name}") for name in watch.nodes]
    panels = [
        ("Clients connected", [("clients", "clients")]),
        ("Connections that servers have of clients", nodes),
        ("File descriptors of the proxy", [("all", "descriptors"), ("to servers", "to servers"), ("others", "others")]),
        ("Memory of the proxy, MiB", [("resident, its own", "memory")]),
        ("Threads of the proxy", [("threads", "threads")]),
    ]
    return graph.draw(title, watch.samples, panels, marks)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"soak: {failed}")
