"""Counts what was found other than it should be, so that it is repaired, and logs each once.

A repair is something that nobody of ours undid: an address that somebody removed, a rule that was flushed, a route that
ExaBGP does not know any more. What one's own change does is none.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What had drifted."""

    ADDRESS = "address"  # a VIP's address was missing on the host
    DEVICE = "device"  # the device with the VIPs was set down, and is up again
    NAT = "nat"  # NAT rules were missing or changed
    ROUTE = "route"  # ExaBGP's table was not what it had acknowledged
    EXABGP = "exabgp"  # ExaBGP ended, or did not answer and was ended, and is started again
    NETLINK = "netlink"  # the kernel's events came faster than they were read: some were lost, all is looked at anew


class Repairs:
    """The counts since the start, by kind."""

    def __init__(self) -> None:
        self._counts: Counter[Kind] = Counter()

    def found(self, kind: Kind, what: str, number: int = 1, again: bool = False) -> None:
        """Count and log a drift of ``number`` things; ``what`` names them and ends up in one line of the log.

        ``again``: the very same as the last time, and not worth another line.
        """
        self._counts[kind] += number
        log.log(
            logging.DEBUG if again else logging.WARNING,
            "drift: %s",
            what,
            extra={"drift": str(kind), "reason": f"drift-{kind}", "detail": what},
        )

    @property
    def counts(self) -> Mapping[Kind, int]:
        """How many of each kind, those of which there was none included."""
        return {kind: self._counts[kind] for kind in Kind}
