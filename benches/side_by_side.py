#!/usr/bin/env python3
"""pgbench's select-only transaction, direct and through the proxy, in one run on one lab cluster.

Both sides take turns in each round, so that a noisy machine is noisy for both. The figure that holds on any
machine is the proxy's own processor time per transaction, from /proc. Only the standard library is used.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys

MODES = ("simple", "extended", "prepared")


def main():
    options = arguments()
    demo = subprocess.Popen(
        [options.bellwether, "demo", "--json", "--nodes", str(options.nodes)], stdout=subprocess.PIPE, text=True
    )
    try:
        ready = wait_ready(demo)
        primary = next(node for node in ready["nodes"] if node["role"] == "primary")
        direct = f"postgres://demo:demo@{primary['host']}:{primary['port']}/demo"
        pgbench(direct, "-i", "-q", "-s", str(options.scale))
        print(f"{options.clients} clients, {options.seconds} s a run, {options.rounds} rounds, {options.nodes} nodes")
        print(f"{'':10}{'direct tps':>12}{'proxy tps':>12}{'ratio':>8}{'proxy CPU µs/tx':>18}")
        for mode in options.mode or MODES:
            report(mode, [one_round(options, mode, direct, ready) for _ in range(options.rounds)])
    finally:
        demo.terminate()
        demo.wait()


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--bellwether", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=5, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind; the median is shown")
    parser.add_argument("--scale", type=int, default=5, help="pgbench scale: 100,000 rows each")
    parser.add_argument("--nodes", type=int, default=3, help="servers; reads through the proxy go to the standbys")
    parser.add_argument("--mode", action="append", choices=MODES, help="only this query mode (may be repeated)")
    return parser.parse_args()


def wait_ready(demo):
    for line in demo.stdout:
        event = json.loads(line)
        if event["event"] == "ready":
            return event
        if event["event"] == "report":
            sys.exit(f"bench: the cluster did not start: {event['error']}")
    sys.exit("bench: the cluster did not start")


def one_round(options, mode, direct, ready):
    """Returns (direct tps, proxy tps, proxy CPU microseconds per transaction)."""
    run = ("-n", "-S", "-M", mode, "-c", str(options.clients), "-j", "2", "-T", str(options.seconds))
    straight = figures(pgbench(direct, *run))
    before = cpu_seconds(ready["proxy_pid"])
    through = figures(pgbench(ready["endpoint"], *run))
    spent = cpu_seconds(ready["proxy_pid"]) - before
    return straight["tps"], through["tps"], spent * 1e6 / through["transactions"]


def pgbench(url, *options):
    done = subprocess.run(["pgbench", *options, url], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: pgbench {' '.join(options)} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def figures(output):
    return {
        "tps": float(re.search(r"tps = ([0-9.]+)", output).group(1)),
        "transactions": int(re.search(r"transactions actually processed: (\d+)", output).group(1)),
    }


def cpu_seconds(pid):
    """User and system time of a process so far (fields 14 and 15 of /proc/PID/stat)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(mode, rounds):
    direct, proxy, cpu = (statistics.median(column) for column in zip(*rounds))
    print(f"{mode:10}{direct:12.0f}{proxy:12.0f}{proxy / direct:8.2f}{cpu:18.1f}", flush=True)


if __name__ == "__main__":
    main()
