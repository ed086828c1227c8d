"""Drains: what is taken out of service though it works, by whom and until when, and how routers are told. No I/O.

GRACEFUL_SHUTDOWN is RFC 8326's community: whoever understands it prefers every other path, and still uses this one
while there is none.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Collection, Iterable
from enum import StrEnum

from msgspec import Struct

from consulcast import notation
from consulcast.model import App, Community, CommunityKind, IPAddress, Route, Vip
from consulcast.notation import BadValue
from consulcast.values import replace
from consulcast.wording import counted

MAX_TARGET = 300  # characters; a ServiceID of Consul's may be long
MAX_REASON = 200  # characters
MAX_DRAINS = 1000
FOR_MIN, FOR_MAX = 1.0, 365 * 24 * 3600.0  # seconds
_SHOWN = 10  # names of each kind in a message

GRACEFUL_SHUTDOWN = Community(CommunityKind.STANDARD, "65535:0")


class UnknownTarget(LookupError):
    """Nothing has that name; the message says what has one."""


class Method(StrEnum):
    """How a route is made less preferred than others before it is withdrawn."""

    GRACEFUL_SHUTDOWN = "graceful-shutdown"
    MED = "med"
    PREPEND = "prepend"
    NONE = "none"  # not at all: it is withdrawn at once


class Settings(Struct, frozen=True):
    """How a drain goes. Durations are seconds.

    ``wait``: from the lower preference to the withdrawal. Routers need it to choose and to pass on another path: most
    take less than a second, some gather changes for up to five. ``flows``: how long open flows may keep NAT and address
    after the withdrawal.
    """

    method: Method = Method.GRACEFUL_SHUTDOWN
    med: int = 2**32 - 1
    prepend: int = 3
    wait: float = 5.0
    flows: float = 30.0

    @property
    def lowers(self) -> float:
        """Seconds that a route is announced with the lower preference."""
        return 0.0 if self.method is Method.NONE else self.wait

    @property
    def how(self) -> str:
        """The lower preference in words."""
        return {Method.MED: f"MED {self.med}", Method.PREPEND: f"our AS {counted(self.prepend, 'time')} more"}.get(
            self.method, str(self.method)
        )


def lowered(route: Route, settings: Settings) -> Route:
    """Make a route less preferred.

    Internal peers get LOCAL_PREF 0 (RFC 8326 section 4), unless the method is the MED: they compare it before anything
    else, and would take a path that has our own AS in it for a loop.
    """
    if settings.method is Method.GRACEFUL_SHUTDOWN:
        communities = tuple(sorted({*route.communities, GRACEFUL_SHUTDOWN}))
        return replace(route, communities=communities, local_preference=0)
    if settings.method is Method.MED:
        return replace(route, med=settings.med)
    if settings.method is Method.PREPEND:
        return replace(route, prepend=settings.prepend, local_preference=0)
    return route


class Kind(StrEnum):
    """What a drain is about."""

    NODE = "node"  # every app of this host
    APP = "app"  # by its key, its id, or the name of its service: every instance
    VIP = "vip"  # one VIP of whatever apps have it


class Target(Struct, frozen=True, order=True):
    """What is drained. ``name`` is canonical."""

    kind: Kind
    name: str

    @classmethod
    def read(cls, text: str) -> Target:
        """Read ``node``, a VIP (a bare address is the VIP of that address alone), or an app. Raises ``BadValue``."""
        if text == Kind.NODE:
            return cls(Kind.NODE, text)
        address = _address(text)
        if address is not None:
            return cls(Kind.VIP, f"{address}/{address.max_prefixlen}")
        try:
            return cls(Kind.VIP, str(notation.vip(text)))
        except BadValue:
            pass
        if not text or len(text) > MAX_TARGET or not text.isprintable():
            shown = text[:80]
            what = f"write node, an app, a service or a VIP, at most {MAX_TARGET} printable characters"
            raise BadValue(f"target {shown!r}: {what}")
        return cls(Kind.APP, text)

    def covers(self, app: App) -> bool:
        """Whether all of an app is drained."""
        if self.kind is Kind.APP:
            return self.name in (str(app.key), app.key.id, app.name)
        return self.kind is Kind.NODE

    def __str__(self) -> str:
        return self.name


class Drain(Struct, frozen=True):
    """One drain. ``since`` and ``until`` are of the monotonic clock; ``ends`` is ``until`` as a time of day, "": never.

    ``ends`` is written once: worked out again it would differ by the clocks' drift, and look like a change.
    """

    target: Target
    since: float
    until: float | None = None
    ends: str = ""
    reason: str = ""
    who: str = ""

    @property
    def why(self) -> str:
        """Who wants it, why and until when, in a few words."""
        words = [f"{self.target} drained" if self.target.kind is not Kind.APP else "drained"]
        words += [f"by {self.who}"] if self.who else []
        words += [f"until {self.ends}"] if self.ends else []
        return " ".join(words) + (f": {self.reason}" if self.reason else "")


def check_reason(text: str) -> str:
    """Return the reason without blanks around it. Raises ``BadValue``: it stands in logs and on terminals."""
    text = text.strip()
    if len(text) > MAX_REASON or not text.isprintable():
        what = f"use at most {MAX_REASON} characters, none of them a control character"
        raise BadValue(f"reason {text[:80]!r}: {what}")
    return text


def lifetime(text: str) -> float | None:
    """Read how long a drain is to last, in seconds; empty: until it is ended. Raises ``BadValue``."""
    if not text:
        return None
    seconds = notation.duration(text)
    if not FOR_MIN <= seconds <= FOR_MAX:
        raise BadValue(f"for {text!r}: write a duration from 1s to 8760h")
    return seconds


def find(text: str, apps: Iterable[App], drains: Collection[Drain] = ()) -> Target | None:
    """Read a target and look it up among what there is, and what is drained; ``None``: nothing has that name.

    A bare address is any VIP that has it, whatever its length. Raises ``BadValue``.
    """
    target = Target.read(text)
    apps = tuple(apps)
    known = {drain.target for drain in drains}
    if target.kind is Kind.NODE or target in known:
        return target
    if target.kind is Kind.APP:
        return target if any(target.covers(app) for app in apps) else None
    vips = {Target(Kind.VIP, str(vip)) for vip in _vips(apps)} | {each for each in known if each.kind is Kind.VIP}
    if target in vips:
        return target
    address = _address(text)
    return next((each for each in sorted(vips) if address == ipaddress.ip_interface(each.name).ip), None)


def unknown(text: str, apps: Iterable[App]) -> str:
    """Say that nothing has that name, and what has one."""
    from consulcast.hub import in_turns  # late: a command that reads a drain's target needs no hub

    apps = tuple(apps)
    keys = [str(app.key) for app in apps]
    names = list(dict.fromkeys(app.name for app in apps))
    vips = [str(vip) for vip in _vips(apps)]
    near = difflib.get_close_matches(text[:MAX_TARGET], in_turns([*keys, *names, *vips]), n=3)
    lists = [
        f"{word} {', '.join(items[:_SHOWN])}" + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
        for word, items in (("apps", keys), ("services", names), ("VIPs", vips))
        if items
    ]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"nothing here is called {text[:80]!r}: {hint}there is {'; '.join(('node', *lists))}"


def not_drained(text: str, drains: Collection[Drain]) -> str:
    """Say that it is not drained, and what is."""
    names = [str(drain.target) for drain in drains]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    what = f"drained are {', '.join(names[:_SHOWN])}{more}" if names else "nothing is"
    return f"{text[:80]!r} is not drained: {what}"


def _vips(apps: Iterable[App]) -> list[Vip]:
    return list(dict.fromkeys(vip for app in apps for vip in app.vips))


def _address(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None
