"""``make bench``: play the measures on consulcast and on the floor in turn, and print the table."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from bench.measures import MEASURES
from bench.report import table
from bench.world import build
from integration.lab import Lab, NotInTime

# consulcast answers five changes at once and after that one per second, which protects Consul from it and is not what
# is measured here. So each host is left alone for some seconds between its rounds, and several pairs take turns.
PAIRS = 3
ROUND = 4.5  # seconds that all pairs' turns together take at least: four changes each


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="samples of each measure and side (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE, in milliseconds")
    options = parser.parse_args()
    rounds = max(2, options.rounds)
    if os.geteuid() != 0:
        sys.exit("bench needs root: it makes network namespaces")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in MEASURES}
    try:
        with Lab() as lab:
            _measure(lab, rounds, samples)
    except NotInTime as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print(table(samples))
    if options.json:
        both = {name: {"consulcast": ours, "floor": floors} for name, (ours, floors) in samples.items()}
        options.json.write_text(json.dumps(both, indent=1, ensure_ascii=False) + "\n")
    print(f"\nload average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0


def _measure(lab: Lab, rounds: int, samples: dict[str, tuple[list[float], list[float]]]) -> None:
    pairs = build(lab, PAIRS)
    time.sleep(1.0)  # what the start has stirred up settles
    turns = len(pairs) * len(MEASURES) * 2
    for done in range(rounds):
        pair = pairs[done % len(pairs)]
        for name, measure in MEASURES.items():
            order = (0, 1) if done // len(pairs) % 2 == 0 else (1, 0)  # who goes first changes
            for which in order:
                began = time.monotonic()
                milliseconds = measure(pair[which])
                samples[name][which].append(milliseconds)
                time.sleep(max(0.05, ROUND / turns - (time.monotonic() - began)))
        if sys.stderr.isatty():
            print(f"\r{done + 1} of {rounds} rounds", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
