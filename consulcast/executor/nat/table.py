"""The NAT table: what is wanted is made to stand, in a greenlet of its own, and kept so.

Hosts without NAT pay nothing: until a translation is wanted, or a former run has left something, no back end is
chosen, no child started, no flow looked at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import gevent
from gevent.event import Event

from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat import conntrack
from consulcast.executor.nat.backend import Backend, NatError
from consulcast.executor.nat.choice import Backends
from consulcast.losses import Losses
from consulcast.model import Translation
from consulcast.repairs import Kind, Repairs
from consulcast.wording import counted

log = logging.getLogger(__name__)

RETRY_MIN, RETRY_MAX = 1.0, 30.0  # seconds before what failed is tried again


class NatTable:
    """Keeps the host's translations as they were last ``set``.

    ``on_change`` is called whenever ``standing`` or ``failures`` tell something new.
    """

    def __init__(
        self,
        backends: Backends,
        on_change: Callable[[], None],
        spawn: Spawn = gevent.spawn,
        drop_flows: Callable[[Collection[Translation], Collection[Translation]], int] = conntrack.drop,
        repairs: Repairs | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backends = backends
        self._on_change = on_change
        self._spawn = spawn
        self._drop_flows = drop_flows
        self._repairs = repairs or Repairs()
        self._clock = clock
        self._losses: Losses[str] = Losses()
        self._held_until = 0.0
        self._looked = False
        self._backend: Backend | None = None
        self._wanted: frozenset[Translation] | None = None  # nobody has said yet
        self._found: frozenset[Translation] | None = None  # as read or made; None: unknown, or not as we make it
        self._standing: frozenset[Translation] | None = None
        self._failures: dict[Translation, str] = {}
        self._look = True
        self._delay = 0.0
        self._said = ""
        self._wake = Event()
        self._greenlet: gevent.Greenlet[..., Any] | None = None

    # -- what others say and ask -------------------------------------------------------------------------------

    def set(self, translations: Collection[Translation]) -> None:
        """Replace the whole desired table. Returns at once."""
        wanted = frozenset(translations)
        if wanted != self._wanted:
            self._wanted = wanted
            self._wake.set()

    def standing(self) -> frozenset[Translation] | None:
        """Tell which are known to stand, with the flows of changed keys moved; ``None``: not looked yet."""
        return self._standing

    def failures(self) -> Mapping[Translation, str]:
        """Tell which of the desired cannot be made to stand, and why."""
        return self._failures

    def sweep(self) -> None:
        """Look again at what stands in the kernel, soon."""
        if self._backend is not None and (self._wanted or self._standing):
            self._look = True
            self._wake.set()

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look and to act."""
        self._greenlet = self._spawn(self._run)

    def stop(self, remove: bool = True) -> None:
        """Act no more. With ``remove`` nothing of ours is left in the kernel; without, the next start adopts it."""
        if self._greenlet is not None:
            self._greenlet.kill()
        if self._backend is None:
            return
        self._backend.stop()
        if remove:
            try:
                self._backend.remove()
            except NatError as error:
                text = "NAT rules are left on the host; the next start adopts or removes them: %s"
                log.error(text, error, extra={"reason": "nat-leftover"})

    def _run(self) -> None:
        while True:
            self._wake.clear()
            before = self._standing, self._failures
            pause = self._pass()
            if (self._standing, self._failures) != before:
                self._on_change()
            self._wake.wait(pause)

    # -- one pass ----------------------------------------------------------------------------------------------

    def _pass(self) -> float | None:
        """Bring the kernel nearer to what is wanted. Returns seconds until it is tried again, if it must be."""
        try:
            backend = self._backend or self._choose()
            if backend is None:
                return None
            if self._look:
                self._read(backend)
            if self._wanted is None or self._found == self._wanted:
                trouble, self._failures = "", {}
            elif (held := self._held_until - self._clock()) > 0:
                trouble = "the rules are changed by somebody else again and again"
                self._fail(trouble)
                self._say(trouble)
                return held
            else:
                trouble = self._apply(backend, self._wanted)
        except NatError as error:
            self._look = True
            self._fail(str(error))
            return self._retry(str(error))
        if trouble:
            return self._retry(trouble)
        if self._said:
            log.info("NAT: well again", extra={"reason": "nat-well", "former": "nat-failed"})
        self._said, self._delay = "", 0.0
        return None

    def _choose(self) -> Backend | None:
        """Choose a back end as soon as there is anything to do for it."""
        if not self._wanted and (self._standing is not None or not self._backends.leftover()):
            self._standing = self._found = self._standing or frozenset()
            self._failures = {}
            return None
        self._backend = self._backends.choose()
        self._backend.start(self._disturbed, self._spawn)
        return self._backend

    def _disturbed(self, lost: bool) -> None:
        if lost:
            self._repairs.found(
                Kind.NETLINK, "nftables' events came faster than they were read; its table is looked at"
            )
        self._look = True
        self._wake.set()

    def _read(self, backend: Backend) -> None:
        self._look = False  # before, so that no change during the reading is overlooked
        found = backend.read()
        if self._looked and found != self._found:
            self._drifted(self._standing or frozenset(), found or frozenset())
        self._looked, self._found, self._standing = True, found, found or frozenset()

    def _drifted(self, known: frozenset[Translation], standing: frozenset[Translation]) -> None:
        lost, more = known - standing, standing - known
        what = _text(lost) if lost else f"with others among them: {_text(more)}" if more else "with something else"
        self._repairs.found(Kind.NAT, f"NAT rules removed or changed by somebody else: {what}", len(lost | more) or 1)
        pause = self._losses.pause("table", self._clock())
        self._held_until = self._clock() + pause

    def _apply(self, backend: Backend, wanted: frozenset[Translation]) -> str:
        """Make the table. Returns why it is not as wanted; empty: it is."""
        before = self._standing or frozenset()
        made = backend.apply(wanted)
        try:
            dropped = self._drop_flows(before, made.standing)
        except OSError as error:
            dropped = 0
            text = "flows that began before a NAT rule changed keep to the old one: conntrack: %s"
            log.warning(text, error, extra={"reason": "nat-flows-kept"})
        self._found = made.standing
        self._standing, self._failures = made.standing, dict(made.failures)
        for word, items in (("added", made.standing - before), ("removed", before - made.standing)):
            if items:
                log.info("NAT %s: %s", word, _text(items), extra={"reason": f"nat-{word}"})
        if dropped:
            flows = counted(dropped, "flow")
            log.info("NAT: %s dropped that led elsewhere", flows, extra={"reason": "nat-flows-dropped"})
        return made.trouble

    def _fail(self, why: str) -> None:
        self._failures = dict.fromkeys((self._wanted or frozenset()) - (self._standing or frozenset()), why)

    def _say(self, why: str) -> None:
        if why != self._said:
            log.error("NAT failed, retried: %s", why, extra={"reason": "nat-failed", "detail": why})
            self._said = why

    def _retry(self, why: str) -> float:
        self._say(why)
        self._delay = min(self._delay * 2, RETRY_MAX) if self._delay else RETRY_MIN
        return self._delay


def _text(translations: Collection[Translation]) -> str:
    """List translations for a log line, the first few."""
    texts = sorted(map(str, translations))
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
