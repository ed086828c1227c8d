"""Makes the host and its routers match the intents, in order, and keeps it so.

Up: address, NAT, route. Down: route, acknowledged, drain time, the open flows of what is drained, NAT, address.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event

from consulcast.executor.protocols import AddressTable, Flows, Found, Nat, RouteState, Speaker
from consulcast.latency import Latency
from consulcast.model import Intent, Interface, Prefix, Reason, Translation, Vip
from consulcast.nat_rules import rules_now
from consulcast.repairs import Kind, Repairs
from consulcast.vip_addresses import RETRY_MAX, VipAddresses
from consulcast.vip_status import LEVELS, DrainPhase, VipStatus, of_drain, of_route

log = logging.getLogger(__name__)

SWEEP = 30.0  # seconds between two looks at the kernel, for what no event has told
SETTLE = 10.0  # seconds after which the first reconcile counts as complete, whatever is still under way


@dataclass(slots=True)
class _Leaving:
    """An address that is not wanted any more: ours, or one that NAT rules of ours are about."""

    prefixes: frozenset[Prefix]  # the routes that lead to it
    drain: bool  # whether there was such a route
    clear_since: float | None = None
    trouble: str = ""  # why it could not be removed
    look_at: float = math.inf  # when time alone changes something
    ended: bool = False  # its open flows have ended, or were waited for long enough


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
        repairs: Repairs | None = None,
        latency: Latency | None = None,
        flows: Flows | None = None,
    ) -> None:
        self._addresses = VipAddresses(addresses, repairs or Repairs(), clock)
        self._nat = nat
        self._speaker = speaker
        self._flows = flows
        self._drain_time = drain_time
        self._spawn = spawn
        self._clock = clock
        self._latency = latency or Latency()
        self._intents: tuple[Intent, ...] = ()
        self._complete = False
        self._handed: dict[Prefix, Intent] = {}  # what the speaker was last given
        self._led: dict[Interface, set[Prefix]] = {}  # every prefix that this run announced for an address
        self._translations: frozenset[Translation] = frozenset()  # the NAT rules that were last asked for
        self._leaving: dict[Interface, _Leaving] = {}
        self._status: dict[Vip, VipStatus] = {}
        self._sweep_at = 0.0
        self._told: set[Kind] = set()  # what events have said since the last look
        self._report_at = 0.0  # when to tell of peers that have not answered by then
        self._settled_at: float | None = None
        # Called after each pass; returns within how many seconds it must be called again, if it must.
        self.after_pass: Callable[[], float | None] = lambda: None
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

    def disturbed(self, kind: Kind) -> None:
        """Look at the kernel at once: somebody else changed addresses or the device, or events were lost."""
        self._latency.disturbed(self._clock())
        self._told.add(kind)
        self._wake.set()

    def status(self) -> dict[Vip, VipStatus]:
        """Every wanted VIP's state as found, with its reason."""
        return dict(self._status)

    def found(self) -> Found:
        """Read what the VIPs' device has now, and whose it is. Raises ``KernelError``; waits for the kernel."""
        return self._addresses.read()

    def why_missing(self, address: Interface) -> str:
        """Why an address is not there, if that is known; "" else."""
        return self._addresses.why_missing(address)

    def translations(self) -> tuple[frozenset[Translation] | None, Mapping[Translation, str]]:
        """The NAT rules that are known to stand (``None``: not looked yet), and why others cannot be made to."""
        return self._nat.standing(), self._nat.failures()

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

    def leave(self) -> None:
        """Act no more, and leave all as it is."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _left(self) -> bool:
        return bool(self._handed or self._nat.standing() or self._addresses.owned)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            self._pass()
            pause = self._next_deadline() - self._clock()
            again = self.after_pass()
            self._wake.wait(timeout=max(0.0, pause if again is None else min(pause, again)))

    def _next_deadline(self) -> float:
        deadlines = [
            self._sweep_at,
            *(moment for moment in (self._report_at, self._settled_at or 0.0) if moment > self._clock()),
            *self._addresses.retries,
        ]
        deadlines += [leaving.look_at for leaving in self._leaving.values() if leaving.clear_since is not None]
        return min(deadlines)

    # -- one pass ----------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Bring the host nearer to the intents. Nothing here waits for a peer, or for NAT.

        The kernel takes its time: when something else is wanted after it has answered, the pass begins anew. Whatever
        else has happened by then does not keep it from its end, or events that come without end would.
        """
        self._latency.begin()
        intents = self._intents
        announce = [intent for intent in intents if intent.announce and self._may_begin(intent)]
        # Withdrawals first: nothing may delay them. What is announced already stays while its address is looked after.
        self._hand_over(i for i in announce if i.vip.prefix in self._handed or self._stands(i))
        wanted = {intent.vip.local: intent.name for intent in announce}
        self._look(wanted.keys())
        if self._addresses.add_missing(wanted):
            self._wake.set()
            return
        if self._intents is not intents and self._intents != intents:
            return
        self._hand_over(intent for intent in announce if self._stands(intent))
        keep = {intent.vip.local for intent in self._intents if intent.address}
        due = self._due(keep)
        self._translate(keep, due)
        self._remove(due)
        self._report()

    def _may_begin(self, intent: Intent) -> bool:
        """A drain announces nothing that was not announced before it."""
        return intent.drain is None or intent.vip.prefix in self._handed

    def _stands(self, intent: Intent) -> bool:
        """Whether the VIP works on this host, so that its route may be announced."""
        if intent.vip.local not in self._addresses.present:
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
            before, self._handed = self._handed, handed
            self._time(before)
            self._speaker.set([intent.route for intent in handed.values()])
        for prefix, intent in handed.items():
            self._led.setdefault(intent.vip.local, set()).add(prefix)

    def _time(self, before: Mapping[Prefix, Intent]) -> None:
        """Have it timed when the routers know of what is handed over."""
        for prefix in before.keys() | self._handed.keys():
            old, new = (intents[prefix].route if prefix in intents else None for intents in (before, self._handed))
            if old != new:
                self._latency.handed(prefix, old, new)

    def _look(self, wanted: Set[Interface]) -> None:
        """Read the kernel when an event says so, and now and then for what no event has told."""
        sweep = self._clock() >= self._sweep_at
        if not sweep and not self._told and self._clock() < self._addresses.look_at:
            return
        told, self._told = self._told, set()  # before, so that what comes during the reading is not overlooked
        if sweep:
            self._sweep_at = self._clock() + SWEEP
            self._nat.sweep()
        self._addresses.look(wanted, told)

    def _due(self, keep: Set[Interface]) -> Set[Interface]:
        """Find the addresses that may go: no route leads there any more, and the drain time is over."""
        now = self._clock()
        unwanted = (self._addresses.owned | {item.vip for item in self._known_translations()}) - keep
        for address in self._leaving.keys() - unwanted:
            del self._leaving[address]
        drained = {intent.vip.local: intent.drain for intent in self._intents if intent.drain and not intent.address}
        counted: set[Interface] = set()
        due: list[Interface] = []
        for address in unwanted if self._complete else ():
            leaving = self._leaving.get(address)
            if leaving is None:
                prefixes = frozenset(self._led.get(address, ()))
                # of a former run nobody knows what led there, but the peers may still have it
                leaving = _Leaving(prefixes or frozenset({address.network}), drain=bool(prefixes))
                self._leaving[address] = leaving
            if any(
                self._speaker.route_state(prefix) is not RouteState.CLEAR
                for prefix in leaving.prefixes - self._handed.keys()
            ):
                leaving.clear_since = None
                leaving.drain, leaving.ended = True, False
                continue
            if leaving.clear_since is None:
                leaving.clear_since = now if leaving.drain else now - self._drain_time
            leaving.look_at = leaving.clear_since + self._drain_time
            drain = drained.get(address)
            if now >= leaving.look_at and drain is not None and self._flows is not None and not leaving.ended:
                leaving.look_at += drain.flows
                leaving.ended = now >= leaving.look_at or self._flows.open(address) == 0
                if not leaving.ended:
                    counted.add(address)
                    continue
            if now >= leaving.clear_since + self._drain_time:
                leaving.look_at = math.inf  # what it waits for now wakes us
                due.append(address)
        if self._flows is not None:
            self._flows.watch(counted)
        return frozenset(due)

    def _translate(self, keep: Set[Interface], due: Set[Interface]) -> None:
        """Say which NAT rules should stand."""
        if self._nat.standing() is None:
            return  # until it is known what a former run has left, it cannot be said what may stay
        decided: Set[Interface] = keep if self._complete else frozenset()
        self._translations = rules_now(self._intents, self._addresses.present, self._known_translations(), decided, due)
        self._nat.set(self._translations)

    def _remove(self, due: Set[Interface]) -> None:
        """Remove the addresses of ours that are due, once no NAT rule is about them."""
        now = self._clock()
        due = (due & self._addresses.owned) - {item.vip for item in self._known_translations()}
        if not due:
            return
        failures = self._addresses.remove(due)
        for address in due:
            if address in failures:
                leaving, why = self._leaving[address], failures[address]
                extra = {"address": str(address), "reason": "address-stays", "detail": why}
                level = logging.DEBUG if why == leaving.trouble else logging.ERROR
                log.log(level, "address %s cannot be removed, retried: %s", address, why, extra=extra)
                leaving.trouble = why
                leaving.clear_since = now + RETRY_MAX  # tried again after that
                leaving.look_at = now + RETRY_MAX + self._drain_time
                continue
            self._led.pop(address, None)
            del self._leaving[address]
            log.info("address %s removed", address, extra={"address": str(address), "reason": "address-removed"})

    # -- what it came to ---------------------------------------------------------------------------------------

    def _report(self) -> None:
        """Keep each VIP's state as found, and log what changed."""
        status = {intent.vip: self._found(intent) for intent in self._intents}
        down = {intent.vip for intent in self._intents if not intent.announce}
        for vip, now in status.items():
            before = self._status.get(vip)
            if before != now:
                level = LEVELS.get(now.reason, logging.WARNING)
                if before and before.reason is now.reason and vip in down:
                    level = logging.DEBUG  # a monitor that goes on failing may have other words for it each time
                log.log(
                    level,
                    "vip %s: %s%s",
                    vip,
                    now.reason,
                    f" ({now.detail})" if now.detail else "",
                    extra={
                        "vip": str(vip),
                        "reason": str(now.reason),
                        "detail": now.detail,
                        "former": str(before.reason) if before else "",
                    },
                )
        for vip in self._status.keys() - status.keys():
            log.info("vip %s: not wanted any more", vip, extra={"vip": str(vip), "reason": str(Reason.WITHDRAWING)})
        waiting = (vip.prefix for vip, found in status.items() if found.reason is Reason.ANNOUNCING)
        self._latency.end(prefix for prefix in waiting if prefix not in self._handed)
        self._status = status
        reasons = {item.reason for item in status.values()}
        self.ever_announced = self.ever_announced or Reason.ANNOUNCED in reasons
        if self._complete and self._settled_at is None:
            self._settled_at = self._clock() + SETTLE
        self.ever_complete = self.ever_complete or self._is_complete(reasons)
        if self.ever_complete:
            self._speaker.complete()

    def _is_complete(self, reasons: Set[Reason]) -> bool:
        """Whether all is as it should be as far as this host goes. What takes too long is not waited for."""
        if not self._complete or self._settled_at is None:
            return False
        known = self._addresses.looked and self._nat.standing() is not None
        under_way = reasons & {Reason.ANNOUNCING, Reason.MONITOR_PENDING}
        return (known and not under_way) or self._clock() >= self._settled_at

    def _found(self, intent: Intent) -> VipStatus:
        vip = intent.vip
        if intent.drain is not None:
            if self._speaker.route_state(vip.prefix) is RouteState.OBSERVED:
                return VipStatus(vip, Reason.WOULD_ANNOUNCE, f"{intent.detail}; with {intent.drain.how}")
            flows = self._flows.open(vip.local) if self._flows is not None else None
            return of_drain(intent, intent.drain, self._phase(intent), flows)
        if not intent.announce:
            return VipStatus(vip, intent.reason, intent.detail)
        if vip.local not in self._addresses.present:
            why = self._addresses.why_missing(vip.local)
            return VipStatus(vip, Reason.ADDRESS_FAILED if why else Reason.ANNOUNCING, why)
        if missing := self._untranslated(intent):
            why = next((why for item, why in self._nat.failures().items() if item in missing), "")
            if why:
                return VipStatus(vip, Reason.NAT_FAILED, why)
            if vip.prefix not in self._handed:
                return VipStatus(vip, Reason.ANNOUNCING)
        state = self._speaker.route_state(vip.prefix)
        if state is RouteState.ANNOUNCED:
            return VipStatus(vip, Reason.ANNOUNCED, intent.detail)
        found, until = of_route(vip, state, self._speaker.peers(), self._clock())
        self._report_at = max(self._report_at, until)
        return found

    def _phase(self, intent: Intent) -> DrainPhase:
        vip = intent.vip
        if vip.prefix in self._handed:
            return DrainPhase.LOWERED
        if self._speaker.route_state(vip.prefix) is not RouteState.CLEAR:
            return DrainPhase.WITHDRAWING
        left = vip.local in self._addresses.owned or any(item.vip == vip.local for item in self._known_translations())
        return DrainPhase.FLOWS if left else DrainPhase.DRAINED
