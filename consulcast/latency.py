"""How long the routers wait: from the event to the acknowledgement of the UPDATE that follows from it. No I/O.

An event is stamped where it comes in, goes with its plan into the reconciler's next pass, and from there with every
prefix that this pass hands to the speaker. What time alone brings about (a hold-down or a suppression that ends, a
clean-up, another try of what had failed) has no event and is not measured: it waits by design.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import StrEnum

from msgspec import Struct

from consulcast.model import Prefix, Route


class Cause(StrEnum):
    """Where an event came in."""

    CONSUL = "consul"  # an answer of Consul's, or of the second look that it needed
    MONITOR = "monitor"  # a look of a monitor of ours, or the kernel's word that a listener closed
    HTTP = "http"  # a registration was asked for
    FILE = "file"  # the configuration file was to be read again
    KERNEL = "kernel"  # somebody else changed an address, or the device with the VIPs


class What(StrEnum):
    """What the UPDATE does."""

    ANNOUNCE = "announce"
    WITHDRAW = "withdraw"
    CHANGE = "change"  # of the attributes


class Event(Struct, frozen=True):
    """``at`` is of the monotonic clock."""

    cause: Cause
    at: float


class _Open(Struct, frozen=True):
    """A change that is handed to the speaker and not acknowledged. ``route`` is None to withdraw."""

    event: Event | None
    what: What
    route: Route | None


class Latency:
    """Carries the earliest event that is not served yet. ``observe`` is given what, cause and seconds."""

    def __init__(self, observe: Callable[[What, Cause, float], None] = lambda what, cause, seconds: None) -> None:
        self._observe = observe
        self._heard: Event | None = None  # since the last plan
        self._planned: Event | None = None  # since the last pass began
        self._passing: Event | None = None  # what the pass that is under way serves
        self._waiting: dict[Prefix, Event] = {}  # routes that a pass could not hand over yet
        self._open: dict[Prefix, _Open] = {}
        self._handed: dict[Prefix, None] = {}  # of these what nobody has asked for

    # The plan

    def happened(self, cause: Cause, at: float) -> None:
        """Take in an event that the next plan will see."""
        self._heard = _earlier(self._heard, Event(cause, at))

    def planned(self) -> None:
        """All that has happened is planned for."""
        self._planned, self._heard = _earlier(self._planned, self._heard), None

    # The reconciler

    def disturbed(self, at: float) -> None:
        """Take in an event of the kernel's that the next pass will see."""
        self._planned = _earlier(self._planned, Event(Cause.KERNEL, at))

    def begin(self) -> None:
        """A pass begins; one that was broken off goes on."""
        self._passing, self._planned = _earlier(self._passing, self._planned), None

    def handed(self, prefix: Prefix, before: Route | None, route: Route | None) -> None:
        """The speaker is about to be given another route for a prefix; ``None``: none."""
        former = self._open.get(prefix)
        event = _earlier(self._waiting.pop(prefix, None), self._passing)
        if former is not None:
            event = _earlier(former.event, event)
        what = What.WITHDRAW if route is None else What.ANNOUNCE if before is None else What.CHANGE
        self._open[prefix] = _Open(event, what, route)
        self._handed[prefix] = None

    def end(self, waiting: Iterable[Prefix]) -> None:
        """A pass has come to its end; ``waiting``: routes that will be handed over when something is done."""
        found = {prefix: self._waiting.get(prefix) or self._passing for prefix in waiting}
        self._waiting = {prefix: event for prefix, event in found.items() if event is not None}
        self._passing = None

    # The speaker

    @property
    def open(self) -> Collection[Prefix]:
        """The prefixes that wait for an acknowledgement."""
        return tuple(self._open)

    def just_handed(self) -> Collection[Prefix]:
        """The prefixes that the speaker is given another route for, since this was last asked."""
        handed, self._handed = self._handed, {}
        return handed

    def needless(self, prefix: Prefix) -> None:
        """Nothing is to be said about a prefix: no peer can be given it, or all are as they should be."""
        self._open.pop(prefix, None)

    def acknowledged(self, prefix: Prefix, route: Route | None, now: float, heard: bool) -> None:
        """A route, or its withdrawal, is acknowledged for every peer. ``heard``: by a peer that is up."""
        found = self._open.get(prefix)
        if found is None or found.route != route:
            return  # an older change of what is on its way
        del self._open[prefix]
        if heard and found.event is not None:
            self._observe(found.what, found.event.cause, max(0.0, now - found.event.at))


def _earlier(one: Event | None, other: Event | None) -> Event | None:
    if one is None or other is None:
        return one or other
    return one if one.at <= other.at else other
