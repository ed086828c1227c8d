"""Makes the host and its routers match the intents, in order, and keeps it so.

Up: address, NAT, route. Down: route, acknowledged, drain time, the open flows of what is drained, NAT, address.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from itertools import islice
from typing import Any

import gevent
from gevent.event import Event

from consulcast.alarms import Alarms
from consulcast.departures import Departures
from consulcast.difference import differing
from consulcast.executor.protocols import AddressTable, Flows, Found, Nat, RouteState, Speaker
from consulcast.handover import Handover
from consulcast.hub import breathe
from consulcast.latency import Latency
from consulcast.model import Intent, Interface, Prefix, Reason, Translation, Vip
from consulcast.nat_rules import Rules
from consulcast.repairs import Kind, Repairs
from consulcast.vip_addresses import RETRY_MAX, VipAddresses
from consulcast.vip_report import VipReport
from consulcast.vip_status import DrainPhase, VipStatus, of_drain, of_route
from consulcast.wanted import Wanted

log = logging.getLogger(__name__)

SWEEP = 30.0  # seconds between two looks at the kernel, for what no event has told
PORTION = 100  # VIPs that are told of before others get their turn: a line of the log takes 0.05 ms
REMOVED = 128  # addresses that are removed between two looks: among 10,000 an IPv6 one takes the kernel 1 ms
SETTLE = 10.0  # seconds after which the first reconcile counts as complete, whatever is still under way


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
        self._rules = Rules(nat)
        self._nat = nat
        self._speaker = speaker
        self._flows = flows
        self._spawn = spawn
        self._clock = clock
        self._latency = latency or Latency()
        self._intents: Mapping[Vip, Intent] = {}
        self._complete = False
        self._wanted = Wanted()  # the intents that the pass works on
        self._seen_complete: bool | None = None
        # What is to be looked at: by the next pass, and by one that was broken off.
        self._touched: dict[Vip, None] = {}
        self._touched_addresses: dict[Interface, None] = {}
        self._going: dict[Interface, None] = {}  # that were due when a pass had removed enough: a portion each
        self._begun: dict[Vip, None] = {}
        self._drained: list[Vip] = []  # that drain, and whose prefix began or ceased to be announced
        self._routes = Handover(speaker, self._latency, self._wanted, self._stands)
        self._departures = Departures(drain_time, flows)
        self._report = VipReport()
        self._patience: Alarms[Vip] = Alarms()  # when to tell of peers that have not answered by then
        self._sweep_at = 0.0
        self._told: set[Kind] = set()  # what events have said since the last look
        self._settled_at: float | None = None
        # Called in each pass when the routes are handed over, before the pass tells what it came to.
        self.before_telling: Callable[[], None] = lambda: None
        # Called after each pass; returns within how many seconds it must be called again, if it must.
        self.after_pass: Callable[[], float | None] = lambda: None
        self.ever_complete = False  # whether all was as it should be once
        self.ever_announced = False
        self._wake = Event()
        self._greenlet: gevent.Greenlet[..., Any] | None = None

    # -- what others say ---------------------------------------------------------------------------------------

    def set(self, intents: Mapping[Vip, Intent], complete: bool) -> None:
        """Replace what should be. ``complete``: every source has answered, so that what is not wanted may go.

        What has not changed is the same object as before, or it costs work.
        """
        self._intents = intents
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
        found = self._report.found
        return {vip: found[vip] for vip in self._wanted.intents if vip in found}

    def reasons(self) -> Mapping[Reason, int]:
        """How many VIPs there are of each reason."""
        return self._report.counts

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
        self.set({}, complete=True)
        deadline = self._clock() + timeout
        while self._clock() < deadline and self._greenlet is not None and not self._greenlet.dead:
            if not self._departures and not self._left() and not self._wake.is_set():
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
        return bool(self._routes or self._nat.standing() or self._addresses.owned)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            self._pass()
            pause = self._next_deadline() - self._clock()
            again = self.after_pass()
            self._wake.wait(timeout=max(0.0, pause if again is None else min(pause, again)))

    def _next_deadline(self) -> float:
        now = self._clock()
        settled_at = self._settled_at if self._settled_at is not None and self._settled_at > now else math.inf
        return min(
            self._sweep_at, settled_at, self._addresses.next_retry, self._patience.next, self._departures.alarms.next
        )

    # -- what is to be looked at -------------------------------------------------------------------------------

    def _notice(self) -> None:
        """Find out what something has happened to, so that the pass looks at that, and at nothing else."""
        now = self._clock()
        self._touch(self._patience.ring(now))
        self._touch_addresses(self._departures.alarms.ring(now))
        self._touch_addresses(self._departures.counted)
        addresses, rules, prefixes = self._addresses.moved(), self._rules.moved(), self._speaker.moved()
        if addresses is None or rules is None or prefixes is None:
            self._touch_all()
            return
        self._touch_addresses(addresses)
        self._touch_addresses(rules)
        for prefix in prefixes:
            self._touch_prefix(prefix)

    def _touch(self, vips: Iterable[Vip]) -> None:
        self._touched.update(dict.fromkeys(vips))

    def _touch_addresses(self, addresses: Iterable[Interface]) -> None:
        for address in addresses:
            self._touched_addresses[address] = None
            self._touch(self._wanted.at(address))

    def _touch_prefix(self, prefix: Prefix) -> None:
        self._touch(self._wanted.within(prefix))
        self._touch_addresses(self._departures.from_within(prefix))

    def _touch_all(self) -> None:
        self._touch(self._wanted.intents)
        for addresses in (self._addresses.owned, self._departures, self._rules):
            self._touched_addresses.update(dict.fromkeys(addresses))

    # -- one pass ----------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Bring the host nearer to the intents. Nothing here waits for a peer, or for NAT.

        The kernel takes its time: when something else is wanted after it has answered, the pass begins anew. Whatever
        else has happened by then does not keep it from its end, or events that come without end would.
        """
        self._latency.begin()
        intents, complete = self._intents, self._complete
        self._touch(self._wanted.replace(intents))
        sweep = self._clock() >= self._sweep_at  # asked once: a sweep that begins a moment later is the next pass's
        if complete is not self._seen_complete or sweep:
            self._touch_all()
        self._seen_complete = complete
        drained, self._drained = self._drained, []
        self._touch(drained)
        self._notice()
        # Withdrawals first: nothing may delay them. What is announced already stays while its address is looked after.
        self._begin()
        self._look(sweep)
        if self._addresses.add_missing():
            self.before_telling()
            self._wake.set()
            return
        if self._complete is not complete or differing(intents, self._intents):
            return
        self._notice()
        self._handed_over(self._routes.late([*self._begun, *self._touched]))
        self.before_telling()
        vips, addresses = self._take()
        due = self._depart(addresses)
        self._translate(addresses, due)
        self._remove(due)
        self._tell(vips)

    def _take(self) -> tuple[Iterable[Vip], Collection[Interface]]:
        """Take all that is touched; from here on it is for the next pass."""
        vips = {**self._begun, **self._touched}
        going = dict.fromkeys(islice(self._going, REMOVED))
        for address in going:
            del self._going[address]
        if self._going:
            self._wake.set()
        addresses = {**going, **self._touched_addresses, **dict.fromkeys(vip.local for vip in vips)}
        self._begun, self._touched, self._touched_addresses = {}, {}, {}
        return vips, addresses

    def _begin(self) -> None:
        """Say which addresses should be there, and withdraw what should not be announced."""
        vips, self._touched = self._touched, {}
        self._begun.update(vips)
        for vip in vips:
            users = (self._wanted.intents[each] for each in self._wanted.at(vip.local))
            self._addresses.want(vip.local, next((user.name for user in users if self._routes.may_begin(user)), None))
        self._handed_over(self._routes.early(vips))

    def _stands(self, intent: Intent) -> bool:
        """Whether the VIP works on this host, so that its route may be announced."""
        if intent.vip.local not in self._addresses.present:
            return False
        missing = self._rules.missing(intent)
        # While a changed rule is on its way the route stays; one that cannot be had takes it back.
        return not missing or (intent.vip.prefix in self._routes and self._rules.failing(missing) is None)

    def _handed_over(self, moved: Iterable[Prefix]) -> None:
        """Routes were given to the speaker, or taken back."""
        for prefix in moved:
            self._touch_prefix(prefix)
            self._drained += [vip for vip in self._wanted.within(prefix) if self._wanted.intents[vip].drain]

    def _look(self, sweep: bool) -> None:
        """Read the kernel when an event says so, and now and then for what no event has told."""
        if not sweep and not self._told and self._clock() < self._addresses.look_at:
            return
        told, self._told = self._told, set()  # before, so that what comes during the reading is not overlooked
        if sweep:
            self._sweep_at = self._clock() + SWEEP
            self._nat.sweep()
        self._addresses.look(told)

    def _depart(self, addresses: Iterable[Interface]) -> Set[Interface]:
        """Find the addresses that may go: no route leads there any more, and the drain time is over."""
        now = self._clock()
        due: set[Interface] = set()
        for address in addresses:
            users = [self._wanted.intents[vip] for vip in self._wanted.at(address)]
            if any(user.address for user in users) or (
                address not in self._addresses.owned and not self._rules.about(address)
            ):
                self._departures.stays(address)
            elif not self._complete:
                self._departures.waits(address)
            else:
                prefixes = self._departures.leave(address, self._routes.led(address))
                clear = all(self._is_clear(prefix) for prefix in prefixes)
                drain = next((user.drain for user in users if user.drain is not None), None)
                if self._departures.may_go(address, clear, drain, now):
                    due.add(address)
        self._departures.watch()
        return due

    def _is_clear(self, prefix: Prefix) -> bool:
        """Whether no peer has a route any more that led to what leaves; another VIP may have taken it over."""
        return prefix in self._routes or self._speaker.route_state(prefix) is RouteState.CLEAR

    def _translate(self, addresses: Iterable[Interface], due: Set[Interface]) -> None:
        """Say which NAT rules should stand."""
        concerned, asking, decided = [], [], set()
        for address in addresses:
            users = [self._wanted.intents[vip] for vip in self._wanted.at(address)]
            asks = [user for user in users if user.nats]
            if asks or self._rules.about(address):
                concerned.append(address)
                asking += asks
                if self._complete and any(user.address for user in users):
                    decided.add(address)
        self._rules.ask(concerned, asking, self._addresses.present, decided, due)

    def _remove(self, due: Set[Interface]) -> None:
        """Remove the addresses of ours that are due, once no NAT rule is about them."""
        due = {address for address in due if not self._rules.about(address)}
        for address in due - self._addresses.owned:
            self._departures.stays(address)  # somebody else's, and our rules about it are gone
        due &= self._addresses.owned
        if not due:
            return
        portion = set(islice(due, REMOVED))
        if len(portion) < len(due):
            self._going.update(dict.fromkeys(due - portion))
            self._wake.set()
        failures = self._addresses.remove(portion)
        for address in portion:
            why = failures.get(address)
            extra = {"address": str(address)}
            if why is None:
                self._routes.removed(address)
                self._departures.stays(address)
                log.info("address %s removed", address, extra={**extra, "reason": "address-removed"})
                continue
            news = self._departures.refused(address, why, self._clock() + RETRY_MAX)
            extra |= {"reason": "address-stays", "detail": why}
            log.log(
                logging.ERROR if news else logging.DEBUG,
                *("address %s cannot be removed, retried: %s", address, why),
                extra=extra,
            )

    # -- what it came to ---------------------------------------------------------------------------------------

    def _tell(self, vips: Iterable[Vip]) -> None:
        """Keep each VIP's state as found, and log what changed."""
        for number, vip in enumerate(vips, 1):
            if number % PORTION == 0:
                breathe()
            intent = self._wanted.intents.get(vip)
            if intent is None:
                self._patience.set(vip, math.inf)
                self._report.forget(vip)
            else:
                self._report.tell(self._found(intent), not intent.announce, vip.prefix in self._routes)
        self._latency.end(self._report.waiting)
        self.ever_announced = self.ever_announced or Reason.ANNOUNCED in self._report.counts
        if self._complete and self._settled_at is None:
            self._settled_at = self._clock() + SETTLE
        self.ever_complete = self.ever_complete or self._is_complete()
        if self.ever_complete:
            self._speaker.complete()

    def _is_complete(self) -> bool:
        """Whether all is as it should be as far as this host goes. What takes too long is not waited for."""
        if not self._complete or self._settled_at is None:
            return False
        known = self._addresses.looked and self._rules.known
        under_way = self._report.counts.keys() & {Reason.ANNOUNCING, Reason.MONITOR_PENDING}
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
        if missing := self._rules.missing(intent):
            if why := self._rules.failing(missing) or "":
                return VipStatus(vip, Reason.NAT_FAILED, why)
            if vip.prefix not in self._routes:
                return VipStatus(vip, Reason.ANNOUNCING)
        state = self._speaker.route_state(vip.prefix)
        if state is RouteState.ANNOUNCED:
            return VipStatus(vip, Reason.ANNOUNCED, intent.detail)
        found, until = of_route(vip, state, self._speaker.peers(), self._clock())
        self._patience.set(vip, until or math.inf)
        return found

    def _phase(self, intent: Intent) -> DrainPhase:
        vip = intent.vip
        if vip.prefix in self._routes:
            return DrainPhase.LOWERED
        if self._speaker.route_state(vip.prefix) is not RouteState.CLEAR:
            return DrainPhase.WITHDRAWING
        left = vip.local in self._addresses.owned or self._rules.about(vip.local)
        return DrainPhase.FLOWS if left else DrainPhase.DRAINED
