"""Parts of the bench: a name, a bound on its time, a function that measures. One that fails harms no other."""

from __future__ import annotations

import contextlib
import fnmatch
import math
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bench.report import Result, Table, Target
from integration.lab import NotInTime

T = TypeVar("T")

CLOSING = 8.0  # seconds
STRETCH = 1.5  # of its budget, which a part may take when those before it have left so much
SPARE = 2.0  # seconds that are left after the last turn, for what a part has to do with what it found


class Overrun(BaseException):
    """A part's time is over. Not an ``Exception``, so that nothing on its way takes it for trouble of its own."""


@dataclass
class Run:
    """What a part is given, and where it puts what it finds: what is here when it fails is reported all the same."""

    rounds: int  # samples of each measure, where a part takes samples
    until: float  # when its time is over, of ``time.monotonic``
    result: Result
    samples: dict[str, list[float]] = field(default_factory=dict)  # for --json, by a name that tells what and of whom
    pictures: dict[str, str] = field(default_factory=dict)  # SVG by file name, for docs/images
    chosen: Collection[str] | None = None  # the measures that are to be played; None: all

    def wants(self, *measures: str) -> bool:
        """Whether one of these measures is to be played."""
        return self.chosen is None or any(measure in self.chosen for measure in measures)

    def short(self, why: str) -> None:
        """Mark the part as failed: it has found something, but less than it should. It goes on."""
        self.result.failed = "; ".join(filter(None, [self.result.failed, why]))

    def add(self, table: Table) -> None:
        """Report a table."""
        self.result.tables.append(table)

    def target(self, measure: str, limit: float, reached: float, unit: str, note: str = "") -> None:
        """Report what was reached of a target: at most ``limit``."""
        self.result.targets.append(Target(measure, limit, reached, unit, note))

    def tried(self, what: str, measure: Callable[[], T]) -> T | None:
        """Measure; when what is awaited does not come, the part has failed, but goes on. Returns None then."""
        try:
            return measure()
        except NotInTime as error:
            self.short(f"{what}: {error}")
            return None

    def left(self) -> float:
        """Seconds of its time that are left."""
        return self.until - time.monotonic()

    def turns(self, count: int, share: float = 1.0, least: int = 2) -> Iterator[int]:
        """Count up to ``count``, which is for 100 rounds, but no longer than a share of the time that is left.

        None is begun that would end too late, were it as long as the longest before. But ``least`` of them, so that
        there is a figure on any machine.
        """
        end, longest = time.monotonic() + (self.left() - SPARE) * share, 0.0
        for done in range(max(least, round(count * self.rounds / 100))):
            began = time.monotonic()
            if done >= least and began + longest > end:
                return
            yield done
            longest = max(longest, time.monotonic() - began)

    def say(self, text: str) -> None:
        """Tell somebody at a terminal how far it is."""
        if sys.stderr.isatty():
            print(f"\r\033[K{self.result.part}: {text}", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """One part: ``play`` measures within ``budget`` seconds, its start and end included.

    It is interrupted ``CLOSING`` seconds before, so that there is time to put everything away. What it measures has
    names of its own, ``measures``, no two parts' alike; ``play`` asks ``Run.wants`` for each. ``extra``: it is played
    when it is named, not when all are.
    """

    name: str
    title: str
    budget: float
    play: Callable[[Run], None]
    measures: tuple[str, ...] = ()
    extra: bool = False


@dataclass(frozen=True)
class Chosen:
    """A part that is to be played; ``measures``: which of its, None for all."""

    part: Part
    measures: frozenset[str] | None = None


def select(parts: Sequence[Part], names: Sequence[str]) -> list[Chosen]:
    """Return the parts, and measures, that are named, in the order of ``parts``; without names all that are not extra.

    A name may be a pattern (``critical@*``). Raises ``LookupError`` for one that names nothing.
    """
    if not names:
        return [Chosen(part) for part in parts if not part.extra]
    known = {name for part in parts for name in (part.name, *part.measures)}
    unknown = [name for name in names if not fnmatch.filter(known, name)]
    if unknown:
        raise LookupError(f"no part or measure is called {', '.join(unknown)}; there are\n{listed(parts)}")
    chosen = []
    for part in parts:
        measures = {one for name in names for one in fnmatch.filter(part.measures, name)}
        if any(fnmatch.fnmatch(part.name, name) for name in names):
            chosen.append(Chosen(part))
        elif measures:
            chosen.append(Chosen(part, None if measures == set(part.measures) else frozenset(measures)))
    return chosen


def listed(parts: Sequence[Part]) -> str:
    """Return the names of all parts, each with its measures, a line each."""
    return "\n".join(
        f"  {part.name} ({part.budget:g} s{', only when named' if part.extra else ''}): {' '.join(part.measures)}"
        for part in parts
    )


def play(chosen: Chosen, rounds: int, load: Callable[[], float], budget: float = math.inf) -> Run:
    """Play a part to its end, in ``budget`` seconds or its own, if that is less. What goes wrong is in the result."""
    part = chosen.part
    began, budget = time.monotonic(), min(budget, part.budget * STRETCH)
    run = Run(
        rounds,
        began + budget - CLOSING,
        Result(part.name, part.title, load_begin=load()),
        chosen=chosen.measures,
    )
    try:
        with bounded(budget - CLOSING):
            part.play(run)
    except Overrun:
        run.short(f"not done within {budget:.0f} s")
    except Exception as error:  # noqa: BLE001 - the other parts go on, and this one's failure is reported
        run.short(f"{type(error).__name__}: {error}")
    run.result.seconds, run.result.load_end = time.monotonic() - began, load()
    return run


class Purse:
    """The time of all parts together: each has its budget, and what is left over, or those before it have not used.

    So one that takes its time never costs a later one its own, and none ends later than all of them together may.
    """

    def __init__(self, chosen: Sequence[Chosen], total: float, now: float) -> None:
        self._chosen = list(chosen)
        self._due, self._end = now + max(0.0, total - sum(one.part.budget for one in chosen)), now + total

    def budget(self, number: int, now: float) -> float:
        """Return the seconds that the part with this number has, were it begun now."""
        self._due += self._chosen[number].part.budget
        return max(0.0, min(self._due, self._end) - now)


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise ``Overrun`` in the block (of the main thread) when it takes longer."""

    def over(*_: object) -> None:
        raise Overrun

    if seconds <= 0:
        raise Overrun
    former = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
