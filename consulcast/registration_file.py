"""The registrations as they stand in the state file: from values to bytes and back. No I/O, time is passed in."""

from __future__ import annotations

import logging

import msgspec
from msgspec import Struct, field

from consulcast.model import App
from consulcast.notation import BadValue
from consulcast.registration import Registration

log = logging.getLogger(__name__)

VERSION = 1


class Held(Struct, frozen=True):
    """A registration as it stands. ``expires_at`` is of the monotonic clock; ``None``: never."""

    registration: Registration
    app: App
    expires_at: float | None


class State(Struct, frozen=True):
    """What is held, in order of age, and by name the entries that only another version can read."""

    held: dict[str, Held] = field(default_factory=dict)
    unreadable: dict[str, msgspec.Raw] = field(default_factory=dict)

    @property
    def apps(self) -> tuple[App, ...]:
        """The apps alone."""
        return tuple(held.app for held in self.held.values())


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    registration: Registration
    expires: float | None = None  # wall clock, so that a time to live runs on while the daemon does not


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    registrations: list[msgspec.Raw]


class _Named(msgspec.Struct):
    name: str = ""


class _Label(msgspec.Struct):
    """What is needed of an entry that this version cannot read."""

    registration: _Named = msgspec.field(default_factory=_Named)


def encode(state: State, skew: float) -> bytes:
    """Write the state; ``skew`` is the wall clock less the monotonic one."""
    entries = []
    for held in state.held.values():
        expires = None if held.expires_at is None else round(held.expires_at + skew, 3)
        entries.append(msgspec.Raw(msgspec.json.encode(_Entry(held.registration, expires))))
    return msgspec.json.encode(_File(VERSION, [*entries, *state.unreadable.values()]))


def decode(data: bytes, skew: float, now: float) -> State:
    """Read the state; what lapsed meanwhile is left out. Raises ``ValueError`` where it is no file of ours."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if file.version != VERSION:
        raise ValueError(f"it is of version {file.version}, this program reads version {VERSION}")
    state = State()
    for raw in file.registrations:
        _decode_entry(raw, state, skew, now)
    return state


def _decode_entry(raw: msgspec.Raw, state: State, skew: float, now: float) -> None:
    name = ""
    try:
        name = msgspec.json.decode(raw, type=_Label).registration.name
        entry = msgspec.json.decode(raw, type=_Entry)
        app, lifetime = entry.registration.app(), entry.registration.lifetime
        if (lifetime is None) != (entry.expires is None):
            raise BadValue("its ttl and its end do not go together")
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
        log.warning(
            "registration %r in the state file is left out, and kept in the file: %s",
            name,
            error,
            extra={"app": f"http:{name}", "reason": "bad-registration", "detail": str(error)},
        )
        state.unreadable[name or f"\0{len(state.unreadable)}"] = msgspec.Raw(bytes(raw))
        return
    expires_at = None
    if lifetime is not None and entry.expires is not None:
        expires_at = min(entry.expires - skew, now + lifetime)  # whatever the wall clock did meanwhile
        if expires_at <= now:
            extra = {"app": str(app.key), "reason": "lapsed"}
            ttl = entry.registration.ttl
            log.warning("app %s: lapsed while the daemon did not run (ttl %s)", app.key, ttl, extra=extra)
            return
    state.held[name] = Held(entry.registration, app, expires_at)
