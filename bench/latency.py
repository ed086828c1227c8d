"""The part ``latency``: every measure, on consulcast and on the floor in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from bench.measures import MEASURES, OF_SERVICE, Measure
from bench.parts import Part, Run
from bench.picture import Row, strips
from bench.report import Cell, Table, figure
from bench.spread import Spread
from bench.world import Side, Site
from integration.lab import Lab

# consulcast answers five changes at once and after that one per second, which protects Consul from it and is not what
# is measured here. So each host is left alone for some seconds between its rounds, and several pairs take turns.
PAIRS = 5
ROUND = 4.5  # seconds that all pairs' turns together take at least: four changes each
HEAD = ("ms", "rounds", "of", "median", "p95", "p99", "max", "ratio", "excess, median", "excess, p99")
# median and p99, in milliseconds over the floor's
TARGETS = {"critical": (3.0, 8.0), "listener": (3.0, 8.0), "tag": (5.0, 12.0)}
Samples = Mapping[str, tuple[list[float], list[float]]]  # of both sides, by the measure's name


def play(run: Run) -> None:
    """Measure."""
    measures = needed(run.wants)
    samples: dict[str, tuple[list[float], list[float]]] = {measure.name: ([], []) for measure in measures}
    try:
        with Lab() as lab:
            pairs = Site(lab, 2 * PAIRS).pairs()
            time.sleep(1.0)  # what the start has stirred up settles
            for done in run.turns(100):
                run.say(f"round {done + 1}")
                in_turn(pairs[done % PAIRS], measures, samples, swapped=done // PAIRS % 2 == 1, pairs=PAIRS)
    finally:
        _report(run, {name: both for name, both in samples.items() if run.wants(name)})


def needed(wants: Callable[[str], bool]) -> list[Measure]:
    """Return what has to be played for the measures that are wanted: those of the service bring each other about."""
    service = any(wants(measure.name) for measure in OF_SERVICE)
    return [one for one in MEASURES if (service if one in OF_SERVICE else wants(one.name))]


def in_turn(
    pair: tuple[Side, Side],
    measures: Sequence[Measure],
    samples: Samples,
    *,
    swapped: bool,
    pairs: int,
    before: Callable[[int, str], None] = lambda which, name: None,
) -> None:
    """Play the measures once on both sides; ``swapped``: the floor goes first. One of ``pairs`` that take turns.

    ``before`` is told which side is about to have which change, and at the end, with "", that each has had its last.
    """
    order = (1, 0) if swapped else (0, 1)
    for measure in measures:
        for which in order:
            before(which, measure.name)
            began = time.monotonic()
            samples[measure.name][which].append(measure.play(pair[which]))
            turn = ROUND / (pairs * len(measures) * 2)
            time.sleep(max(0.05, turn - (time.monotonic() - began)))
    for which in order:
        before(which, "")


def _report(run: Run, samples: Samples) -> None:
    rows: list[list[Cell]] = []
    strip: list[Row] = []
    titles = {measure.name: measure.title for measure in MEASURES}
    for name, (ours, floors) in samples.items():
        if not ours or not floors:
            continue
        title, us, floor = titles[name], Spread.of(ours), Spread.of(floors)
        excess = us.median - floor.median, us.p99 - floor.p99
        rows.append(
            [title, us.count, "consulcast", us.median, us.p95, us.p99, us.most, us.median / floor.median, *excess]
        )
        rows.append(["", floor.count, "floor", floor.median, floor.p95, floor.p99, floor.most, None, None, None])
        strip += [Row(title, "consulcast", ours), Row("", "floor", floors)]
        run.samples |= {f"{title}, consulcast": ours, f"{title}, floor": floors}
        _targets(run, name, title, us, floor)
    if rows:
        run.add(Table("From the change to the UPDATE at the router", HEAD, rows))
        run.pictures["latency.svg"] = strips("Milliseconds from the change to the UPDATE at the router", strip)


def _targets(run: Run, name: str, title: str, us: Spread, floor: Spread) -> None:
    """Hold both figures to the target; where the machine makes the floor's own p99 jump, the ratio says more."""
    if name not in TARGETS:
        return
    median, p99 = TARGETS[name]
    run.target(
        f"{title}: median over the floor's", median, us.median - floor.median, "ms", _ratio(us.median, floor.median)
    )
    noise = f"{_ratio(us.p99, floor.p99)}; the floor's p99 is {figure(floor.p99 / floor.median)} × its median"
    run.target(f"{title}: p99 over the floor's", p99, us.p99 - floor.p99, "ms", noise)


def _ratio(ours: float, floor: float) -> str:
    return f"{figure(ours / floor)} × the floor's"


PART = Part("latency", "Latency", 112, play, tuple(measure.name for measure in MEASURES))
