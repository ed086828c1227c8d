"""What is meant by a target: an app, a service, a VIP, a prefix, an address. Pure, but that others get their turn."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable

from msgspec import Struct

from consulcast.explain.facts import Facts, Shown
from consulcast.explain.tagging import mentions
from consulcast.hub import in_turns
from consulcast.model import AppKey, Interface, Source, Vip

MOST = 16  # VIPs of one explanation


class Subject(Struct, frozen=True):
    """What is explained: VIPs, the apps that ask for them, and Consul's services that may have been meant to."""

    vips: tuple[Vip, ...] = ()
    apps: tuple[AppKey, ...] = ()
    services: tuple[Shown, ...] = ()  # without an app
    by_name: bool = False  # an app or a service was asked for
    left_out: int = 0  # VIPs beyond the most that one explanation has


def find(target: str, facts: Facts) -> Subject | None:
    """Say what is meant; ``None``: nobody asks for anything like it."""
    target = target.strip()
    return _by_name(target, facts) or _by_address(target, facts)


def nearest(target: str, facts: Facts) -> tuple[str, ...]:
    """Name what is written most alike."""
    names = {str(app.key) for app in facts.asked} | {app.name for app in facts.asked}
    names |= {item.name for item in facts.refused} | {str(item.key) for item in facts.refused}
    names |= {str(vip) for app in in_turns(facts.asked) for vip in app.vips}
    names |= {service.name for service in _services(facts)}
    names |= {service.id for service in _services(facts)}
    return tuple(difflib.get_close_matches(target, in_turns(sorted(names)), 3))


def vips_of(keys: Iterable[AppKey], facts: Facts) -> tuple[Vip, ...]:
    """The VIPs that apps ask for, and have if they are taken with others."""
    wanted = set(keys)
    return tuple(dict.fromkeys(vip for app in (*facts.apps, *facts.asked) if app.key in wanted for vip in app.vips))


def _those_that_matter(vips: tuple[Vip, ...], facts: Facts) -> tuple[Vip, ...]:
    """As many as an explanation has; of more than that, those that are not to be announced come first."""
    if len(vips) <= MOST:
        return vips
    wanted = {vip for vip, intent in facts.intents.items() if intent.announce}
    return tuple(sorted(vips, key=wanted.__contains__)[:MOST])


def _services(facts: Facts) -> tuple[Shown, ...]:
    return tuple(facts.consul.services.values()) if facts.consul is not None else ()


def _without_app(services: Iterable[Shown], facts: Facts) -> tuple[Shown, ...]:
    known = {app.key for app in (*facts.apps, *facts.asked)} | {item.key for item in facts.refused}
    return tuple(item for item in services if AppKey(Source.CONSUL, item.id) not in known)


def _by_name(target: str, facts: Facts) -> Subject | None:
    pairs = [(app.key, app.name) for app in (*facts.apps, *facts.asked)]
    pairs += [(item.key, item.name) for item in facts.refused]
    exact = [key for key, _ in in_turns(pairs) if str(key) == target]
    keys = exact or [key for key, name in in_turns(pairs) if target in (key.id, name)]
    services = _without_app(
        (item for item in in_turns(_services(facts)) if target in (item.id, item.name, f"{Source.CONSUL}:{item.id}")),
        facts,
    )
    if not keys and not services:
        return None
    keys = list(dict.fromkeys(keys))
    vips = vips_of(keys, facts)
    shown = _those_that_matter(vips, facts)
    return Subject(shown, tuple(keys), () if exact else services, by_name=True, left_out=len(vips) - len(shown))


def _by_address(target: str, facts: Facts) -> Subject | None:
    try:
        asked = ipaddress.ip_interface(target)
    except ValueError:
        return None
    named = [item for item in in_turns(_services(facts)) if any(mentions(tag, asked.ip) for tag in item.tags)]
    matching = _matching(asked, "/" in target, facts, bool(named))
    vips = _those_that_matter(matching, facts)
    asking = (app for app in in_turns((*facts.apps, *facts.asked)) if any(vip in vips for vip in app.vips))
    keys = tuple(dict.fromkeys(app.key for app in asking))
    unread = [item.key for item in facts.refused if item.key not in keys and _is_of(item.key, named)]
    services = _without_app(named, facts)
    if not vips and not unread and not services:
        return None
    return Subject(vips, (*keys, *unread), services, left_out=len(matching) - len(vips))


def _is_of(key: AppKey, services: Iterable[Shown]) -> bool:
    return key.source is Source.CONSUL and any(item.id == key.id for item in services)


def _matching(asked: Interface, is_prefix: bool, facts: Facts, named: bool) -> tuple[Vip, ...]:
    """The VIPs that an address or prefix is about: the very one, else those around it, else those inside.

    ``named``: it stands in a tag, so that nothing is meant that is merely around it. What is refused is around nothing
    while something else is, and 0.0.0.0/0 never: one who asks for it would be the answer to every question.
    """
    taken = dict.fromkeys(vip for app in in_turns(facts.apps) for vip in app.vips)
    known = dict.fromkeys((*taken, *(vip for app in in_turns(facts.asked) for vip in app.vips)))
    alike = [vip for vip in in_turns(known) if vip.interface.version == asked.version]
    if is_prefix:
        same = [vip for vip in alike if vip.interface == asked] or [vip for vip in alike if vip.prefix == asked.network]
    else:
        same = [vip for vip in alike if vip.interface.ip == asked.ip]
    inside = [vip for vip in alike if vip.interface.ip in asked.network]
    if same or (named and not inside):
        return tuple(same)
    around = [vip for vip in alike if vip.prefix.prefixlen <= asked.network.prefixlen and asked.ip in vip.prefix]
    around = [vip for vip in around if vip in taken or vip.prefix.prefixlen > 0]
    around.sort(key=lambda vip: (vip not in taken, -vip.prefix.prefixlen))
    if around and around[0] in taken:
        return tuple(around[:1])
    return tuple(inside or around[:1])
