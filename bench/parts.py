"""Parts of the bench: a name, a bound on its time, a function that measures. One that fails harms no other."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.report import Result, Table, Target

CLOSING = 8.0  # seconds
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

    def add(self, table: Table) -> None:
        """Report a table."""
        self.result.tables.append(table)

    def target(self, measure: str, limit: float, reached: float, unit: str, note: str = "") -> None:
        """Report what was reached of a target: at most ``limit``."""
        self.result.targets.append(Target(measure, limit, reached, unit, note))

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

    It is interrupted ``CLOSING`` seconds before, so that there is time to put everything away.
    """

    name: str
    title: str
    budget: float
    play: Callable[[Run], None]


def select(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """Return the named parts, or all, in the order of ``parts``. Raises ``LookupError`` for a name of none."""
    unknown = set(names) - {part.name for part in parts}
    if unknown:
        known = ", ".join(part.name for part in parts)
        raise LookupError(f"no part is called {', '.join(sorted(unknown))}; there are {known}")
    return [part for part in parts if not names or part.name in names]


def play(part: Part, rounds: int, load: Callable[[], float], left: float = math.inf) -> Run:
    """Play a part to its end, within its time and what is ``left`` for all. What goes wrong is in ``result.failed``."""
    began, budget = time.monotonic(), min(part.budget, left)
    run = Run(rounds, began + budget - CLOSING, Result(part.name, part.title, load_begin=load()))
    try:
        with bounded(budget - CLOSING):
            part.play(run)
    except Overrun:
        run.result.failed = f"not done within {budget:.0f} s"
    except Exception as error:  # noqa: BLE001 - the other parts go on, and this one's failure is reported
        run.result.failed = f"{type(error).__name__}: {error}"
    run.result.seconds, run.result.load_end = time.monotonic() - began, load()
    return run


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
