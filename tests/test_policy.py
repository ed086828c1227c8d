"""What a source may ask for, and which rule says so."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation, patterns
from consulcast.model import App, AppKey, MonitorSpec, NatRule, Prefix, Reason, Refused, Source
from consulcast.monitors.command import Command, Commands
from consulcast.policy import DEFAULTS, MOST_COMMUNITIES, Exec, Owner, Policy, Rules, SourceRules, judge
from tests.policies import open_policy

VIP = "203.0.113.10/32"


def app(*vips: str, source: Source = Source.CONSUL, name: str = "dns", **more: Any) -> App:
    return App(AppKey(source, name), name, tuple(notation.vip(vip) for vip in vips or (VIP,)), **more)


def policy(consul: dict[str, Any] | None = None, **more: Any) -> Policy:
    """The default, with these rules for Consul; the rest are of the file as a whole."""
    default = DEFAULTS[Source.CONSUL]
    changed = SourceRules(**{**{key: getattr(default, key) for key in default.__struct_fields__}, **(consul or {})})
    return Policy(rules=Rules(sources={**DEFAULTS, Source.CONSUL: changed}, **more), nat=frozenset({4, 6}))


def refusal(asked: App, under: Policy) -> tuple[str, str]:
    found = judge(asked, under)
    assert isinstance(found, Refused)
    assert (found.key, found.name) == (asked.key, asked.name)
    return found.reason.value, found.detail


def read(read: Any, *texts: Any) -> tuple[Any, ...]:
    return tuple(map(read, texts))


# -- VIPs ------------------------------------------------------------------------------------------------------------

NEVER = [
    *(
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/32",
        "255.255.255.255/32",
        "127.0.0.1/32",
        "::1/128",
        "126.0.0.0/7",
        "240.0.0.1/32",
    ),
    *("224.0.0.9/32", "ff02::1/128", "169.254.1.1/32", "fe80::1/128", "::ffff:203.0.113.1/128"),
    *("198.51.100.1/32", "198.51.100.0/24", "32.0.0.0/3", "2000::/3", "198.51.100.1/24"),
]


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize("vip", NEVER)
def test_vip_that_nobody_may_have_is_refused_whatever_the_file_says(vip: str, source: Source) -> None:
    under = open_policy(reserved=frozenset({ipaddress.ip_address("198.51.100.1")}))
    assert refusal(app(vip, source=source), under)[0] == "vip-not-allowed"


prefixes = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: ipaddress.IPv4Network(pair, strict=False)),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(lambda pair: ipaddress.IPv6Network(pair, strict=False)),
)
near_the_banned = st.sampled_from([notation.vip(vip).prefix for vip in NEVER]).flatmap(
    lambda prefix: st.integers(0, prefix.max_prefixlen).map(
        lambda length: ipaddress.ip_network((prefix.network_address, length), strict=False)
    )
)


@given(st.one_of(prefixes, near_the_banned), st.sampled_from(Source), st.booleans())
def test_nothing_that_is_let_through_holds_an_address_that_is_nobodys(
    prefix: Prefix, source: Source, wide: bool
) -> None:
    own = frozenset(map(ipaddress.ip_address, ("198.51.100.1", "2001:db8::1")))
    under = open_policy(reserved=own) if wide else Policy(reserved=own)
    if judge(app(str(prefix), source=source), under) is not None:
        return
    first, last = prefix[0], prefix[-1]
    assert not any(address in prefix for address in own)
    for end in (first, last):
        assert not any((end.is_loopback, end.is_link_local, end.is_multicast, end.is_unspecified))
    if isinstance(first, ipaddress.IPv6Address):
        assert first.ipv4_mapped is None
    else:
        assert not any((first.is_reserved, last.is_reserved))
    if source is not Source.CONFIG and not wide:
        assert prefix.prefixlen == prefix.max_prefixlen


def test_file_may_have_whole_prefixes_and_a_tag_single_addresses() -> None:
    for vip in ("10.0.0.0/24", "10.0.0.5/24", "2001:db8:7::/64"):
        assert judge(app(vip, source=Source.CONFIG), Policy()) is None
        for source in (Source.CONSUL, Source.HTTP):
            assert (
                f"not in policy.{source}.vips (0.0.0.0/0 of length /32, "
                in refusal(app(vip, source=source), Policy())[1]
            )
    assert judge(app("203.0.113.10/32", "2001:db8::10/128"), Policy()) is None


def test_prefixes_with_their_lengths_are_the_files_to_say() -> None:
    under = policy({"vips": read(patterns.vip_range, "203.0.113.0/24", {"prefix": "10.0.0.0/8", "min": 24, "max": 28})})
    for vip in ("203.0.113.255/32", "10.1.0.0/24", "10.1.0.16/28"):
        assert judge(app(vip), under) is None
    for vip in ("203.0.113.0/25", "203.0.114.0/32", "10.0.0.0/23", "10.0.0.0/29", "2001:db8::1/128"):
        assert refusal(app(VIP, vip), under) == (
            "vip-not-allowed",
            f"VIP {vip}: not in policy.consul.vips (203.0.113.0/24 of length /32, 10.0.0.0/8 of length /24 to /28)",
        )


def test_reserved_vips_are_nobodys_and_the_rule_is_named() -> None:
    under = policy(reserved=read(patterns.prefix, "192.0.2.0/24", "203.0.113.8/30"))
    for source in Source:
        assert "policy.reserved[1] keeps 203.0.113.8/30" in refusal(app(source=source), under)[1]
    assert judge(app("203.0.113.12/32"), under) is None


OWNERS = (
    Owner("dns-*", read(patterns.prefix, "203.0.113.0/28", "2001:db8:1::/48")),
    Owner("web", read(patterns.prefix, "203.0.113.8/29")),
)


@pytest.mark.parametrize(
    ("name", "vip", "allowed"),
    [
        ("dns-1", "203.0.113.1/32", True),
        ("dns-1", "2001:db8:1::1/128", True),
        ("dns", "203.0.113.1/32", False),
        ("xdns-1", "203.0.113.1/32", False),
        ("DNS-1", "203.0.113.1/32", False),
        ("web", "203.0.113.9/32", True),
        ("dns-1", "203.0.113.9/32", True),
        ("web", "203.0.113.1/32", False),
        ("web\n", "203.0.113.9/32", False),
        ("anybody", "203.0.113.99/32", True),
    ],
)
def test_vips_of_a_service_are_for_its_names_alone(name: str, vip: str, allowed: bool) -> None:
    under = policy(services=OWNERS)
    if allowed:
        assert judge(app(vip, name=name), under) is None
    else:
        assert "policy.services[0] keeps it for services named 'dns-*'" in refusal(app(vip, name=name), under)[1]


def test_wider_prefix_over_the_vips_of_another_is_refused() -> None:
    under = open_policy()
    under = Policy(rules=Rules(sources=under.rules.sources, services=OWNERS))
    assert judge(app("203.0.113.0/24", name="dns-1"), under) is not None
    assert judge(app("203.0.113.0/24", name="other"), under) is not None
    assert judge(app("203.0.113.0/28", name="dns-1"), under) is None


# -- monitors --------------------------------------------------------------------------------------------------------


def test_monitor_consul_needs_consul() -> None:
    asked = app(source=Source.CONFIG, monitors=(MonitorSpec("consul"),))
    assert refusal(asked, Policy(consul=False))[0] == "monitor-unsupported"
    assert judge(asked, Policy()) is None


def test_kinds_of_monitors_are_the_files_to_say() -> None:
    under = policy({"monitors": frozenset({"consul", "port"})})
    assert judge(app(monitors=(MonitorSpec("port", "tcp:53"),)), under) is None
    assert refusal(app(monitors=(MonitorSpec("http", "http://127.0.0.1/"),)), under) == (
        "monitor-not-allowed",
        "monitor 'http:http://127.0.0.1/': kind 'http' is not in policy.consul.monitors (consul, port)",
    )


@pytest.mark.parametrize("source", Source)
def test_commands_written_out_are_run_for_the_file_and_for_whom_the_file_says(source: Source) -> None:
    asked = app(source=source, monitors=(MonitorSpec("exec", "true"),))
    if source is Source.CONFIG:
        assert judge(asked, Policy()) is None
    else:
        reason, detail = refusal(asked, Policy())
        assert reason == "monitor-not-allowed"
        assert f"set policy.{source}.exec: allow" in detail
    assert judge(asked, open_policy()) is None


NAMED = Commands({"check": Command(("/bin/check",), ("[a-z]+", "[0-9]{1,3}")), "other": Command(("/bin/other",))})


def test_commands_by_name_are_off_until_the_file_allows_them() -> None:
    by_name, raw = (app(monitors=(MonitorSpec("exec", text),)) for text in ("@check a 1", "/bin/check a 1"))
    assert "set policy.consul.exec: commands" in refusal(by_name, policy(commands=NAMED))[1]
    some = policy({"exec": Exec.COMMANDS}, commands=NAMED)
    assert judge(by_name, some) is None
    assert refusal(raw, some)[0] == "monitor-not-allowed"
    other = policy({"exec": Exec.COMMANDS, "commands": frozenset({"other"})}, commands=NAMED)
    assert "'check' is not in policy.consul.exec (other)" in refusal(by_name, other)[1]
    assert judge(app(monitors=(MonitorSpec("exec", "@other"),)), other) is None
    assert judge(by_name, policy({"exec": Exec.ALLOW}, commands=NAMED)) is None


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("@none", "commands has no 'none'; it has check, other"),
        ("@check", "commands.check.arguments: 0 are given, it takes 2"),
        ("@check a 1 b", "commands.check.arguments: 3 are given, it takes 2"),
        ("@check a 1000", "commands.check.arguments[1]: '1000' does not match"),
        ("@check a;id 1", "commands.check.arguments[0]: 'a;id' does not match"),
        ("@check a\n 1", "commands.check.arguments[0]: 'a\\n' does not match"),
        ("@check $(id) 1", "commands.check.arguments[0]: '$(id)' does not match"),
        ("@other x", "commands.other.arguments: 1 are given, it takes 0"),
    ],
)
@pytest.mark.parametrize("source", Source)
def test_arguments_are_taken_only_as_the_command_declares_them(target: str, says: str, source: Source) -> None:
    under = Policy(rules=Rules(sources=open_policy().rules.sources, commands=NAMED))
    reason, detail = refusal(app(source=source, monitors=(MonitorSpec("exec", target),)), under)
    assert (reason, says in detail) == ("monitor-not-allowed", True), detail


# -- communities and NAT ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        *(
            ("64512:1", True),
            ("0:1", True),
            ("64512:1:2", True),
            ("target:64512:1", True),
            ("origin:198.51.100.1:1", True),
        ),
        *(("no-export", True), ("graceful-shutdown", True), ("blackhole", False), ("65535:666", False)),
        *(("accept-own", False), ("llgr-stale", False), ("65535:12345", False)),
    ],
)
def test_tag_may_set_any_community_but_those_that_routers_obey_by_themselves(text: str, allowed: bool) -> None:
    for source in (Source.CONSUL, Source.HTTP):
        found = judge(app(source=source, communities=notation.communities(text)), Policy())
        assert (found is None) is allowed
        assert found is None or found.reason is Reason.COMMUNITY_NOT_ALLOWED
    assert judge(app(source=Source.CONFIG, communities=notation.communities(text)), Policy()) is None


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("64512:*", ["64512:0", "64512:65535"], ["64513:1", "64512:1:1", "target:64512:1"]),
        ("64512:100-199", ["64512:100", "64512:199"], ["64512:99", "64512:200"]),
        ("64512-64515:1", ["64512:1", "64515:1"], ["64516:1", "64511:1"]),
        ("no-export", ["65535:65281"], ["65535:65282"]),
        ("65535:*", ["blackhole"], ["64512:1"]),
        ("4200000001:*:7", ["4200000001:9:7"], ["4200000001:9:8", "1:9:7", "64512:7"]),
        ("*:*:*", ["1:2:3", "65535:666:1"], ["1:2"]),
        ("target:64512:*", ["target:64512:1"], ["origin:64512:1", "target:64513:1", "target:198.51.100.1:1"]),
        ("rt:198.51.100.1:*", ["target:198.51.100.1:1"], ["target:198.51.100.2:1", "target:64512:1"]),
        ("target:*:1-9", ["target:198.51.100.1:9", "target:1:1"], ["target:1:10"]),
    ],
)
def test_patterns_of_communities(pattern: str, allowed: list[str], refused: list[str]) -> None:
    found = patterns.community(pattern)
    assert all(found.allows(notation.community(text)) for text in allowed)
    assert not any(found.allows(notation.community(text)) for text in refused)


@pytest.mark.parametrize(
    "bad", ["", "x", "1", "1:70000", "2-1:1", "1:2:3:4", "target:1", "target:x:1", "1:-", "\u0661:1", "target:1:2:3"]
)
def test_pattern_that_is_none_is_refused(bad: str) -> None:
    with pytest.raises(notation.BadValue, match="is not a pattern of communities"):
        patterns.community(bad)


def test_rule_for_communities_is_named() -> None:
    under = policy({"communities": read(patterns.community, "64512:*")})
    assert judge(app(communities=notation.communities("64512:1")), under) is None
    assert refusal(app(communities=notation.communities("64512:1,no-export")), under) == (
        "community-not-allowed",
        "community 65535:65281 is not in policy.consul.communities (64512:*)",
    )


def test_communities_of_one_app_are_bounded() -> None:
    many = tuple(notation.community(f"1:{number}") for number in range(MOST_COMMUNITIES + 1))
    assert refusal(app(communities=many), Policy())[0] == "community-not-allowed"
    assert judge(app(communities=many[1:]), Policy()) is None
    assert judge(app(source=Source.CONFIG, communities=many), Policy()) is None


@pytest.mark.parametrize("source", Source)
def test_nat_to_the_hosts_own_ssh_and_bgp_is_the_files_alone(source: Source) -> None:
    for port in (22, 179):
        found = judge(app(source=source, nats=(NatRule("tcp", 2222, port),)), Policy(nat=frozenset({4})))
        assert (found is None) is (source is Source.CONFIG)
        if found is not None:
            assert found.reason is Reason.NAT_NOT_ALLOWED
            assert f"port {port} is not in policy.{source}.nat_dest (1-21, 23-178, 180-65535)" in found.detail


def test_nat_ports_are_the_files_to_say() -> None:
    under = policy({"nat_listen": read(patterns.ports, 53, "80-90"), "nat_dest": read(patterns.ports, "8000-8999")})
    assert judge(app(nats=(NatRule("udp", 53, 8053), NatRule("tcp", 90, 8000))), under) is None
    assert (
        "port 54 is not in policy.consul.nat_listen (53, 80-90)"
        in refusal(app(nats=(NatRule("udp", 54, 8053),)), under)[1]
    )
    assert "port 9000 is not in policy.consul.nat_dest" in refusal(app(nats=(NatRule("udp", 53, 9000),)), under)[1]
    assert refusal(app(nats=(NatRule("udp", 53, 53),)), policy({"nat_dest": ()}))[1].endswith("nat_dest (empty)")


def test_nat_that_cannot_be_done_here_refuses_rather_than_announces_without() -> None:
    asked = app(nats=(NatRule("tcp", 1, 2),))
    assert refusal(asked, Policy())[0] == "nat-unsupported"
    assert refusal(asked, Policy(nat=frozenset({6})))[0] == "nat-unsupported"
    assert judge(asked, Policy(nat=frozenset({4}))) is None
