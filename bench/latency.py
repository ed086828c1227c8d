"""The part ``latency``: every measure, on consulcast and on the floor in turn."""

from __future__ import annotations

import time

from bench.measures import MEASURES
from bench.parts import Part, Run
from bench.picture import Row, strips
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Side, build
from integration.lab import Lab

# consulcast answers five changes at once and after that one per second, which protects Consul from it and is not what
# is measured here. So each host is left alone for some seconds between its rounds, and several pairs take turns.
PAIRS = 4
ROUND = 4.5  # seconds that all pairs' turns together take at least: four changes each
HEAD = ("ms", "rounds", "of", "median", "p95", "p99", "max", "ratio", "excess, median", "excess, p99")
# median and p99, in milliseconds over the floor's
TARGETS = {"critical → withdraw": (3.0, 8.0), "listener killed → withdraw": (3.0, 8.0), "tag → announce": (5.0, 12.0)}


def play(run: Run) -> None:
    """Measure."""
    samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in MEASURES}
    try:
        with Lab() as lab:
            pairs = build(lab, PAIRS)
            time.sleep(1.0)  # what the start has stirred up settles
            for done in range(run.rounds):
                run.say(f"round {done + 1} of {run.rounds}")
                _round(pairs[done % PAIRS], samples, done // PAIRS % 2 == 1)
    finally:
        _report(run, samples)


def _round(pair: tuple[Side, Side], samples: dict[str, tuple[list[float], list[float]]], swapped: bool) -> None:
    for name, measure in MEASURES.items():
        for which in (1, 0) if swapped else (0, 1):  # who goes first changes
            began = time.monotonic()
            samples[name][which].append(measure(pair[which]))
            turn = ROUND / (PAIRS * len(MEASURES) * 2)
            time.sleep(max(0.05, turn - (time.monotonic() - began)))


def _report(run: Run, samples: dict[str, tuple[list[float], list[float]]]) -> None:
    rows: list[list[Cell]] = []
    strip: list[Row] = []
    for name, (ours, floors) in samples.items():
        if not ours or not floors:
            continue
        us, floor = Spread.of(ours), Spread.of(floors)
        excess = us.median - floor.median, us.p99 - floor.p99
        rows.append(
            [name, us.count, "consulcast", us.median, us.p95, us.p99, us.most, us.median / floor.median, *excess]
        )
        rows.append(["", floor.count, "floor", floor.median, floor.p95, floor.p99, floor.most, None, None, None])
        strip += [Row(name, "consulcast", ours), Row("", "floor", floors)]
        run.samples |= {f"{name}, consulcast": ours, f"{name}, floor": floors}
        for which, limit, reached in zip(("median", "p99"), TARGETS.get(name, ()), excess, strict=False):
            run.target(f"{name}: {which} over the floor's", limit, reached, "ms")
    if rows:
        run.add(Table("From the change to the UPDATE at the router", HEAD, rows))
        run.pictures["latency.svg"] = strips("Milliseconds from the change to the UPDATE at the router", strip)


PART = Part("latency", "Latency", 150, play)
