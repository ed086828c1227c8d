"""A run of random faults from a seed: ``python -m integration.chaos.run --seed 7 --number 300``.

Half of the faults befall a host whose agent is its own server, half one with a cluster of three servers. In each half,
the first half leaves the daemon alive, so that what it leaks would add up; then it is killed and stopped as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from integration.chaos.catalogue import draw
from integration.chaos.leaks import Held, held
from integration.chaos.step import Report, Steps
from integration.chaos.world import World
from integration.lab import Lab

WARM_UP = 5  # steps after which what the daemon holds is written down


@dataclass
class Summary:
    """What a run came to; ``record`` as JSON."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)  # by kind
    steps: int = 0
    seconds: float = 0.0
    announcements: int = 0
    withdrawals: int = 0
    unexpected_withdrawals: int = 0
    sessions: int = 0
    repairs: int = 0
    longest_settling: float = 0.0
    held: list[dict[str, int]] = field(default_factory=list)  # by the daemons that lived longest: at first, at last
    wrong: list[str] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Count a step."""
        self.steps += 1
        self.faults.update(name.partition("(")[0] for name in report.faults)
        self.announcements += report.account.announcements
        self.withdrawals += report.account.withdrawals
        self.unexpected_withdrawals += report.account.unexpected_withdrawals
        self.sessions += report.account.sessions
        self.longest_settling = max(self.longest_settling, report.settled_in)

    def record(self) -> dict[str, Any]:
        """The summary as it is written down."""
        return {**asdict(self), "faults": dict(sorted(self.faults.items())), "number": self.faults.total()}


def run(seed: int, number: int, say: Callable[[str], object] = print, keep_going: bool = False) -> Summary:
    """Run ``number`` faults. Stops at the first thing that is wrong, unless told to go on in a new world."""
    summary = Summary(seed)
    began = time.monotonic()
    for cluster, part in ((False, (number + 1) // 2), (True, number // 2)):
        say(f"seed {seed}: {part} faults with {'a cluster of three servers' if cluster else 'a single agent'}")
        rng = random.Random(f"{seed}/{cluster}")
        done = 0
        while done < part:
            with Lab() as lab:
                done += _in_one_world(World(lab, cluster=cluster), rng, part, done, summary, say)
                if summary.wrong:
                    say(lab.tail(60))
            if summary.wrong and not keep_going:
                summary.seconds = time.monotonic() - began
                return summary
    summary.seconds = time.monotonic() - began
    return summary


def _in_one_world(
    world: World, rng: random.Random, part: int, done: int, summary: Summary, say: Callable[[str], object]
) -> int:
    """Run until the part is done or something is wrong. Returns how many faults that were."""
    steps = Steps(world)
    faults = 0
    first: Held | None = None
    number = 0
    wrong: list[str] = []
    while done + faults < part and not wrong:
        ending = done + faults >= part / 2
        if ending and first is not None:
            wrong, first = _leaks(world, first, summary, say), None
        chosen, nested = draw(rng, world, ending_daemon=ending)
        at = time.strftime("%T")
        try:
            report = steps.run(*chosen, nested=nested)
        except (OSError, AssertionError, RuntimeError, HTTPException) as error:
            ended = "" if world.daemon.process.alive else f"; the daemon ended with {world.daemon.process.returncode}"
            wrong = [f"{' + '.join(map(str, chosen))} cannot be done: {error!r}{ended}"]
            break
        summary.add(report)
        faults += len(chosen)
        wrong += report.wrong
        say(f"{at} {done + faults:4d} {report}")
        number += 1
        if number == WARM_UP and not ending:
            first = held(world.daemon.process.pid, world.lab.dir)
    if first is not None and not wrong:
        wrong += _leaks(world, first, summary, say)
    summary.repairs += sum(
        log.read_text(errors="replace").count(" drift: ") for log in world.lab.dir.glob("*-consulcast.log")
    )
    for sentence in wrong:
        say(f"WRONG: {sentence}")
    summary.wrong += wrong
    return faults


def _leaks(world: World, first: Held, summary: Summary, say: Callable[[str], object]) -> list[str]:
    now = held(world.daemon.process.pid, world.lab.dir)
    summary.held += [asdict(first), asdict(now)]
    say(f"held at first: {first}; now: {now}")
    return [f"leak: {grown}" for grown in now.grown(first)]


def main() -> None:
    """Run as the arguments say; status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Random faults; what reaches the router is counted.")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--keep-going", action="store_true", help="after something was wrong, go on in a new world")
    parser.add_argument("--summary", type=Path, default=Path(".cache/chaos.json"), help="where the counts go")
    options = parser.parse_args()
    summary = run(options.seed, options.number, lambda line: print(line, flush=True), options.keep_going)
    options.summary.parent.mkdir(parents=True, exist_ok=True)
    options.summary.write_text(json.dumps(summary.record(), indent=1) + "\n")
    print(json.dumps(summary.record()))
    print(f"seed {summary.seed}: {len(summary.wrong)} wrong, {summary.faults.total()} faults, {summary.seconds:.0f} s")
    sys.exit(1 if summary.wrong else 0)


if __name__ == "__main__":
    main()
