"""What the VIPs are found to be: kept, counted, and logged where it changes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from consulcast.model import Prefix, Reason, Vip
from consulcast.values import replace
from consulcast.vip_status import LEVELS, VipStatus

log = logging.getLogger("consulcast.reconciler")  # whose words they are, for those who filter by it


class VipReport:
    """Every wanted VIP's state as found."""

    def __init__(self) -> None:
        self._found: dict[Vip, VipStatus] = {}
        self._counts: Counter[Reason] = Counter()
        self._waiting: dict[Vip, Prefix] = {}

    @property
    def found(self) -> Mapping[Vip, VipStatus]:
        """Each VIP's state."""
        return self._found

    @property
    def counts(self) -> Mapping[Reason, int]:
        """How many VIPs there are of each reason."""
        return self._counts

    @property
    def waiting(self) -> Iterable[Prefix]:
        """The routes that will be handed over when something is done."""
        return self._waiting.values()

    def tell(self, now: VipStatus, failing: bool, handed: bool) -> None:
        """Keep what a VIP is found to be.

        ``failing``: it is not to be announced. ``handed``: its route is handed over.
        """
        vip, before = now.vip, self._found.get(now.vip)
        self._found[vip] = now
        if before is None or before.reason is not now.reason:
            self._count(now.reason, before)
        if now.reason is Reason.ANNOUNCING and not handed:
            self._waiting[vip] = vip.prefix
        else:
            self._waiting.pop(vip, None)
        if before is not None and before == replace(now, flows=before.flows):  # they are counted all the time
            return
        level = LEVELS.get(now.reason, logging.WARNING)
        if before and before.reason is now.reason and failing:
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

    def forget(self, vip: Vip) -> None:
        """A VIP is not wanted any more."""
        before = self._found.pop(vip, None)
        self._waiting.pop(vip, None)
        if before is not None:
            self._count(None, before)
            log.info("vip %s: not wanted any more", vip, extra={"vip": str(vip), "reason": str(Reason.WITHDRAWING)})

    def _count(self, now: Reason | None, before: VipStatus | None) -> None:
        if now is not None:
            self._counts[now] += 1
        if before is not None:
            self._counts[before.reason] -= 1
            if not self._counts[before.reason]:
                del self._counts[before.reason]
