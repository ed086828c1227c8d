"""The drains as they stand in the state file: from values to bytes and back. No I/O, time is passed in."""

from __future__ import annotations

import time

import msgspec

from consulcast.drains import MAX_DRAINS, Drain, Target, check_reason

VERSION = 1
_LAST = 253402300799.0  # the year 9999: what is later cannot be written as a date


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Times are of the wall clock, so that they run on while the daemon does not."""

    target: str
    since: float
    until: float | None = None
    reason: str = ""
    who: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    drains: list[_Entry]


def moment(wall: float) -> str:
    """Write a time of the wall clock as people do: UTC, RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, min(wall, _LAST))))


def encode(drains: tuple[Drain, ...], skew: float) -> bytes:
    """Write the drains; ``skew`` is the wall clock less the monotonic one."""
    entries = [
        _Entry(
            drain.target.name,
            round(drain.since + skew, 3),
            None if drain.until is None else round(drain.until + skew, 3),
            drain.reason,
            drain.who,
        )
        for drain in drains
    ]
    return msgspec.json.encode(_File(VERSION, entries))


def decode(data: bytes, skew: float, now: float) -> tuple[Drain, ...]:
    """Read the drains, those that have lapsed too. Raises ``ValueError`` where it is no file of ours.

    Whatever the wall clock did meanwhile, none began in the future, and none lasts longer than it was to.
    """
    try:
        file = msgspec.json.decode(data, type=_File)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if file.version != VERSION:
        raise ValueError(f"it is of version {file.version}, this program reads version {VERSION}")
    if len(file.drains) > MAX_DRAINS:
        raise ValueError(f"it has more than {MAX_DRAINS} drains")
    found = {}
    for entry in file.drains:
        target = Target.read(entry.target)
        since, until, ends = min(entry.since - skew, now), None, ""
        if entry.until is not None:
            until = min(entry.until - skew, now + max(0.0, entry.until - entry.since))
            ends = moment(until + skew)
        found[target] = Drain(target, since, until, ends, check_reason(entry.reason), check_reason(entry.who))
    return tuple(found.values())
