"""A step: faults are injected, last, are healed; then all has to come right, and the account is made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from integration.chaos.account import Account, Allowed, judge
from integration.chaos.fault import BGP, DAEMON, Fault
from integration.chaos.invariants import problems
from integration.chaos.world import World


@dataclass
class Report:
    """What a step came to."""

    faults: tuple[str, ...]
    account: Account = field(default_factory=Account)
    wrong: list[str] = field(default_factory=list)
    took: float = 0.0  # seconds in all
    settled_in: float = 0.0  # of these, after the last was healed

    def __str__(self) -> str:
        account = self.account
        counts = f"{account.announcements} announced, {account.withdrawals} withdrawn, {account.sessions} sessions"
        return f"{' + '.join(self.faults)}: {counts}; {self.took:.1f} s, settled in {self.settled_in:.1f} s"


class Steps:
    """Runs steps in a world, one after the other. What arrives between two counts for the next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sessions = world.sessions()
        self._before = world.truth()
        world.flips.clear()
        world.tap.clear()

    def run(self, *faults: Fault, nested: bool = False, hold: float | None = None) -> Report:
        """Inject the faults in turn, and heal them in turn, or ``nested``: the last one first."""
        began = time.monotonic()
        wrong: list[str] = []
        active: list[Fault] = []
        try:
            for fault in faults:
                fault.inject(self.world)
                active.append(fault)
                wrong += self._gone_in_time(fault, active)
                time.sleep(fault.hold if hold is None else hold)
            for fault in reversed(faults) if nested else faults:
                fault.heal(self.world)
                active.remove(fault)
        finally:
            for fault in active:
                fault.heal(self.world)
        healed = time.monotonic()
        wrong += self._settle(max(fault.back for fault in faults))
        report = Report(tuple(map(str, faults)), took=time.monotonic() - began, settled_in=time.monotonic() - healed)
        report.account = self._account(sum((fault.allowed for fault in faults), Allowed()))
        report.wrong = [*report.account.wrong, *wrong]
        return report

    def _gone_in_time(self, fault: Fault, active: Sequence[Fault]) -> list[str]:
        """Whether the VIPs that the fault failed are gone, unless another one keeps the daemon from knowing."""
        blind = {DAEMON, *fault.needs, BGP}
        if fault.bound is None or any(other.touches in blind for other in active if other is not fault):
            return []
        deadline = time.monotonic() + fault.bound
        while True:
            wanted = {vip for vip, up in self.world.truth().items() if up}
            left = set(self.world.bird.routes()) - wanted
            if not left:
                return []
            if time.monotonic() >= deadline:
                return [f"{vip} is still announced {fault.bound:g} s after {fault}" for vip in sorted(left)]
            time.sleep(0.02)

    def _settle(self, within: float) -> list[str]:
        deadline = time.monotonic() + within
        while True:
            found = problems(self.world)
            if not found or time.monotonic() >= deadline:
                return [f"{within:g} s after all was healed: {problem}" for problem in found]
            time.sleep(0.05)

    def _account(self, allowed: Allowed) -> Account:
        world = self.world
        sessions = world.sessions()
        updates = world.tap.updates()
        world.tap.clear()
        account = judge(self._before, world.flips, updates, sessions - self._sessions, allowed)
        self._sessions, self._before = sessions, world.truth()
        world.flips.clear()
        return account
