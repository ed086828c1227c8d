"""What is the same as before is the same object, so that whoever comes later tells by ``is`` that nothing changed."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def kept(former: T | None, now: T) -> T:
    """``former``, if ``now`` equals it."""
    return former if former is not None and (former is now or former == now) else now
