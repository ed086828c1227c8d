"""Whether ExaBGP's table is what it has acknowledged: by its sum, and if that is wrong in parts, none of them long."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field

from consulcast.executor.bgp import commands, events
from consulcast.executor.bgp.ledger import Key, Ledger
from consulcast.model import IPAddress, Prefix
from consulcast.repairs import Kind, Repairs

PART = 100  # routes in one answer; it takes ExaBGP 1 ms
_NAMED = 3  # routes in a line of the log


class Question(Struct, frozen=True):
    """One part of the table of one peer: the prefixes whose number is ``part`` modulo ``parts``."""

    peer: IPAddress
    part: int
    parts: int


def part_of(prefix: Prefix, parts: int) -> int:
    """The part that a prefix is in: by the checksum of its form in an UPDATE, which ExaBGP computes as well."""
    size = (prefix.prefixlen + 7) // 8
    return zlib.crc32(bytes([prefix.prefixlen]) + prefix.network_address.packed[:size]) % parts


class Sweep(Struct):
    """One look at the whole table, and what it found."""

    questions: list[Question]
    expected: Mapping[Question, Collection[Key]]
    missing: list[Key] = field(default_factory=list)
    foreign: list[Key] = field(default_factory=list)
    changed: list[Key] = field(default_factory=list)

    @classmethod
    def of(cls, told: Collection[Key], peers: Iterable[IPAddress]) -> Sweep:
        """Plan a look at what these peers were told."""
        keys: dict[IPAddress, list[Key]] = {peer: [] for peer in peers}
        for key in told:
            if key.peer in keys:
                keys[key.peer].append(key)
        expected: dict[Question, list[Key]] = {}
        for peer, of_peer in keys.items():
            parts = len(of_peer) // PART + 1
            questions = [Question(peer, part, parts) for part in range(parts)]
            expected.update((question, []) for question in questions)
            for key in of_peer:
                expected[questions[part_of(key.prefix, parts)]].append(key)
        return cls(list(expected), expected)

    def next(self) -> Question | None:
        """What to ask next."""
        return self.questions.pop() if self.questions else None

    def compare(
        self,
        question: Question,
        found: Mapping[Prefix, str],
        told: Callable[[Key], str | None],
        under_way: Callable[[Key], bool],
    ) -> Iterator[Key]:
        """Compare an answer with what was acknowledged by then. Yields what must be said again."""
        for key in self.expected[question]:
            if key.prefix not in found and told(key) is not None and not under_way(key):
                self.missing.append(key)
                yield key
        for prefix, line in found.items():
            key = Key(question.peer, prefix)
            known = told(key)
            if under_way(key) or known == commands.to(question.peer, line):
                continue
            (self.foreign if known is None else self.changed).append(key)
            yield key

    @property
    def count(self) -> int:
        """How many routes were not as they should be."""
        return len(self.missing) + len(self.foreign) + len(self.changed)

    def text(self) -> str:
        """Say what was found."""
        kinds = (("missing", self.missing), ("unknown to us", self.foreign), ("changed", self.changed))
        return "ExaBGP's table: " + "; ".join(f"{_names(keys)} {word}" for word, keys in kinds if keys)


class Drift:
    """Looks at the table, has said again what is wrong, and tells once of each look.

    The sum of a peer's table tells nearly always that it is right. If not, which is also when something is under way,
    the routes are looked at, one part after the other.
    """

    def __init__(self, ledger: Ledger, repairs: Repairs) -> None:
        self._ledger, self._repairs = ledger, repairs
        self._unweighed: list[IPAddress] = []  # peers whose sum is yet to be asked for
        self._wrong: list[IPAddress] = []  # those whose sum is not the right one
        self._sweep: Sweep | None = None  # under way
        self._awaited: IPAddress | Question | None = None  # an answer about it

    def begin(self, peers: Iterable[IPAddress]) -> None:
        """Begin a look at what these peers are told, unless one is under way."""
        if self._sweep is None and self._awaited is None and not self._unweighed:
            self._unweighed, self._wrong = list(peers), []

    def ask(self) -> None:
        """Ask for what is next, unless an answer is awaited."""
        if self._awaited is not None:
            return
        if self._unweighed:
            self._awaited = self._unweighed.pop()
            self._ledger.ask(commands.table_sum(self._awaited), self._answered)
            return
        if self._sweep is None and self._wrong:
            self._sweep, self._wrong = Sweep.of(self._ledger.all_told(), self._wrong), []
        if self._sweep is None:
            return
        question = self._awaited = self._sweep.next()
        if question is None:
            self.end()
        else:
            self._ledger.ask(commands.table(question.peer, question.part, question.parts), self._answered)

    def _answered(self, ok: bool) -> None:
        self._awaited = None

    def weigh(self, table: events.TableSum) -> None:
        """Take the sum of a table in; its acknowledgement follows."""
        if table.peer == self._awaited and table.sum != self._ledger.sum(table.peer):
            self._wrong.append(table.peer)

    def compare(self, table: events.Table) -> None:
        """Take a part of a table in; its acknowledgement follows."""
        question = Question(table.peer, table.part, table.parts)
        if self._sweep is not None and question == self._awaited:
            wrong = self._sweep.compare(question, table.routes, self._ledger.told, self._ledger.unsure)
            self._ledger.say_again(list(wrong))

    def end(self) -> None:
        """End the look: it is through, or ExaBGP cannot be asked any more."""
        if self._sweep is not None and self._sweep.count:
            self._repairs.found(Kind.ROUTE, self._sweep.text(), self._sweep.count)
        self._sweep = self._awaited = None
        self._unweighed, self._wrong = [], []


def _names(keys: list[Key]) -> str:
    names = ", ".join(f"{key.prefix} at {key.peer}" for key in keys[:_NAMED])
    return names + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
