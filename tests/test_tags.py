"""A service's tags as an app, or the reason why not."""

from __future__ import annotations

import pytest

from consulcast import tags
from consulcast.model import App, AppKey, MonitorSpec, NatRule, Reason, Refused, Source

KEY = AppKey(Source.CONSUL, "dns-1")


def app(*service_tags: str, prefix: str = "gocast") -> App:
    found = tags.parse(KEY, "dns", service_tags, prefix)
    assert isinstance(found, App), found
    return found


def refused(*service_tags: str) -> Refused:
    found = tags.parse(KEY, "dns", service_tags)
    assert isinstance(found, Refused), found
    return found


def test_without_enable_tag_nothing_else_is_looked_at() -> None:
    assert tags.parse(KEY, "dns", ["gocast_vip=nonsense", "gocast_monitor=x"]) is None


def test_every_tag_of_gocast_is_read() -> None:
    found = app(
        "primary",
        "enable_gocast",
        "gocast_vip=203.0.113.10/32",
        "gocast_monitor=port:tcp:53",
        "gocast_monitor=consul",
        "gocast_nat=udp:53:8053",
        "gocast_vip_communities=65000:2,65000:1",
    )
    assert (found.key, found.name) == (KEY, "dns")
    assert [str(vip) for vip in found.vips] == ["203.0.113.10/32"]
    assert found.monitors == (MonitorSpec("port", "tcp:53"), MonitorSpec("consul"))
    assert found.nats == (NatRule("udp", 53, 8053),)
    assert [str(item) for item in found.communities] == ["65000:1", "65000:2"]


def test_several_vips_of_both_families() -> None:
    found = app("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_vip=2001:db8::10/128")
    assert [vip.interface.version for vip in found.vips] == [4, 6]


def test_value_may_hold_equals_signs_and_colons() -> None:
    found = app("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=exec:test 1 = 0; /x --a=b:c")
    assert found.monitors == (MonitorSpec("exec", "test 1 = 0; /x --a=b:c"),)


def test_order_and_repetition_of_tags_make_no_other_app() -> None:
    one = app("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_vip_communities=65000:1,65000:2")
    two = app(
        "gocast_vip_communities=65000:2",
        "gocast_vip_communities=65000:1,65000:1",
        "gocast_vip=203.0.113.10/32",
        "gocast_vip=203.0.113.10/32",
        "enable_gocast",
    )
    assert one == two


def test_tags_that_look_like_ours_and_are_none_are_kept_for_a_warning() -> None:
    found = app("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitors=consul", "gocast-vip=x", "other=1")
    assert found.ignored == ("gocast-vip=x", "gocast_monitors=consul")
    assert found.monitors == ()


def test_tag_prefix_is_a_setting() -> None:
    assert app("enable_edge", "edge_vip=203.0.113.10/32", "gocast_vip=x", prefix="edge").vips
    assert tags.parse(KEY, "dns", ["enable_gocast", "gocast_vip=203.0.113.10/32"], "edge") is None


@pytest.mark.parametrize(
    "bad",
    [
        "gocast_vip=203.0.113.300/32",
        "gocast_vip=",
        "gocast_vip",
        "gocast_monitor=prot:tcp:53",
        "gocast_monitor=",
        "gocast_nat=udp:70000",
        "gocast_vip_communities=",
        "gocast_vip_communities=65000",
        "gocast_vip_communities=asn:nnnn",
        "gocast_vip_communities=70000:1",
        "gocast_vip_communities=1:2:3:4",
        "gocast_vip_communities=65000:1,",
    ],
)
def test_tag_that_cannot_be_read_refuses_the_app_and_is_named(bad: str) -> None:
    found = refused("enable_gocast", "gocast_vip=203.0.113.10/32", bad)
    assert found.reason is Reason.BAD_TAG
    assert bad in found.detail


def test_missing_vip_says_what_to_write() -> None:
    found = refused("enable_gocast")
    assert "write gocast_vip=address/length" in found.detail


@pytest.mark.parametrize("field", ["vip", "monitor", "nat", "vip_communities"])
def test_megabyte_in_a_tag_is_refused_in_few_words(field: str) -> None:
    found = refused("enable_gocast", "gocast_vip=203.0.113.10/32", f"gocast_{field}={'9' * (1 << 20)}")
    assert found.reason is Reason.BAD_TAG
    assert "at most 8256 are taken" in found.detail
    assert len(found.detail) < 1000
    found = refused("enable_gocast", "gocast_vip=203.0.113.10/32", f"gocast_{field}={'x' * 8000}")
    assert len(found.detail) < 1000


@pytest.mark.parametrize("tag", ["vip=203.0.113.1{}/32", "monitor=port:tcp:1{}", "nat=tcp:1{}", "vip_communities=1:{}"])
def test_ten_thousand_tags_are_refused_and_named(tag: str) -> None:
    many = [f"gocast_{tag.format(number)}" for number in range(10_000)]
    assert "more than 64 tags" in refused("enable_gocast", "gocast_vip=203.0.113.10/32", *many).detail


def test_ten_thousand_unknown_tags_are_eight_in_the_log() -> None:
    found = app("enable_gocast", "gocast_vip=203.0.113.10/32", *(f"gocast_{n:0500}" for n in range(10_000)))
    assert len(found.ignored) == 8
    assert max(map(len, found.ignored)) == 200


def test_service_with_a_name_of_ten_thousand_characters_is_refused_by_a_short_one() -> None:
    for id, name in (("x" * 10_000, "dns"), ("dns", "x" * 10_000)):
        service_tags = ["enable_gocast", "gocast_vip=203.0.113.10/32"]
        found = tags.parse(AppKey(Source.CONSUL, id), name, service_tags)
        assert isinstance(found, Refused)
        assert found.reason is Reason.BAD_TAG
        assert max(len(found.key.id), len(found.name)) <= 200
