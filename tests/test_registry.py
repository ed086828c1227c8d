"""What is taken, what is refused, and who keeps a VIP."""

from __future__ import annotations

import ipaddress

import pytest

from consulcast import notation
from consulcast.model import App, AppKey, MonitorSpec, NatRule, Reason, Refused, Source
from consulcast.policy import Policy, judge
from consulcast.registry import Registry


def app(id: str, *vips: str, source: Source = Source.CONSUL, name: str = "") -> App:
    return App(AppKey(source, id), name or id, tuple(notation.vip(vip) for vip in vips))


def natted(id: str, vip: str, *rules: NatRule) -> App:
    return App(AppKey(Source.CONSUL, id), id, (notation.vip(vip),), nats=rules)


def unreadable(id: str) -> Refused:
    return Refused(AppKey(Source.CONSUL, id), id, Reason.BAD_TAG, "tag 'x': no")


def ids(apps: tuple[App, ...]) -> list[str]:
    return [item.key.id for item in apps]


@pytest.mark.parametrize(
    "vip",
    [
        *("0.0.0.0/0", "::/0", "0.0.0.0/32", "255.255.255.255/32", "127.0.0.1/32", "::1/128", "126.0.0.0/7"),
        *("224.0.0.9/32", "ff02::1/128", "169.254.1.1/32", "fe80::1/128", "::ffff:203.0.113.1/128"),
        *("198.51.100.1/32", "198.51.100.0/24", "32.0.0.0/3", "2000::/3"),
    ],
)
def test_vip_that_nobody_may_have_is_refused(vip: str) -> None:
    policy = Policy(reserved=frozenset({ipaddress.ip_address("198.51.100.1")}))
    objection = judge(app("a", vip), policy)
    assert objection is not None
    assert objection.reason is Reason.VIP_NOT_ALLOWED


def test_ordinary_vips_are_allowed() -> None:
    assert judge(app("a", "203.0.113.10/32", "2001:db8::10/128", "10.0.0.0/24"), Policy()) is None


def test_nat_that_cannot_be_done_here_refuses_rather_than_announces_without() -> None:
    base = app("a", "203.0.113.10/32")
    natted = App(base.key, "a", base.vips, nats=(NatRule("tcp", 1, 2),))
    assert getattr(judge(natted, Policy()), "reason", None) is Reason.NAT_UNSUPPORTED
    assert getattr(judge(natted, Policy(nat=frozenset({6}))), "reason", None) is Reason.NAT_UNSUPPORTED
    assert judge(natted, Policy(nat=frozenset({4}))) is None


def test_monitor_consul_needs_consul() -> None:
    key = AppKey(Source.CONFIG, "a")
    asked = App(key, "a", (notation.vip("203.0.113.10/32"),), (MonitorSpec("consul"),))
    assert getattr(judge(asked, Policy(consul=False)), "reason", None) is Reason.MONITOR_UNSUPPORTED
    assert judge(asked, Policy()) is None


@pytest.mark.parametrize("source", Source)
def test_commands_are_run_for_the_file_and_for_whom_the_file_says(source: Source) -> None:
    asked = App(AppKey(source, "a"), "a", (notation.vip("203.0.113.10/32"),), (MonitorSpec("exec", "true"),))
    refused = judge(asked, Policy())
    if source is Source.CONFIG:
        assert refused is None
    else:
        assert refused is not None
        assert refused.reason is Reason.MONITOR_NOT_ALLOWED
        assert f"set policy.{source}.exec: allow" in refused.detail
    assert judge(asked, Policy(exec_from=frozenset({source}))) is None


def test_one_refused_app_leaves_all_others_alone() -> None:
    registered = Registry(Policy()).set(Source.CONSUL, [app("a", "127.0.0.1/32"), app("b", "203.0.113.10/32")])
    assert ids(registered.apps) == ["b"]
    assert [item.key.id for item in registered.refused] == ["a"]


def test_services_may_share_a_vip() -> None:
    registered = Registry(Policy()).set(Source.CONSUL, [app("a", "203.0.113.10/32"), app("b", "203.0.113.10/32")])
    assert ids(registered.apps) == ["a", "b"]


def test_older_registration_keeps_a_prefix_from_another_address_in_it() -> None:
    registry = Registry(Policy())
    registry.set(Source.CONSUL, [app("z", "10.0.0.5/24")])
    registered = registry.set(Source.CONFIG, [app("a", "10.0.0.6/24", source=Source.CONFIG)])
    assert ids(registered.apps) == ["z"]
    assert registered.refused[0].reason is Reason.VIP_CONFLICT
    assert "consul:z" in registered.refused[0].detail
    assert ids(registry.set(Source.CONSUL, []).apps) == ["a"]


def test_app_that_moves_to_a_prefix_does_not_take_it_from_the_one_who_has_it() -> None:
    registry = Registry(Policy())
    registry.set(Source.CONSUL, [app("old", "10.1.0.5/24"), app("young", "10.0.0.6/24")])
    registered = registry.set(Source.CONSUL, [app("old", "10.0.0.5/24"), app("young", "10.0.0.6/24")])
    assert ids(registered.apps) == ["young"]
    assert registered.refused[0].key.id == "old"


def test_one_app_cannot_ask_for_two_addresses_of_one_prefix() -> None:
    registered = Registry(Policy()).set(Source.CONSUL, [app("a", "10.0.0.5/24", "10.0.0.6/24")])
    assert registered.refused[0].reason is Reason.VIP_CONFLICT


def test_what_a_source_could_not_read_is_listed_and_touches_nothing() -> None:
    registry = Registry(Policy())
    registered = registry.set(Source.CONSUL, [app("b", "203.0.113.11/32")], [unreadable("a")])
    assert ids(registered.apps) == ["b"]
    assert [item.key.id for item in registered.refused] == ["a"]
    assert registry.set(Source.CONSUL, [app("b", "203.0.113.11/32")]).refused == ()


def test_sources_do_not_touch_each_others_apps() -> None:
    registry = Registry(Policy())
    registry.set(Source.CONFIG, [app("a", "203.0.113.10/32", source=Source.CONFIG)])
    registry.set(Source.CONSUL, [app("a", "203.0.113.11/32")])
    assert len(registry.set(Source.CONSUL, []).apps) == 1


def test_apps_that_share_a_vip_may_add_nat_rules_and_the_older_keeps_a_port() -> None:
    registry = Registry(Policy(nat=frozenset({4})))
    udp, tcp, other = NatRule("udp", 53, 8053), NatRule("tcp", 53, 8053), NatRule("udp", 53, 9053)
    first = natted("z", "10.0.0.5/32", udp)
    registry.set(Source.CONSUL, [first])
    assert ids(registry.set(Source.CONSUL, [first, natted("a", "10.0.0.5/32", udp, tcp)]).apps) == ["z", "a"]
    registered = registry.set(Source.CONSUL, [first, natted("a", "10.0.0.5/24", other)])
    assert ids(registered.apps) == ["z"]
    assert registered.refused[0].reason is Reason.VIP_CONFLICT
    assert "consul:z" in registered.refused[0].detail
    assert ids(registry.set(Source.CONSUL, [natted("a", "10.0.0.5/24", other)]).apps) == ["a"]


def test_one_app_cannot_send_one_port_to_two() -> None:
    app_ = natted("a", "10.0.0.5/32", NatRule("udp", 53, 8053), NatRule("udp", 53, 9053))
    registered = Registry(Policy(nat=frozenset({4}))).set(Source.CONSUL, [app_])
    assert registered.refused[0].reason is Reason.VIP_CONFLICT
