"""What is fuzzed: a function that takes a case and must end in a value or in the documented error, and soon."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Generic, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

SLOW = 2.0  # seconds of CPU time for one case; the slowest that is no fault takes 0.3


class Slow(Exception):
    """A case takes for ever."""


@dataclass(frozen=True)
class Target(Generic[T]):
    """One thing to fuzz. ``check`` returns a word for how the case ended, and raises anything if it ended badly."""

    name: str
    check: Callable[[T], str]
    cases: st.SearchStrategy[T]
    read: Callable[[bytes], T] | None = None  # a case of any bytes: so it can be guided by coverage
    seeds: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()  # that are hard to guess

    def once(self, case: T) -> str:
        """Run one case."""
        with bounded(SLOW):
            return self.check(case)


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise ``Slow`` in what takes more CPU time than that."""

    def expired(number: int, frame: FrameType | None) -> None:
        raise Slow(f"more than {seconds:g} s of CPU time")

    signal.signal(signal.SIGVTALRM, expired)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def of_bytes(
    name: str, check: Callable[[bytes], str], seeds: tuple[bytes, ...], words: tuple[bytes, ...] = ()
) -> Target[bytes]:
    """Make a target whose cases are bytes: good ones, with a few slips in them."""
    return Target(name, check, mutated(seeds, words), bytes, seeds, words)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...], words: tuple[bytes, ...]) -> bytes:
    """A good text with a few pieces of it taken out, doubled, moved or replaced."""
    data = draw(st.sampled_from(seeds))
    pieces = st.one_of(st.sampled_from(words), st.binary(max_size=8), st.text(max_size=4).map(_utf8))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.one_of(st.integers(0, 12), st.integers(0, len(data)))))
        middle = draw(st.one_of(pieces, pieces, st.just(data[start:end] * 2), st.sampled_from(seeds)))
        data = data[:start] + middle + data[end:]
    return data


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
