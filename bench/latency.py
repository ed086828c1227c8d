"""The part ``latency``: every measure, on consulcast and on the floor in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from bench.measures import MEASURES
from bench.parts import Part, Run
from bench.picture import Row, strips
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Side, Site, laboratory

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
        with laboratory() as lab:
            pairs = Site(lab, 2 * PAIRS).pairs()
            time.sleep(1.0)  # what the start has stirred up settles
            for done in run.turns(100):
                run.say(f"round {done + 1}")
                in_turn(pairs[done % PAIRS], MEASURES, samples, swapped=done // PAIRS % 2 == 1, pairs=PAIRS)
    finally:
        _report(run, samples)


def in_turn(
    pair: tuple[Side, Side],
    measures: Mapping[str, Callable[[Side], float]],
    samples: Mapping[str, tuple[list[float], list[float]]],
    *,
    swapped: bool,
    pairs: int,
) -> None:
    """Play the measures once on both sides; ``swapped``: the floor goes first. One of ``pairs`` that take turns."""
    for name, measure in measures.items():
        for which in (1, 0) if swapped else (0, 1):
            began = time.monotonic()
            samples[name][which].append(measure(pair[which]))
            turn = ROUND / (pairs * len(measures) * 2)
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


PART = Part("latency", "Latency", 140, play)
