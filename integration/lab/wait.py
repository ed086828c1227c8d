"""Waiting for a fact with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTime(AssertionError):
    """A fact that a test waits for did not come about before its deadline."""


def until(look: Callable[[], T | None], deadline: float, what: str, *, every: float = 0.01) -> T:
    """Call ``look`` until it returns something true, and return that.

    ``deadline`` and ``every`` are seconds. Raises ``NotInTime``, naming ``what`` and what was seen last.
    """
    end = time.monotonic() + deadline
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= end:
            raise NotInTime(f"not within {deadline:g} s: {what} (last seen: {seen!r})")
        time.sleep(every)
