"""The policy: whatever the file allows, nothing that is nobody's comes through. Judged by rules written anew here."""

from __future__ import annotations

import fnmatch
import ipaddress
from typing import Any

from hypothesis import strategies as st

from consulcast import notation, patterns
from consulcast.model import App, AppKey, IPAddress, NatRule, Prefix, Source, Vip
from consulcast.monitors.command import Command, Commands
from consulcast.monitors.spec import KINDS
from consulcast.patterns import PortRange, VipRange
from consulcast.policy import DEFAULTS, Exec, Owner, Policy, Rules, SourceRules, judge
from tests.fuzz.target import Target

USABLE = ("203.0.113.10", "203.0.113.64", "2001:db8:1::", "198.18.0.1", "10.0.0.1")
NEAR = (
    *("0.0.0.0", "0.0.0.1", "126.0.0.0", "127.0.0.1", "128.0.0.0", "169.254.1.1", "198.51.100.1", "223.0.0.0"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::2", "::ffff:203.0.113.1"),
    *("fe80::1", "febf::1", "fec0::1", "ff02::1", "2001:db8::1", "fdff::1"),
)
ADDRESSES: st.SearchStrategy[IPAddress] = st.one_of(
    st.sampled_from(USABLE).map(ipaddress.ip_address),
    st.sampled_from(NEAR).map(ipaddress.ip_address),
    st.ip_addresses(),
)


@st.composite
def networks(draw: st.DrawFn) -> Prefix:
    """Any prefix, single addresses often."""
    address = draw(ADDRESSES)
    length = draw(st.one_of(st.just(address.max_prefixlen), st.integers(0, address.max_prefixlen)))
    return ipaddress.ip_network((address, length), strict=False)


@st.composite
def ranges(draw: st.DrawFn) -> VipRange:
    """A range of VIPs as the file may have it."""
    prefix = draw(networks())
    shortest = draw(st.integers(prefix.prefixlen, prefix.max_prefixlen))
    return VipRange(prefix, shortest, draw(st.integers(shortest, prefix.max_prefixlen)))


EVERY = (VipRange(ipaddress.ip_network("0.0.0.0/0"), 0, 32), VipRange(ipaddress.ip_network("::/0"), 0, 128))
PORTS = st.sampled_from([1, 22, 53, 179, 180, 8053, 65535])
PORT_RANGES = st.one_of(
    st.just(PortRange(1, 65535)), st.tuples(PORTS, PORTS).map(lambda pair: PortRange(min(pair), max(pair)))
)
ASKED = ("65535:666", "65535:0", "65000:1", "64512:100", "1:2:3", "target:65000:1", "origin:1.2.3.4:5", "65535:65281")
PATTERNS = ("*:*", "65000:*", "65535:*", "64512:1-100", "*:*:*", "target:*:*", "no-export", "blackhole")
MONITORS = (
    "port:tcp:53",
    "consul",
    "exec:reboot",
    "exec:@check a",
    "exec:@check A;b",
    "exec:@other",
    "tcp:x.example:1",
)
SOURCES = st.builds(
    SourceRules,
    vips=st.one_of(st.just(EVERY), st.lists(ranges(), max_size=3).map(tuple)),
    communities=st.lists(st.sampled_from(PATTERNS).map(patterns.community), max_size=3).map(tuple),
    nat_listen=st.lists(PORT_RANGES, max_size=2).map(tuple),
    nat_dest=st.lists(PORT_RANGES, max_size=2).map(tuple),
    monitors=st.sampled_from([frozenset(KINDS), frozenset({"port"}), frozenset({"consul", "exec"})]),
    exec=st.sampled_from(Exec),
    commands=st.sampled_from([None, frozenset({"check"}), frozenset({"other"})]),
)
OWNERS = st.builds(
    Owner,
    name=st.sampled_from(["*", "dns-*", "dns", "d?s", "[ab]*", "", "DNS"]),
    vips=st.lists(networks(), max_size=2).map(tuple),
)
POLICIES = st.builds(
    Policy,
    reserved=st.frozensets(ADDRESSES, max_size=2),
    consul=st.booleans(),
    nat=st.sampled_from([frozenset({4, 6}), frozenset({4})]),
    rules=st.builds(
        Rules,
        sources=SOURCES.map(lambda one: {**DEFAULTS, Source.CONSUL: one, Source.CONFIG: one}),
        reserved=st.lists(networks().filter(lambda prefix: prefix.prefixlen > 8), max_size=2).map(tuple),
        services=st.lists(OWNERS, max_size=2).map(tuple),
        commands=st.just(Commands({"check": Command(("/bin/true",), ("[a-z]+",))})),
    ),
)
VIPS = st.one_of(
    ADDRESSES.map(lambda address: Vip(ipaddress.ip_interface(address))),
    networks().map(lambda prefix: Vip(ipaddress.ip_interface(str(prefix)))),
)
NAMES = st.one_of(st.sampled_from(["dns", "dns-1", "das", "a", "web", "DNS", "dns\n"]), st.text(max_size=5))
APPS = st.builds(
    App,
    key=st.builds(AppKey, st.sampled_from(Source), NAMES),
    name=NAMES,
    vips=st.lists(VIPS, min_size=1, max_size=2).map(tuple),
    monitors=st.lists(st.sampled_from(MONITORS).map(notation.monitor), max_size=1).map(tuple),
    nats=st.lists(st.builds(NatRule, st.sampled_from(["tcp", "udp"]), PORTS, PORTS), max_size=1).map(tuple),
    communities=st.lists(st.sampled_from(ASKED).map(notation.community), max_size=2).map(tuple),
)


def _nobodys(prefix: Prefix) -> bool:
    first = prefix.network_address
    if isinstance(first, ipaddress.IPv6Address):
        odd = first.ipv4_mapped is not None or prefix.prefixlen < 16
    else:
        odd = int(first) >> 24 == 0 or int(first) >> 28 == 15 or prefix.prefixlen < 8
    edges = (first, prefix.broadcast_address)
    return odd or any(one.is_loopback or one.is_multicast or one.is_link_local or one.is_unspecified for one in edges)


def _judge(case: tuple[App, Policy]) -> str:
    app, policy = case
    found = judge(app, policy)
    if found is not None:
        assert (found.key, found.name) == (app.key, app.name)
        return found.reason.value
    rules = policy.rules.sources[app.key.source]
    for vip in app.vips:
        prefix = vip.prefix
        assert not _nobodys(prefix), prefix
        assert not any(address in prefix for address in policy.reserved), prefix
        assert not any(_overlaps(prefix, kept) for kept in policy.rules.reserved), prefix
        assert any(
            one.shortest <= prefix.prefixlen <= one.longest and _within(prefix, one.prefix) for one in rules.vips
        )
        touched = [one for one in policy.rules.services if any(_overlaps(prefix, kept) for kept in one.vips)]
        whole = [one for one in touched if any(_within(prefix, kept) for kept in one.vips)]
        assert not touched or any(fnmatch.fnmatchcase(app.name, one.name) for one in whole), (prefix, touched)
    for rule in app.nats:
        assert any(one.first <= rule.listen_port <= one.last for one in rules.nat_listen)
        assert any(one.first <= rule.dest_port <= one.last for one in rules.nat_dest)
    for monitor in app.monitors:
        assert monitor.kind in rules.monitors
        if monitor.kind == "exec":
            assert rules.exec is Exec.ALLOW or (rules.exec is Exec.COMMANDS and monitor.target.startswith("@"))
            assert not monitor.target.startswith("@") or monitor.target == "@check a"
    known = {pattern.text for pattern in rules.communities}
    blackhole = "65535:666" in map(str, app.communities)
    assert not blackhole or known & {"blackhole", "65535:666", "65535:*"}, known
    return "allowed"


def _span(prefix: Prefix) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), int(prefix.broadcast_address)


def _overlaps(one: Prefix, other: Prefix) -> bool:
    (version, first, last), (versions, begin, end) = _span(one), _span(other)
    return version == versions and first <= end and begin <= last


def _within(one: Prefix, other: Prefix) -> bool:
    (version, first, last), (versions, begin, end) = _span(one), _span(other)
    return version == versions and begin <= first and last <= end


TARGETS: tuple[Target[Any], ...] = (Target("policy", _judge, st.tuples(APPS, POLICIES)),)
