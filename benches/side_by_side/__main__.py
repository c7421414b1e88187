"""Measures Bellwether beside PgBouncer, HAProxy and no proxy, in one run on one throw-away cluster.

Sides take turns within each round, so that a noisy machine is noisy for all; a table shows medians and their ratios.
What holds on any machine is the proxy's own processor time, from /proc. Only Python's standard library is used.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time

import measures
import report
from lab import Failed, Lab
from sides import Bellwether, HAProxy, PgBouncer, Side, find


def main():
    options = arguments()
    chosen = choose(options)
    sockets = measures.raise_limits()
    options.idle = min(options.idle, sockets - 1000)
    directory = tempfile.mkdtemp(prefix="bellwether-bench-")
    os.chmod(directory, 0o755)
    lab = Lab(options.bellwether, options.nodes, options.scale)
    sides = {}
    try:
        results = {"about": about(options)}
        for pool in sorted({measure.pool for _, measure in chosen}):
            sides[pool] = make(options, lab, directory, pool)
            for side in sides[pool]:
                side.start()
                results["about"].setdefault(side.name, getattr(side, "version", ""))
        print(report.heading(results["about"]))
        for name, measure in chosen:
            results[name] = one(measure, sides[measure.pool], options)
            print(report.table(measure, results[name]), flush=True)
        if options.output:
            with open(options.output, "w") as file:
                json.dump(results, file, indent=1, ensure_ascii=False)
    finally:
        for side in (side for group in sides.values() for side in group):
            side.stop()
        lab.stop()
        shutil.rmtree(directory, ignore_errors=True)


def arguments():
    names = list(measures.all_measures())
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__.splitlines()[0], epilog="Measurements: " + ", ".join(names)
    )
    parser.add_argument("--bellwether", required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="only this measurement, or those that begin so (may be repeated)",
    )
    parser.add_argument("--seconds", type=int, default=5, help="length of one run of pgbench (5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; the median counts (3)")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's scale: 100,000 rows each (10)")
    parser.add_argument("--nodes", type=int, default=3, help="servers; Bellwether's reads go to the standbys (3)")
    parser.add_argument(
        "--workers",
        type=int,
        action="append",
        help="Bellwether with that many workers; several compare (default: as the program)",
    )
    parser.add_argument("--idle", type=int, default=10_000, help="idle clients to hold (10000)")
    parser.add_argument(
        "--pgbouncer", default=find("pgbouncer"), help="program to compare with, if not the installed one"
    )
    parser.add_argument("--haproxy", default=find("haproxy"), help="the same")
    parser.add_argument("--output", metavar="FILE", help="writes all figures there, as JSON")
    return parser.parse_args()


def choose(options):
    every = measures.all_measures()
    if not options.only:
        return list(every.items())
    chosen = [(name, measure) for name, measure in every.items() if any(name.startswith(part) for part in options.only)]
    if not chosen:
        sys.exit(f"bench: no measurement begins with {' or '.join(options.only)}; there are: {', '.join(every)}")
    return chosen


def make(options, lab, directory, pool):
    sides = [Side(lab, directory, pool)]
    if options.pgbouncer:
        sides.append(PgBouncer(lab, directory, pool, options.pgbouncer))
    if options.haproxy:
        sides.append(HAProxy(lab, directory, pool, options.haproxy))
    return sides + [Bellwether(lab, directory, pool, options.bellwether, workers) for workers in options.workers or [0]]


def one(measure, sides, options):
    """Rounds of one measurement, the sides in turn; the median of each figure by side, or why there is none."""
    taken = {side.name: measure.needs(side) or [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            if isinstance(taken[side.name], list):
                taken[side.name].append(measure.take(side, options))
    return {
        name: (
            rounds
            if isinstance(rounds, str)
            else {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}
        )
        for name, rounds in taken.items()
    }


def about(options):
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "nodes": options.nodes,
        "scale": options.scale,
        "seconds": options.seconds,
        "rounds": options.rounds,
    }


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench: {failed}")
