"""The account of one step: what reached the router against what had to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from integration.lab import Update


@dataclass(frozen=True)
class Allowed:
    """What a fault may cause beside what the truth asks for."""

    sessions: int = 0  # sessions that may be lost, and made anew
    withdrawals: int = 0  # of each VIP, though its app is well
    healthy: frozenset[str] | None = None  # the VIPs that ``withdrawals`` is about; None: all

    def __add__(self, other: Allowed) -> Allowed:
        both = self.healthy is not None and other.healthy is not None
        healthy = (self.healthy or frozenset()) | (other.healthy or frozenset()) if both else None
        if not other.withdrawals:
            healthy = self.healthy
        elif not self.withdrawals:
            healthy = other.healthy
        return Allowed(self.sessions + other.sessions, self.withdrawals + other.withdrawals, healthy)

    def of(self, vip: str) -> int:
        """How often the VIP may be withdrawn."""
        return self.withdrawals if self.healthy is None or vip in self.healthy else 0


@dataclass(frozen=True)
class Account:
    """What a step came to."""

    announcements: int = 0
    withdrawals: int = 0
    unexpected_withdrawals: int = 0  # of these
    sessions: int = 0  # made anew
    wrong: tuple[str, ...] = ()  # everything that had not to be, a sentence each
    by_vip: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # announcements, withdrawals


def judge(
    before: Mapping[str, bool],
    flips: Iterable[tuple[str, bool]],
    updates: Iterable[Update],
    sessions: int,
    allowed: Allowed,
) -> Account:
    """Judge one step.

    ``before``: the truth when it began; ``flips``: each change of it, in order, and whether the VIP was up then;
    ``sessions``: how many were made anew. A VIP may be withdrawn once for each change to down, and announced once for
    each change to up and with each new session, and as often as it may be withdrawn: nothing else.
    """
    downs = Counter(vip for vip, up in flips if not up)
    ups = Counter(vip for vip, up in flips if up)
    announced: Counter[str] = Counter()
    withdrawn: Counter[str] = Counter()
    for update in updates:
        announced.update(update.announced)
        withdrawn.update(update.withdrawn)
    wrong: list[str] = []
    unexpected = 0
    if sessions > allowed.sessions:
        wrong.append(f"{sessions} sessions were made anew, {allowed.sessions} may have been")
    for vip in sorted(announced.keys() | withdrawn.keys()):
        may = downs[vip] + allowed.of(vip)
        if withdrawn[vip] > may:
            unexpected += withdrawn[vip] - may
            wrong.append(f"{vip} was withdrawn {withdrawn[vip]} times, {may} were right")
        was_up = before.get(vip, False) or ups[vip] > 0
        may = ups[vip] + allowed.of(vip) + (sessions if was_up else 0)
        if announced[vip] > may:
            wrong.append(f"{vip} was announced {announced[vip]} times, {may} were right")
    by_vip = {vip: (announced[vip], withdrawn[vip]) for vip in announced.keys() | withdrawn.keys()}
    return Account(announced.total(), withdrawn.total(), unexpected, sessions, tuple(wrong), by_vip)
