"""Route-flap damping per prefix, after RFC 2439: whatever flaps, the routers hear of it at a bounded rate. No I/O.

Each withdrawal of a route costs 1000, each change of its attributes 500; the penalty halves every half-life. Above the
limit, a route that was withdrawn is not announced again, and one that is announced keeps its attributes, until the
penalty has decayed to the reuse limit. A healthy route is never withdrawn for its attributes.

A drain is never held back on its way down. One that an operator asked for costs nothing, and the way back from it
nothing either: the bound is about what happens by itself. Consul's maintenance mode costs like anything else.

The bound (``most_updates``): an UPDATE costs 500 at least, but for the first of all, and no more can be paid than the
limit and what decays below it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from msgspec import Struct

from consulcast.difference import differing
from consulcast.model import Intent, Prefix, Reason, Route, Vip
from consulcast.values import replace
from consulcast.wording import counted

WITHDRAWAL, CHANGE = 1000.0, 500.0  # penalties, RFC 2439 section 4.2: the figure of merit's usual unit
_FORGOTTEN = 10.0  # below it the history of a route that is not announced is dropped


class Limits(Struct, frozen=True):
    """The parameters, RFC 2439 section 4.2. Durations are seconds.

    A service that restarts four times within two minutes is not suppressed; one that goes on like that is.
    """

    enabled: bool = True
    half_life: float = 120.0
    suppress: float = 4000.0  # above it, a route is suppressed
    reuse: float = 1500.0  # at or below it, it is announced again
    max_suppress: float = 600.0  # longest time from the last flap to the announcement

    @property
    def ceiling(self) -> float:
        """The largest penalty: it decays to the reuse limit within ``max_suppress``."""
        return self.reuse * math.exp2(min(self.max_suppress / self.half_life, 64.0))


class Flaps(Struct, frozen=True):
    """What is remembered of a prefix. ``until``: when it may be announced again, by the wall clock; "": now."""

    penalty: float
    number: int
    suppressed: bool
    until: str


def most_updates(limits: Limits, seconds: float) -> float:
    """How many UPDATEs a peer gets about one prefix at most in so many seconds, whatever happens."""
    paid = limits.suppress + WITHDRAWAL + seconds * limits.suppress * math.log(2) / limits.half_life
    return 2 + paid / CHANGE


class _History(Struct, frozen=True):
    """What is remembered of a prefix."""

    shown: Route | None = None  # as it is announced
    wanted: bool = False
    penalty: float = 0.0  # as of ``at``
    at: float = 0.0
    flaps: int = 0  # since it was last calm
    damped: bool = False  # the limit was passed, and the reuse limit has not been reached since
    until: str = ""  # when it will be, by the wall clock
    asked: bool = False  # it is as an operator's drain has made it


class Damping:
    """Remembers the routes, and holds back what flaps."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()  # may be replaced at any time; the penalties stay
        self._histories: dict[Prefix, _History] = {}
        self._restless: set[Prefix] = set()  # histories that change by time alone: of what is damped, or not announced
        self._seen: Mapping[Vip, Intent] = {}
        self._vips: dict[Prefix, Vip] = {}  # of what was seen
        self._held: dict[Vip, Intent] = {}  # what is made of intents that are held back

    def apply(
        self, intents: Mapping[Vip, Intent], now: float, wall: float
    ) -> tuple[Mapping[Vip, Intent], float | None]:
        """Return the intents as they may be acted upon, and when time alone will change that, if ever.

        ``now`` is of the monotonic clock, ``wall`` the same moment as a time of day (``time.time``). What is not held
        back is the same object as it came.
        """
        if not self.limits.enabled:
            for books in (self._histories, self._restless, self._vips, self._held):
                books.clear()
            self._seen = {}
            return intents, None
        changed = differing(self._seen, intents)
        self._seen = intents
        prefixes = self._restless | {vip.prefix for vip in changed}
        for vip in changed:
            if vip in intents:
                self._vips[vip.prefix] = vip
                continue
            self._held.pop(vip, None)
            if self._vips.get(vip.prefix) == vip:  # else another has its prefix by now
                del self._vips[vip.prefix]
        for prefix in prefixes:
            self._take_in(prefix, now, wall)
        reuse = [self._reuse_at(self._histories[vip.prefix]) for vip in self._held]
        return {**intents, **self._held} if self._held else intents, min(reuse, default=None)

    def _take_in(self, prefix: Prefix, now: float, wall: float) -> None:
        vip = self._vips.get(prefix)
        intent = self._seen[vip] if vip is not None else None
        history = self._next(self._histories.get(prefix, _History(at=now)), intent, now, wall)
        if history is None:
            self._histories.pop(prefix, None)
        else:
            self._histories[prefix] = history
        if history is not None and (history.damped or not history.wanted):
            self._restless.add(prefix)
        else:
            self._restless.discard(prefix)
        if vip is None or intent is None:
            return
        held = self._hold(intent, history)
        if held is intent:
            self._held.pop(vip, None)
        elif held != self._held.get(vip):
            self._held[vip] = held

    def flaps(self, prefix: Prefix, now: float) -> Flaps | None:
        """Tell what is remembered of a prefix; ``None``: nothing, it is calm."""
        history = self._histories.get(prefix)
        if history is None or self._decayed(history, now) < _FORGOTTEN:
            return None
        return Flaps(self._decayed(history, now), history.flaps, history.damped, history.until)

    def _next(self, history: _History, intent: Intent | None, now: float, wall: float) -> _History | None:
        """Take in what is wanted now; ``None``: nothing worth remembering."""
        wanted = intent.route if intent is not None and intent.announce else None
        drain = intent.drain if intent is not None else None
        asked = drain is not None and drain.asked
        if wanted is not None and wanted == history.shown and not history.damped and asked == history.asked:
            return history
        free = asked or history.asked
        if history.damped and now >= self._reuse_at(history):
            history = replace(history, damped=False, until="")
        if wanted is None:
            costs = history.wanted and not free
            history = replace(history, shown=None, wanted=False, asked=asked)
            if costs:
                history = self._punish(history, WITHDRAWAL, now, wall)
            return history if history.damped or asked or self._decayed(history, now) >= _FORGOTTEN else None
        held = history.damped and (history.shown is None or (drain is None and not free))
        if not held and not free and history.shown not in (None, wanted):
            history = self._punish(history, CHANGE, now, wall)
        return replace(history, wanted=True, asked=asked, shown=history.shown if held else wanted)

    def _punish(self, history: _History, penalty: float, now: float, wall: float) -> _History:
        before = self._decayed(history, now)
        total = min(before + penalty, self.limits.ceiling)
        flaps = history.flaps + 1 if before >= _FORGOTTEN else 1
        damped = history.damped or total > self.limits.suppress
        history = replace(history, penalty=total, at=now, flaps=flaps, damped=damped)
        if not damped:
            return history
        # written once: a time that is worked out again would differ by the clocks' drift, and be logged as a change
        return replace(history, until=_moment(wall + self._reuse_at(history) - now))

    def _hold(self, intent: Intent, history: _History | None) -> Intent:
        if history is None or not history.damped or not intent.announce:
            return intent  # a VIP that is down anyway shows why
        if history.shown is None:
            detail = f"flapped {counted(history.flaps, 'time')}; announced again at {history.until} unless it goes on"
            return replace(intent, announce=False, reason=Reason.SUPPRESSED, detail=detail)
        if history.shown == intent.route:
            return intent
        detail = f"its attributes change too often: the former ones stand until {history.until}"
        return replace(intent, route=history.shown, detail=detail)

    def _decayed(self, history: _History, now: float) -> float:
        return history.penalty * math.exp2(-max(0.0, now - history.at) / self.limits.half_life)

    def _reuse_at(self, history: _History) -> float:
        """When the penalty will have decayed to the reuse limit."""
        limits = self.limits
        if history.penalty <= limits.reuse:
            return history.at
        return history.at + min(limits.half_life * math.log2(history.penalty / limits.reuse), limits.max_suppress)


def _moment(wall: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(wall)))
