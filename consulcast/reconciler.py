"""Makes the host and its routers match the intents, in order, and keeps it so.

Up: address, NAT, route. Down: route, acknowledged, drain time, NAT, address.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import Event

from consulcast.executor.protocols import Added, AddressTable, KernelError, Nat, RouteState, SessionState, Speaker
from consulcast.model import Intent, Interface, Prefix, Reason, Translation, Vip
from consulcast.nat_rules import rules_now

log = logging.getLogger(__name__)

SWEEP = 30.0  # seconds between two looks at the kernel, for what no event has told
PATIENCE = 5.0  # seconds that a session may take to come up before its VIPs are said to be without it
BATCH = 64  # addresses that are added between two looks at what is wanted
RETRY_MIN, RETRY_MAX = 1.0, 30.0  # seconds before an address that the kernel refused is tried again


@dataclass(frozen=True, slots=True)
class VipStatus:
    """What a VIP is on this host, as found, and why."""

    vip: Vip
    reason: Reason
    detail: str = ""


@dataclass(slots=True)
class _Leaving:
    """An address that is not wanted any more: ours, or one that NAT rules of ours are about."""

    prefixes: frozenset[Prefix]  # the routes that lead to it
    drain: bool  # whether such a route was announced by this run
    clear_since: float | None = None


@dataclass(slots=True)
class _Retry:
    why: str
    at: float
    delay: float = field(default=RETRY_MIN)


class Reconciler:
    """Acts, in one greenlet. Everything else only says what should be."""

    def __init__(
        self,
        addresses: AddressTable,
        nat: Nat,
        speaker: Speaker,
        drain_time: float,
        spawn: Callable[..., gevent.Greenlet[..., Any]] = gevent.spawn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses
        self._nat = nat
        self._speaker = speaker
        self._drain_time = drain_time
        self._spawn = spawn
        self._clock = clock
        self._intents: tuple[Intent, ...] = ()
        self._complete = False
        self._present: frozenset[Interface] = frozenset()
        self._owned: set[Interface] = set()
        self._handed: dict[Prefix, Intent] = {}  # what the speaker was last given
        self._led: dict[Interface, set[Prefix]] = {}  # every prefix that this run announced for an address
        self._translations: frozenset[Translation] = frozenset()  # the NAT rules that were last asked for
        self._leaving: dict[Interface, _Leaving] = {}
        self._retry: dict[Interface, _Retry] = {}
        self._status: dict[Vip, VipStatus] = {}
        self._sweep_at = 0.0
        self._report_at = 0.0  # when to tell of peers that have not answered by then
        self.ever_complete = False  # whether all was as it should be once
        self.ever_announced = False
        self._wake = Event()
        self._greenlet: gevent.Greenlet[..., Any] | None = None

    # -- what others say ---------------------------------------------------------------------------------------

    def set(self, intents: Iterable[Intent], complete: bool) -> None:
        """Replace what should be. ``complete``: every source has answered, so that what is not wanted may go."""
        self._intents = tuple(intents)
        self._complete = complete
        self._wake.set()

    def wake(self) -> None:
        """Look again: a route was acknowledged, a session changed, NAT rules stand or fell."""
        self._wake.set()

    def status(self) -> dict[Vip, VipStatus]:
        """Every wanted VIP's state as found, with its reason."""
        return dict(self._status)

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to act."""
        self._greenlet = self._spawn(self._run)

    def stop(self, timeout: float) -> bool:
        """Withdraw all, wait for the acknowledgements and the drain time, then remove NAT rules and addresses.

        Returns whether all of it was done within ``timeout`` seconds.
        """
        self.set((), complete=True)
        deadline = self._clock() + timeout
        while self._clock() < deadline and self._greenlet is not None and not self._greenlet.dead:
            if not self._leaving and not self._left() and not self._wake.is_set():
                break
            gevent.sleep(0.005)
        done = not self._left()
        if self._greenlet is not None:
            self._greenlet.kill()
        return done

    def _left(self) -> bool:
        return bool(self._handed or self._nat.standing() or self._owned)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            self._pass()
            self._wake.wait(timeout=max(0.0, self._next_deadline() - self._clock()))

    def _next_deadline(self) -> float:
        deadlines = [
            self._sweep_at,
            *([self._report_at] if self._report_at > self._clock() else []),
            *(retry.at for retry in self._retry.values()),
        ]
        deadlines += [
            leaving.clear_since + self._drain_time
            for leaving in self._leaving.values()
            if leaving.clear_since is not None
        ]
        return min(deadlines)

    # -- one pass ----------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Bring the host nearer to the intents. Nothing here waits for a peer, or for NAT.

        The kernel takes its time: when something else is wanted after it has answered, the pass begins anew.
        """
        announce = [intent for intent in self._intents if intent.announce]
        # Withdrawals first: nothing may delay them. What is announced already stays while its address is looked after.
        self._hand_over(i for i in announce if i.vip.prefix in self._handed or self._stands(i))
        if self._clock() >= self._sweep_at:
            self._sweep()
        self._add_missing({intent.vip.local: intent.name for intent in announce})
        if self._wake.is_set():
            return
        self._hand_over(intent for intent in announce if self._stands(intent))
        keep = {intent.vip.local for intent in self._intents if intent.address}
        due = self._due(keep)
        self._translate(keep, due)
        self._remove(due)
        self._report()

    def _stands(self, intent: Intent) -> bool:
        """Whether the VIP works on this host, so that its route may be announced."""
        if intent.vip.local not in self._present:
            return False
        missing = self._untranslated(intent)
        # While a changed rule is on its way the route stays; one that cannot be had takes it back.
        return not missing or (intent.vip.prefix in self._handed and not missing & self._nat.failures().keys())

    def _untranslated(self, intent: Intent) -> frozenset[Translation]:
        return frozenset(intent.nats) - (self._nat.standing() or frozenset())

    def _known_translations(self) -> frozenset[Translation]:
        """All that stand, or may stand soon because they were asked for."""
        return self._translations | (self._nat.standing() or frozenset())

    def _hand_over(self, intents: Iterable[Intent]) -> None:
        handed = {intent.vip.prefix: intent for intent in intents}
        if handed != self._handed:
            self._handed = handed
            self._speaker.set([intent.route for intent in handed.values()])
        for prefix, intent in handed.items():
            self._led.setdefault(intent.vip.local, set()).add(prefix)

    def _sweep(self) -> None:
        """Read the kernel: what is there, what is ours, what of former runs is left."""
        self._sweep_at = self._clock() + SWEEP
        self._nat.sweep()
        try:
            present, owned = self._addresses.look()
        except KernelError as error:
            log.error("addresses cannot be read, retried in %.0f s: %s", SWEEP, error)
            return
        lost = {address for address in self._owned - present if address not in self._leaving}
        for address in sorted(lost, key=str):
            log.warning("address %s was removed by somebody else", address, extra={"address": str(address)})
        self._present, self._owned = present, set(owned)

    def _add_missing(self, wanted: Mapping[Interface, str]) -> None:
        now = self._clock()
        for address in self._retry.keys() - wanted.keys():
            del self._retry[address]
        missing = [
            address
            for address in wanted.keys() - self._present
            if address not in self._retry or self._retry[address].at <= now
        ]
        if not missing:
            return
        if len(missing) > BATCH:
            missing = missing[:BATCH]
            self._wake.set()
        try:
            added = self._addresses.add({address: wanted[address] for address in missing})
        except KernelError as error:
            added = Added(frozenset(), dict.fromkeys(missing, str(error)))
        failures = added.failures
        for address in missing:
            why = failures.get(address)
            if why is None:
                self._retry.pop(address, None)
                continue
            former = self._retry.get(address)
            delay = min(former.delay * 2, RETRY_MAX) if former else RETRY_MIN
            self._retry[address] = _Retry(why, now + delay, delay)
        self._present |= set(missing) - failures.keys()
        self._owned |= added.ours

    def _due(self, keep: Set[Interface]) -> Set[Interface]:
        """Find the addresses that may go: no route leads there any more, and the drain time is over."""
        now = self._clock()
        unwanted = (self._owned | {item.vip for item in self._known_translations()}) - keep
        for address in self._leaving.keys() - unwanted:
            del self._leaving[address]
        due: list[Interface] = []
        for address in unwanted if self._complete else ():
            leaving = self._leaving.get(address)
            if leaving is None:
                prefixes = frozenset(self._led.get(address, ()))
                leaving = self._leaving[address] = _Leaving(prefixes, drain=bool(prefixes))
            if any(
                self._speaker.route_state(prefix) is not RouteState.CLEAR
                for prefix in leaving.prefixes - self._handed.keys()
            ):
                leaving.clear_since = None
                continue
            if leaving.clear_since is None:
                leaving.clear_since = now if leaving.drain else now - self._drain_time
            if now - leaving.clear_since >= self._drain_time:
                due.append(address)
        return frozenset(due)

    def _translate(self, keep: Set[Interface], due: Set[Interface]) -> None:
        """Say which NAT rules should stand."""
        if self._nat.standing() is None:
            return  # until it is known what a former run has left, it cannot be said what may stay
        decided: Set[Interface] = keep if self._complete else frozenset()
        self._translations = rules_now(self._intents, self._present, self._known_translations(), decided, due)
        self._nat.set(self._translations)

    def _remove(self, due: Set[Interface]) -> None:
        """Remove the addresses of ours that are due, once no NAT rule is about them."""
        now = self._clock()
        due = (due & self._owned) - {item.vip for item in self._known_translations()}
        if not due:
            return
        try:
            failures = self._addresses.remove(due)
        except KernelError as error:
            failures = dict.fromkeys(due, str(error))
        for address in due:
            if address in failures:
                log.error("address %s cannot be removed: %s", address, failures[address])
                self._leaving[address].clear_since = now + RETRY_MAX  # tried again after that
                continue
            self._owned.discard(address)
            self._present -= {address}
            self._led.pop(address, None)
            del self._leaving[address]
            log.info("address %s removed", address, extra={"address": str(address)})

    # -- what it came to ---------------------------------------------------------------------------------------

    def _report(self) -> None:
        """Keep each VIP's state as found, and log what changed."""
        status = {intent.vip: self._found(intent) for intent in self._intents}
        for vip, now in status.items():
            before = self._status.get(vip)
            if before != now:
                level = _LEVELS.get(now.reason, logging.WARNING)
                log.log(
                    level,
                    "vip %s: %s%s",
                    vip,
                    now.reason,
                    f" ({now.detail})" if now.detail else "",
                    extra={"vip": str(vip), "reason": str(now.reason)},
                )
        for vip in self._status.keys() - status.keys():
            log.info("vip %s: not wanted any more", vip, extra={"vip": str(vip), "reason": str(Reason.WITHDRAWING)})
        self._status = status
        reasons = {item.reason for item in status.values()}
        self.ever_announced = self.ever_announced or Reason.ANNOUNCED in reasons
        self.ever_complete = self.ever_complete or (self._complete and Reason.ANNOUNCING not in reasons)

    def _found(self, intent: Intent) -> VipStatus:
        vip = intent.vip
        if not intent.announce:
            return VipStatus(vip, intent.reason, intent.detail)
        retry = self._retry.get(vip.local)
        if vip.local not in self._present:
            if retry is None:
                return VipStatus(vip, Reason.ANNOUNCING)
            return VipStatus(vip, Reason.ADDRESS_FAILED, f"address {vip.local}: {retry.why}")
        if missing := self._untranslated(intent):
            why = next((why for item, why in self._nat.failures().items() if item in missing), "")
            if why:
                return VipStatus(vip, Reason.NAT_FAILED, why)
            if vip.prefix not in self._handed:
                return VipStatus(vip, Reason.ANNOUNCING)
        state = self._speaker.route_state(vip.prefix)
        if state is RouteState.HANDED_OVER:
            return self._not_carried(vip)
        return VipStatus(vip, _REASONS[state], intent.detail if state is RouteState.ANNOUNCED else "")

    def _not_carried(self, vip: Vip) -> VipStatus:
        """Tell why a route that is handed over is at no peer."""
        peers = self._speaker.peers()
        if any(peer.state is SessionState.UP for peer in peers):
            return VipStatus(vip, Reason.NOT_NEGOTIATED, f"no peer takes IPv{vip.prefix.version} routes")
        young = [peer.since for peer in peers if not peer.last_error and self._clock() - peer.since < PATIENCE]
        if young:
            self._report_at = max(young) + PATIENCE
            return VipStatus(vip, Reason.ANNOUNCING)
        silence = "no answer yet: address, firewall, password?"
        detail = "; ".join(f"{peer.address}: {peer.last_error or silence}" for peer in peers)
        return VipStatus(vip, Reason.PEER_DOWN, detail)


_REASONS = {
    RouteState.CLEAR: Reason.ANNOUNCING,
    RouteState.PENDING: Reason.ANNOUNCING,
    RouteState.ANNOUNCED: Reason.ANNOUNCED,
    RouteState.NO_NEXT_HOP: Reason.NO_NEXT_HOP,
    RouteState.FAILED: Reason.BGP_FAILED,
}
_LEVELS = {
    Reason.ANNOUNCED: logging.INFO,
    Reason.ANNOUNCING: logging.DEBUG,  # for a millisecond; what it comes to is worth a line
    Reason.MONITOR_PENDING: logging.INFO,
    Reason.DRAINING: logging.INFO,
}
