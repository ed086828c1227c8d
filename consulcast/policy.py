"""What a source may ask for. Pure: an app either passes whole, or is refused with the rule that refused it.

A rule is named by its place in the configuration file, such as `policy.consul.vips`. docs/policy.md explains them.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import partial

from msgspec import Struct, field

from consulcast import patterns
from consulcast.model import App, IPAddress, MonitorSpec, Prefix, Reason, Refused, Source, Vip
from consulcast.monitors import command
from consulcast.monitors.command import Commands
from consulcast.monitors.spec import KINDS
from consulcast.notation import BadValue
from consulcast.patterns import CommunityPattern, PortRange, VipRange

# Never a VIP, whoever asks: RFC 1122 section 3.2.1.3, RFC 3927, RFC 4291, RFC 1112 section 4, RFC 5771
_BANNED = {
    "unspecified": ("0.0.0.0/8", "::/128"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "reserved": ("240.0.0.0/4",),
    "IPv4-mapped": ("::ffff:0:0/96",),
}
_BANNED_PREFIXES = tuple((word, ipaddress.ip_network(text)) for word, texts in _BANNED.items() for text in texts)
_SHORTEST = {4: 8, 6: 16}  # prefix lengths; nobody is allotted more

# Of one app from elsewhere. An UPDATE has 4096 bytes for all attributes of a route (RFC 4271 section 4).
MOST_COMMUNITIES = 64

_HOST_ROUTES = ("0.0.0.0/0", "::/0")
# Communities that routers obey without being told to: only those that make a route go less far. Not `blackhole`,
# which has the traffic dropped, `accept-own` and the `llgr` ones. What any other does, the network has decided itself.
_HARMLESS = ("no-export", "no-advertise", "no-export-subconfed", "no-peer", "graceful-shutdown")
_ANY_COMMUNITY = ("*:*", "*:*:*", "target:*:*", "origin:*:*")
# Not the host's own SSH and BGP: a VIP may be reachable from where the host's own address is not.
_TO_SERVICES = ("1-21", "23-178", "180-65535")


class Exec(StrEnum):
    """Which commands a source may have run."""

    DENY = "deny"
    COMMANDS = "commands"  # those that the file names
    ALLOW = "allow"  # any


class SourceRules(Struct, frozen=True):
    """What apps of one source may have. ``commands``: which of the named ones; ``None``: each."""

    vips: tuple[VipRange, ...]
    communities: tuple[CommunityPattern, ...]
    nat_listen: tuple[PortRange, ...]
    nat_dest: tuple[PortRange, ...]
    monitors: frozenset[str] = frozenset(KINDS)
    exec: Exec = Exec.DENY
    commands: frozenset[str] | None = None
    max_apps: int = 2000
    max_vips: int = 4000
    max_monitors: int = 4000


def _default(source: Source) -> SourceRules:
    if source is Source.CONFIG:
        return SourceRules(
            vips=tuple(
                VipRange(ipaddress.ip_network(text), _SHORTEST[version], bits)
                for text, version, bits in (("0.0.0.0/0", 4, 32), ("::/0", 6, 128))
            ),
            communities=tuple(map(patterns.community, (*_ANY_COMMUNITY, "65535:*"))),
            nat_listen=(PortRange(1, 65535),),
            nat_dest=(PortRange(1, 65535),),
            exec=Exec.ALLOW,
        )
    return SourceRules(
        vips=tuple(map(patterns.vip_range, _HOST_ROUTES)),
        communities=tuple(map(patterns.community, (*_ANY_COMMUNITY, *_HARMLESS))),
        nat_listen=(PortRange(1, 65535),),
        nat_dest=tuple(map(patterns.ports, _TO_SERVICES)),
    )


DEFAULTS: Mapping[Source, SourceRules] = {source: _default(source) for source in Source}


class Owner(Struct, frozen=True):
    """An entry of ``policy.services``: these VIPs are for services whose name matches, and for no other.

    ``name`` is a pattern as in a shell: ``*`` any letters, ``?`` one, ``[ab]`` one of these; of the whole name.
    """

    name: str
    vips: tuple[Prefix, ...]


class Rules(Struct, frozen=True):
    """The file's part of a policy."""

    sources: Mapping[Source, SourceRules] = field(default_factory=lambda: DEFAULTS)
    reserved: tuple[Prefix, ...] = ()
    services: tuple[Owner, ...] = ()
    commands: Commands = field(default_factory=Commands)


class Policy(Struct, frozen=True):
    """The rules in force: the file's, and what this host and its network make of them."""

    reserved: frozenset[IPAddress] = frozenset()  # addresses that the host, its peers or Consul need for themselves
    consul: bool = True  # whether Consul is used on this host
    nat: frozenset[int] = frozenset()  # IP versions of which this host has an address of its own to send NAT traffic to
    rules: Rules = field(default_factory=Rules)


def judge(app: App, policy: Policy) -> Refused | None:
    """Apply ``policy`` to ``app``; ``None`` means allowed. How many a source may hold is the registry's matter."""
    rules, refused = policy.rules.sources[app.key.source], partial(Refused, app.key, app.name)
    for vip in app.vips:
        objection = _object_to_vip(vip, app, policy)
        if objection:
            return refused(Reason.VIP_NOT_ALLOWED, f"VIP {vip}: {objection}")
    for monitor in app.monitors:
        if monitor.kind == "consul" and app.key.source is not Source.CONSUL and not policy.consul:
            detail = "monitor 'consul': Consul is not used on this host; set CONSUL_NODE or consul.node"
            return refused(Reason.MONITOR_UNSUPPORTED, detail)
        objection = _object_to_monitor(monitor, app.key.source, rules, policy.rules.commands)
        if objection:
            return refused(Reason.MONITOR_NOT_ALLOWED, f"monitor {_short(str(monitor))!r}: {objection}")
    objection = _object_to_communities(app, rules)
    if objection:
        return refused(Reason.COMMUNITY_NOT_ALLOWED, objection)
    for rule in app.nats:
        for word, port, allowed in (
            ("listen", rule.listen_port, rules.nat_listen),
            ("dest", rule.dest_port, rules.nat_dest),
        ):
            if not any(port in item for item in allowed):
                detail = f"NAT {rule.protocol}:{rule.listen_port}:{rule.dest_port}: port {port} is not in "
                return refused(Reason.NAT_NOT_ALLOWED, f"{detail}{_place(app.key.source, f'nat_{word}', allowed)}")
    for vip in app.vips if app.nats else ():
        if vip.interface.version not in policy.nat:
            family = f"IPv{vip.interface.version}"
            detail = f"VIP {vip}: it asks for NAT, and this host has no {family} address of its own to send it to"
            return refused(Reason.NAT_UNSUPPORTED, detail)
    return None


def _object_to_vip(vip: Vip, app: App, policy: Policy) -> str:
    prefix, rules, source = vip.prefix, policy.rules, app.key.source
    if prefix.prefixlen == 0:
        return "the default route is never announced"
    if prefix.prefixlen < _SHORTEST[prefix.version]:
        return f"a prefix shorter than /{_SHORTEST[prefix.version]} is never announced"
    for word, banned in _BANNED_PREFIXES:
        if _overlap(prefix, banned):
            return f"{word} addresses ({banned}) are never announced"
    for address in sorted((item for item in policy.reserved if item in prefix), key=str):
        return f"it covers {address}, which this host or a peer of it, or Consul, uses for itself"
    for number, kept in enumerate(rules.reserved):
        if _overlap(prefix, kept):
            return f"policy.reserved[{number}] keeps {kept} from everybody"
    allowed = rules.sources[source].vips
    if not any(item.allows(prefix) for item in allowed):
        return f"not in {_place(source, 'vips', allowed)}"
    owners = [item for item in enumerate(rules.services) if any(_overlap(prefix, kept) for kept in item[1].vips)]
    if owners and not any(_has(owner, app.name, prefix) for _, owner in owners):
        number, owner = owners[0]
        return f"policy.services[{number}] keeps it for services named {owner.name!r}, and this is {_short(app.name)!r}"
    return ""


def kept_by_name(app: App, policy: Policy) -> Refused | None:
    """Refuse any VIP that is kept for services of some names: to whom nobody vouches for the name."""
    for vip in app.vips:
        for number, owner in enumerate(policy.rules.services):
            if any(_overlap(vip.prefix, kept) for kept in owner.vips):
                detail = (
                    f"VIP {vip}: policy.services[{number}] keeps it for services named {owner.name!r}, and over HTTP "
                    "anybody on this host may give any name: send a token (api.tokens_file), or set api.local_scopes"
                )
                return Refused(app.key, app.name, Reason.VIP_NOT_ALLOWED, detail)
    return None


def _has(owner: Owner, name: str, prefix: Prefix) -> bool:
    """Whether it has the whole of ``prefix`` for that name: a wider one would take others' traffic along."""
    inside = any(
        kept.version == prefix.version and prefix.prefixlen >= kept.prefixlen and prefix.network_address in kept
        for kept in owner.vips
    )
    return inside and fnmatch.fnmatchcase(name, owner.name)


def _object_to_monitor(monitor: MonitorSpec, source: Source, rules: SourceRules, commands: Commands) -> str:
    if monitor.kind not in rules.monitors:
        return f"kind {monitor.kind!r} is not in {_place(source, 'monitors', sorted(rules.monitors))}"
    if monitor.kind != "exec":
        return ""
    place = f"policy.{source}.exec"
    try:
        call = command.named(monitor.target)
        if call is None:
            if rules.exec is Exec.ALLOW:
                return ""
            who = "the user of `exec.user`" if commands.user else "this daemon's user"
            return (
                f"a command from {source} would run as {who}, whoever wrote it; name it in `commands:` "
                f"and set {place}: commands, or, to allow any, set {place}: allow"
            )
        if rules.exec is Exec.DENY:
            return f"no commands are run for {source}; to allow those of `commands:`, set {place}: commands"
        if rules.commands is not None and call[0] not in rules.commands:
            return f"command {call[0]!r} is not in {_place(source, 'exec', sorted(rules.commands))}"
        commands.find(monitor.target)
    except BadValue as error:
        return str(error)
    return ""


def _object_to_communities(app: App, rules: SourceRules) -> str:
    source = app.key.source
    if source is not Source.CONFIG and len(app.communities) > MOST_COMMUNITIES:
        return f"{len(app.communities)} communities are asked for, at most {MOST_COMMUNITIES} are taken"
    for community in app.communities:
        if not any(item.allows(community) for item in rules.communities):
            return f"community {community} is not in {_place(source, 'communities', rules.communities)}"
    return ""


def _overlap(one: Prefix, other: Prefix) -> bool:
    if one.version != other.version:
        return False
    return one.network_address in other or other.network_address in one


def _place(source: Source, key: str, allowed: Iterable[object]) -> str:
    return f"policy.{source}.{key} ({', '.join(map(str, allowed)) or 'empty'})"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:119]}…"
