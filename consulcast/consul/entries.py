"""Entries of JSON that come over and over with few of them changed: only these are decoded, the others are shared.

Consul answers with all there is whenever one thing has changed. What the text has in common with the former one, at its
beginning and at its end, is found by comparing bytes, which costs a small part of what decoding them does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from operator import is_
from typing import Any, Generic, Protocol, TypeVar

from msgspec import DecodeError, Raw
from msgspec.json import Decoder


class Named(Protocol):
    """What an entry of a list has."""

    @property
    def id(self) -> str:
        """Its name among the others."""


E = TypeVar("E", bound=Named)

_SPACE = b" \t\n\r"  # JSON's; bytes.strip() takes more for space
_STEPS = (16384, 1024, 64, 8, 1)  # bytes that are compared at once, narrowing down


class Entries(Generic[E]):
    """The entries of ``{"name": {…}, …}``, or with ``listed`` of ``[{…}, …]``, each a ``kind``.

    An entry that equals the former of its name is the same object, and when nothing has changed, so is the whole.
    """

    def __init__(self, kind: type[E], *, listed: bool = False, thrifty: Callable[[E], E] = lambda entry: entry) -> None:
        """``thrifty``: makes of an entry an equal one that takes less memory, as it stays for long."""
        self._listed, self._thrifty = listed, thrifty
        self._opening, self._closing = (b"[", b"]") if listed else (b"{", b"}")
        self._typed, self._raw, self._number = (
            Decoder(list[one] if listed else dict[str, one])  # type: ignore[valid-type]  # types that are values
            for one in (kind, Raw, int)
        )
        self._text = b""
        self._names: list[str] = []
        self._entries: list[E] = []
        self._ends: list[int] = []  # where each entry ends in the text; empty: not known
        self.in_order: tuple[E, ...] = ()
        self.by_name: dict[str, E] = {}  # empty if listed

    def read(self, text: bytes) -> None:
        """Bring ``in_order`` and ``by_name`` up to ``text``. Raises what ``msgspec`` raises, changing nothing."""
        if text != self._text:
            if not self._splice(text):
                names, entries = self._decoded(text)
                self._put(0, len(self._names), names, entries, self._found(text, names))
            self._text = text

    def _splice(self, text: bytes) -> bool:
        """Read only what is between the first change and the last; False: it must be read as a whole.

        Entries that are known, then a piece that makes a list of entries by itself, then others that are known: with
        the right commas this is a list of entries again, whatever the piece is.
        """
        former, ends = self._text, self._ends
        most, grown = min(len(former), len(text)), len(text) - len(former)
        alike = _alike(former, text, most)
        first = bisect_right(ends, alike)
        last = bisect_left(ends, len(former) - _alike(former, text, most - alike, back=True))
        if last == len(ends):
            return False
        begin, end = ends[first - 1] if first else 0, ends[last] + grown
        names: list[str] = []
        entries: list[E] = []
        found: list[int] = []
        if begin < end or not first:
            before = text.find(b"," if first else self._opening, begin, end)
            if text[begin:before].strip(_SPACE):
                return False
            piece = self._opening + text[before + 1 : end] + self._closing
            try:
                names, entries = self._decoded(piece)
            except (DecodeError, UnicodeDecodeError, RecursionError):
                return False
            found = [before + at for at in self._found(piece, names)]  # the bracket stands for what was before
            if not found:
                return False
        if grown:
            self._ends = [at if at <= alike else at + grown for at in ends]
        self._put(first, last + 1, names, entries, found)
        return True

    def _decoded(self, text: bytes) -> tuple[list[str], list[E]]:
        decoded: Any = self._typed.decode(text)
        return ([entry.id for entry in decoded], decoded) if self._listed else (list(decoded), list(decoded.values()))

    def _found(self, text: bytes, names: list[str]) -> list[int]:
        """Where each entry ends; empty if that cannot be proven."""
        raws: Any = self._raw.decode(text)
        ends, between, at = [], [], 0
        for raw in raws if self._listed else raws.values():
            start = text.find(b"{", at)
            while start >= 0 and not text.startswith(raw, start):  # a name may have a brace in it
                start = text.find(b"{", start + 1)
            if start < 0:
                return []
            between.append(text[at:start])
            at = start + len(raw)
            ends.append(at)
        try:  # with a number in the place of every entry, it must be as many numbers of the same names
            numbers: Any = self._number.decode(b"0".join([*between, text[at:]]))
        except DecodeError:
            return []
        return ends if (len(numbers) == len(names) if self._listed else list(numbers) == names) else []

    def _put(self, first: int, stop: int, names: list[str], entries: list[E], ends: list[int]) -> None:
        """Put these in the place of the former entries from ``first`` on, up to ``stop``."""
        former = self._entries[first:stop]
        known = dict(zip(self._names[first:stop], former, strict=True))
        entries = [
            old if (old := known.get(name)) is not None and old == entry else self._thrifty(entry)
            for name, entry in zip(names, entries, strict=True)
        ]
        same = names == self._names[first:stop] and all(map(is_, entries, former))
        self._names[first:stop], self._entries[first:stop], self._ends[first:stop] = names, entries, ends
        if not same:
            self.in_order = tuple(self._entries)
            self.by_name = {} if self._listed else dict(zip(self._names, self._entries, strict=True))


def _alike(one: bytes, other: bytes, most: int, *, back: bool = False) -> int:
    """How many bytes are the same at the beginning, or at the end; ``most`` at most."""
    alike = 0
    for step in _STEPS:
        while alike + step <= most:
            if back:
                here = slice(len(one) - alike - step, len(one) - alike)
                there = slice(len(other) - alike - step, len(other) - alike)
            else:
                here = there = slice(alike, alike + step)
            if one[here] != other[there]:
                break
            alike += step
    return alike
