"""The VIPs' addresses as they are known to stand: read, compared with what was known, put back, removed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from itertools import islice

from msgspec import Struct

from consulcast.executor.protocols import Added, AddressTable, Found, KernelError
from consulcast.losses import Losses
from consulcast.model import Interface
from consulcast.repairs import Kind, Repairs
from consulcast.wording import counted

log = logging.getLogger(__name__)

BATCH = 64  # addresses that are added between two looks at what is wanted
RETRY_MIN, RETRY_MAX = 1.0, 30.0  # seconds before an address that the kernel refused is tried again
_SOME = 5  # addresses that a line of the log names


class _Retry(Struct, frozen=True):
    why: str
    at: float
    delay: float


class VipAddresses:
    """Keeps books on one device's addresses; all calls but the properties may wait for the kernel.

    While the device is down or not there nothing is ``present``, for none of it works, and nothing is added. That of
    one which goes down again and again counts only when it has been up for a while: each time costs two UPDATEs a VIP.
    """

    def __init__(self, table: AddressTable, repairs: Repairs, clock: Callable[[], float]) -> None:
        self._table, self._repairs, self._clock = table, repairs, clock
        self.looked = False  # whether the kernel could be read once
        self.present: set[Interface] = set()
        self.owned: set[Interface] = set()
        self._wanted: dict[Interface, str] = {}  # each with a name to show
        # Wanted and not present: to be added now, in this order; what was refused, or is taken away again and again,
        # is in `_retry` instead.
        self._missing: dict[Interface, None] = {}
        self._moved: set[Interface] | None = set()
        self._trouble = ""
        self._unread = ""  # why the kernel could not be read
        self._retry: dict[Interface, _Retry] = {}
        self._retry_at = math.inf  # not later than the first of them
        self._losses: Losses[Interface] = Losses()
        self._falls: Losses[None] = Losses()  # how often the device went down
        self._down = False
        self._rest = 0.0  # seconds that the device has to be up before it is used, as of its last fall
        self.look_at = math.inf  # when to look though nobody has changed anything: the device has rested by then

    def read(self) -> Found:
        """Read what is there now, and take nothing of it in. Raises ``KernelError``."""
        return self._table.look()

    def moved(self) -> Collection[Interface] | None:
        """Tell of which addresses something else is known than when this was last asked; ``None``: of any."""
        moved, self._moved = self._moved, set()
        return moved

    def _move(self, addresses: Iterable[Interface]) -> None:
        if self._moved is not None:
            self._moved.update(addresses)

    def want(self, address: Interface, name: str | None) -> None:
        """Say whether an address should be there: the name to show with it, or ``None``."""
        if name is None:
            if self._wanted.pop(address, None) is not None:
                self._missing.pop(address, None)
                self._retry.pop(address, None)
        elif self._wanted.get(address) != name:
            if address not in self._wanted and address not in self.present:
                self._missing[address] = None
            self._wanted[address] = name

    def look(self, told: Set[Kind] = frozenset()) -> None:
        """Read the kernel: what is there, what is ours, what of former runs is left. ``told``: what events said."""
        if Kind.NETLINK in told:
            self._repairs.found(Kind.NETLINK, "the kernel's events came faster than they were read; all is looked at")
        try:
            found = self._table.look()
        except KernelError as error:
            level = logging.DEBUG if str(error) == self._unread else logging.ERROR
            extra = {"reason": "addresses-unread", "detail": str(error)}
            log.log(level, "addresses cannot be read, retried with the next sweep: %s", error, extra=extra)
            self._unread = str(error)
            return
        self._unread = ""
        before, self.looked = self._trouble, True
        self._trouble = self._trouble_of(found.trouble)
        if self._trouble != before:
            self._moved = None
        if self._trouble:
            if self._trouble != before:
                extra = {"reason": "address-failed", "detail": self._trouble}
                log.warning("no VIP works on this host: %s", self._trouble, extra=extra)
            self._take(set(), found.ours)
            return
        lost = (self.present - found.present).intersection(self._wanted)
        for address in sorted((self.owned & found.present) - found.ours, key=str):
            extra = {"address": str(address), "reason": "address-foreign"}
            log.warning("address %s is somebody else's now: it is used and never removed", address, extra=extra)
        self._take(found.present, found.ours)
        if before or Kind.DEVICE in told:
            again = f"{counted(len(lost), 'address', 'addresses')} put back" if lost else "its VIPs are announced again"
            self._repairs.found(Kind.DEVICE, f"the VIPs' device was down or gone and is up again; {again}")
        elif lost:
            self._lost(lost)

    def _take(self, present: Set[Interface], owned: Set[Interface]) -> None:
        """Take in what is there, and what of it is ours."""
        gone, come = self.present - present, present - self.present
        self._move(gone | come | (self.owned ^ owned))
        self.present, self.owned = set(present), set(owned)
        for address in come:
            self._missing.pop(address, None)
            self._retry.pop(address, None)
        self._missing.update(dict.fromkeys(address for address in self._wanted if address in gone))

    def _trouble_of(self, down: str) -> str:
        """Why none of the addresses is to be used, ``down`` being why the device cannot be; "" if they may be."""
        now = self._clock()
        if down:
            if not self._down:
                self._rest = self._falls.pause(None, now)
            self._down, self.look_at = True, math.inf
            return down
        if self._down:
            self._down, self.look_at = False, now + self._rest
        if now < self.look_at < math.inf:
            return f"the VIPs' device was down again and again: it is used when it has been up for {self._rest:.0f} s"
        self.look_at = math.inf
        return ""

    def _lost(self, lost: Set[Interface]) -> None:
        now = self._clock()
        self._repairs.found(Kind.ADDRESS, f"{_names(lost)} removed by somebody else", len(lost))
        for address in lost:
            pause = self._losses.pause(address, now)
            if pause:
                why = f"removed by somebody else again and again, put back in {pause:.0f} s"
                self._put_off(address, _Retry(why, now + pause, pause))

    def _put_off(self, address: Interface, retry: _Retry) -> None:
        self._missing.pop(address, None)
        self._retry[address] = retry
        self._retry_at = min(self._retry_at, retry.at)

    def _try_again(self, now: float) -> None:
        """Count as missing what was put off until now."""
        if now >= self._retry_at:
            self._missing.update(dict.fromkeys(address for address, retry in self._retry.items() if retry.at <= now))
            self._retry_at = min((retry.at for retry in self._retry.values() if retry.at > now), default=math.inf)

    def add_missing(self) -> bool:
        """Add what is wanted and missing, up to a batch. Returns whether there is more."""
        now = self._clock()
        if self._trouble:
            return False
        self._try_again(now)
        if not self._missing:
            return False
        batch = {address: self._wanted[address] for address in islice(self._missing, BATCH)}
        try:
            added = self._table.add(batch)
        except KernelError as error:
            added = Added(frozenset(), dict.fromkeys(batch, str(error)))
        for address in batch:
            self._missing.pop(address, None)
            former = self._retry.pop(address, None)
            why = added.failures.get(address)
            if why is not None:
                delay = min(former.delay * 2, RETRY_MAX) if former else RETRY_MIN
                self._put_off(address, _Retry(why, now + delay, delay))
        self.present |= batch.keys() - added.failures.keys()
        self.owned |= added.ours
        self._move(batch)
        return bool(self._missing)

    def remove(self, addresses: Collection[Interface]) -> Mapping[Interface, str]:
        """Remove what is ours of them, which nobody wants. Returns the failures with the kernel's reason."""
        try:
            failures = self._table.remove(addresses)
        except KernelError as error:
            failures = dict.fromkeys(addresses, str(error))
        gone = set(addresses) - failures.keys()
        self.owned -= gone
        self.present -= gone
        self._move(gone)
        return failures

    def why_missing(self, address: Interface) -> str:
        """Why an address is not there, if that is known."""
        if self._trouble:
            return self._trouble
        retry = self._retry.get(address)
        return f"address {address}: {retry.why}" if retry is not None else ""

    @property
    def next_retry(self) -> float:
        """When something is tried again; infinity if nothing is."""
        return self.look_at if self._trouble else self._retry_at


def _names(addresses: Collection[Interface]) -> str:
    texts = sorted(map(str, addresses))
    some = ", ".join(texts[:_SOME]) + (f" and {len(texts) - _SOME} more" if len(texts) > _SOME else "")
    return f"address {some}" if len(texts) == 1 else f"addresses {some}"
