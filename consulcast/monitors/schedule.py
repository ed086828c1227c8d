"""When to look, and how many looks count. Pure."""

from __future__ import annotations

import zlib

from msgspec import Struct

from consulcast.model import Health, MonitorSpec
from consulcast.monitors.counter import Counter

CONFIRM = 1.0  # seconds to the second look at what failed for the first time
CLOSE = 0.005  # seconds between the first looks of monitors that are new together
_CERTAIN = ("port",)  # a listener is there or not; all else may just have been unlucky once


class Defaults(Struct, frozen=True):
    """What holds for monitors that do not say: seconds from one look to the next, and for one look."""

    interval: float = 10.0
    timeout: float = 5.0


class Pace(Struct, frozen=True):
    """A monitor's own numbers; ``confirm``: seconds from a failed look to the next, until ``fall`` is reached."""

    interval: float
    timeout: float
    rise: int
    fall: int
    confirm: float


def pace(spec: MonitorSpec, defaults: Defaults) -> Pace:
    """Fill in what ``spec`` leaves open.

    Unless ``fall`` is written, one failed look is confirmed soon. Who writes it wants ``fall`` looks an interval apart.
    """
    interval = spec.interval or defaults.interval
    return Pace(
        interval=interval,
        timeout=spec.timeout or defaults.timeout,
        rise=spec.rise or 1,
        fall=spec.fall or (1 if spec.kind in _CERTAIN else 2),
        confirm=min(CONFIRM, interval) if spec.fall is None else interval,
    )


def next_look(spec: MonitorSpec, pace: Pace, counter: Counter, looks: int) -> float:
    """Seconds from the start of one look to the start of the next, after ``looks`` of them.

    The first pause differs from monitor to monitor, which spreads those that began together over the interval.
    """
    if counter.health is Health.PASSING and counter.against:
        return pace.confirm
    return pace.interval * (phase(spec) if looks == 1 else 1.0)


def phase(spec: MonitorSpec) -> float:
    """A monitor's place within the interval, above 0 and up to 1, always the same."""
    return (zlib.crc32(str(spec).encode()) + 1) / 2**32


def first_look(number: int, of: int, interval: float) -> float:
    """Seconds until the first look of the ``number``-th of so many new monitors: close together, not all at once."""
    return number * min(CLOSE, interval / of)
