"""When the last of many routes has arrived at the router."""

from __future__ import annotations

import time
from collections.abc import Iterable, Set

from integration.lab import NotInTime, Update, UpdateTap

_EVERY = 0.05  # seconds between two looks; the times are the kernel's, so it does not matter to them


def last(updates: Iterable[Update], prefixes: Set[str], announced: bool, after: int) -> tuple[int, set[str]]:
    """Return when the last of ``prefixes`` first arrived (ns, since ``after``), and those that have not yet. Pure."""
    missing, at = set(prefixes), after
    for update in updates:
        if update.at >= after:
            new = missing & (update.announced if announced else update.withdrawn)
            if new:
                missing -= new
                at = max(at, update.at)
    return at, missing


def wait(tap: UpdateTap, prefixes: Set[str], *, announced: bool, after: int, deadline: float = 30.0) -> float:
    """Wait for all of them; returns the seconds from ``after`` (ns of ``time.time_ns``) to the last packet.

    Raises ``NotInTime``.
    """
    end = time.monotonic() + deadline
    while True:
        at, missing = last(tap.updates(), prefixes, announced, after)
        if not missing:
            return (at - after) / 1e9
        if time.monotonic() > end:
            what = "announced" if announced else "withdrawn"
            raise NotInTime(f"not within {deadline:g} s: {len(missing)} of {len(prefixes)} {what}, e.g. {min(missing)}")
        time.sleep(_EVERY)
