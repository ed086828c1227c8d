"""Which NAT rules should stand at this moment: said of the VIPs that something has happened to, kept of all others.

Up: after the VIP's address came. Down: not before the drain time is over. In between they stay, as the address does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set

from consulcast.executor.protocols import Nat
from consulcast.model import Intent, Interface, Translation

_NONE: frozenset[Translation] = frozenset()


def rules_now(
    intents: Iterable[Intent],
    present: Set[Interface],
    known: Collection[Translation],
    decided: Set[Interface],
    due: Set[Interface],
) -> frozenset[Translation]:
    """Tell which rules should stand.

    ``present``: addresses on the host. ``known``: the rules that stand or were asked for before. ``decided``: the VIPs
    of which every source has said what it asks for. ``due``: the VIPs to which no route leads any more, and whose drain
    time is over.
    """
    asking = [intent for intent in intents if intent.address and intent.nats]
    if not asking and not known:
        return frozenset()
    up = {item for intent in asking if intent.announce for item in intent.nats if item.vip in present}
    taken = {item.key for item in up}
    asked = {item for intent in asking for item in intent.nats}
    # Of the rest only what is known stays: a VIP that never was up gets no rule.
    stay = {
        item
        for item in known
        if item.key not in taken and item.vip not in due and (item in asked or item.vip not in decided)
    }
    return frozenset(up | stay)


class Rules:
    """The rules that are asked for, and those that stand, by the VIP's address that they are about."""

    def __init__(self, nat: Nat) -> None:
        self._nat = nat
        self._asked: dict[Interface, frozenset[Translation]] = {}
        self._found: frozenset[Translation] | None = None  # what stood when that was last asked
        self._standing: dict[Interface, frozenset[Translation]] = {}
        self._failures: Mapping[Translation, str] = {}
        self._moved: set[Interface] | None = set()
        self._said = False

    def __iter__(self) -> Iterator[Interface]:
        """The addresses of which rules stand or are asked for."""
        return iter(self._asked.keys() | self._standing.keys())

    @property
    def known(self) -> bool:
        """Whether it is known what stands; a former run may have left something."""
        return self._found is not None

    def moved(self) -> Collection[Interface] | None:
        """Tell of which addresses rules stand, fell or fail since this was last asked; ``None``: of any."""
        self._look()
        moved, self._moved = self._moved, set()
        return moved

    def _look(self) -> None:
        """Ask what stands now, and what cannot."""
        before, self._found = self._found, self._nat.standing()
        if before is None or self._found is None:
            if before is not self._found:
                self._standing = _by_address(self._found or ())
                self._moved = None
        elif before is not self._found:
            gone, come = _by_address(before - self._found), _by_address(self._found - before)
            for address in gone.keys() | come.keys():
                now = self._standing.get(address, _NONE) - gone.get(address, _NONE) | come.get(address, _NONE)
                _put(self._standing, address, now)
                self._move(address)
        failed, self._failures = self._failures, self._nat.failures()
        if failed is not self._failures:
            for item in (*failed, *self._failures):
                self._move(item.vip)

    def _move(self, address: Interface) -> None:
        if self._moved is not None:
            self._moved.add(address)

    def about(self, address: Interface) -> frozenset[Translation]:
        """All about an address that stand, or may stand soon because they were asked for."""
        return self._asked.get(address, _NONE) | self._standing.get(address, _NONE)

    def missing(self, intent: Intent) -> frozenset[Translation]:
        """Those of a VIP that do not stand."""
        return frozenset(intent.nats) - self._standing.get(intent.vip.local, _NONE) if intent.nats else _NONE

    def failing(self, missing: Iterable[Translation]) -> str | None:
        """Why one of these cannot be had; ``None``: they may come."""
        return next((self._failures[item] for item in missing if item in self._failures), None)

    def ask(
        self,
        addresses: Collection[Interface],
        intents: Iterable[Intent],
        present: Set[Interface],
        decided: Set[Interface],
        due: Set[Interface],
    ) -> None:
        """Say which rules about ``addresses`` should stand; ``intents``: all that are about these."""
        if not self.known:
            return  # until it is known what a former run has left, it cannot be said what may stay
        known = {item for address in addresses for item in self.about(address)}
        rules = _by_address(rules_now(intents, present, known, decided, due))
        say = not self._said
        for address in addresses:
            now = rules.get(address, _NONE)
            say = say or not now == self._asked.get(address, _NONE) == self._standing.get(address, _NONE)
            _put(self._asked, address, now)
        if say:
            self._said = True
            self._nat.set(frozenset(item for items in self._asked.values() for item in items))
            self._look()


def _by_address(rules: Iterable[Translation]) -> dict[Interface, frozenset[Translation]]:
    found: dict[Interface, set[Translation]] = {}
    for item in rules:
        found.setdefault(item.vip, set()).add(item)
    return {vip: frozenset(items) for vip, items in found.items()}


def _put(books: dict[Interface, frozenset[Translation]], address: Interface, rules: frozenset[Translation]) -> None:
    if rules:
        books[address] = rules
    else:
        books.pop(address, None)
