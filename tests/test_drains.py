"""What a drain is about, and how it is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import drain_file, notation
from consulcast.drains import (
    MAX_REASON,
    Drain,
    Kind,
    Method,
    Settings,
    Target,
    check_reason,
    find,
    lifetime,
    lowered,
    not_drained,
    unknown,
)
from consulcast.model import App, AppKey, Route, Source
from consulcast.notation import BadValue

VIP, NET = "203.0.113.10/32", "198.18.0.5/24"
DNS = App(AppKey(Source.CONSUL, "dns-1"), "dns", (notation.vip(VIP),))
WEB = App(AppKey(Source.HTTP, "web"), "web", (notation.vip(NET), notation.vip("2001:db8::10/128")))
APPS = (DNS, WEB)
ROUTE = Route(ipaddress.ip_network(VIP), notation.communities("65000:1"))


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("node", Kind.NODE, "node"),
        ("consul:dns-1", Kind.APP, "consul:dns-1"),
        ("dns", Kind.APP, "dns"),
        ("consul:node", Kind.APP, "consul:node"),
        ("a/b", Kind.APP, "a/b"),
        (VIP, Kind.VIP, VIP),
        ("2001:DB8:0::10/128", Kind.VIP, "2001:db8::10/128"),
        ("203.0.113.10", Kind.VIP, VIP),
        ("2001:db8::10", Kind.VIP, "2001:db8::10/128"),
    ],
)
def test_targets_are_read_in_one_form(text: str, kind: Kind, name: str) -> None:
    assert Target.read(text) == Target(kind, name)


@pytest.mark.parametrize("text", ["", "a\nb", "a\x1b[2J", "\ud800", "x" * 301, "\u202eabc"])
def test_target_that_cannot_be_shown_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="printable"):
        Target.read(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("node", "node"),
        ("consul:dns-1", "consul:dns-1"),
        ("dns-1", "dns-1"),
        ("dns", "dns"),
        ("dns-2", None),
        ("config:dns-1", None),
        (VIP, VIP),
        ("203.0.113.11", None),
        ("198.18.0.5", NET),
        ("198.18.0.5/32", None),
        ("2001:db8::10", "2001:db8::10/128"),
    ],
)
def test_target_is_looked_up_among_what_there_is(text: str, found: str | None) -> None:
    target = find(text, APPS)
    assert (target.name if target else None) == found


def test_what_is_drained_is_found_when_it_is_there_no_more() -> None:
    drains = [Drain(Target.read("gone"), 0.0), Drain(Target.read(NET), 0.0)]
    assert find("gone", (), drains) == Target(Kind.APP, "gone")
    assert find("198.18.0.5", (), drains) == Target(Kind.VIP, NET)
    assert find("other", (), drains) is None


def test_app_target_covers_every_instance_and_a_vip_target_no_app() -> None:
    assert Target.read("dns").covers(DNS)
    assert Target.read("node").covers(WEB)
    assert not Target.read("http:dns-1").covers(DNS)
    assert not Target.read(VIP).covers(DNS)


def test_unknown_target_is_told_what_there_is_and_what_is_near() -> None:
    text = unknown("consul:dsn-1", APPS)
    assert "did you mean consul:dns-1" in text
    assert "apps consul:dns-1, http:web; services dns, web; VIPs 203.0.113.10/32" in text
    assert "there is node" in unknown("x", ())
    many = [App(AppKey(Source.HTTP, f"a{n}"), "a", ()) for n in range(50)]
    assert "and 40 more" in unknown("x", many)
    assert "nothing is" in not_drained("x", ())
    assert "drained are node" in not_drained("x", [Drain(Target.read("node"), 0.0)])


def test_why_names_who_why_and_until_when() -> None:
    drain = Drain(Target.read("node"), 0.0, 1.0, "2030-01-01T00:00:00Z", "upgrade", "deploy")
    assert drain.why == "node drained by deploy until 2030-01-01T00:00:00Z: upgrade"
    assert Drain(Target.read("dns"), 0.0).why == "drained"


def test_reason_is_bounded_and_printable() -> None:
    assert check_reason("  kernel upgrade ") == "kernel upgrade"
    for text in ("a\nb", "\x1b[1m", "x" * (MAX_REASON + 1), "a\u2028b"):
        with pytest.raises(BadValue, match="control character"):
            check_reason(text)


def test_lifetime_is_a_duration_within_bounds() -> None:
    assert (lifetime(""), lifetime("30m")) == (None, 1800.0)
    for text in ("0s", "500ms", "9000h", "soon", "-1s"):
        with pytest.raises(BadValue):
            lifetime(text)


def test_each_method_makes_a_route_less_preferred_and_keeps_its_communities() -> None:
    shut = lowered(ROUTE, Settings())
    assert ([str(item) for item in shut.communities], shut.local_preference) == (["65000:1", "65535:0"], 0)
    assert lowered(ROUTE, Settings(Method.MED, med=7)) == Route(ROUTE.prefix, ROUTE.communities, med=7)
    longer = lowered(ROUTE, Settings(Method.PREPEND, prepend=2))
    assert (longer.prepend, longer.local_preference, longer.communities) == (2, 0, ROUTE.communities)
    assert lowered(ROUTE, Settings(Method.NONE)) == ROUTE
    assert Settings(Method.NONE, wait=9.0).lowers == 0.0
    assert [Settings(method).how for method in Method] == [
        "graceful-shutdown",
        "MED 4294967295",
        "our AS 3 times more",
        "none",
    ]


DRAINS = st.builds(
    Drain,
    st.sampled_from([Target.read(text) for text in ("node", "dns", "consul:dns-1", VIP, "2001:db8::1/128")]),
    st.integers(0, 1000).map(float),
    st.none() | st.integers(1001, 9999).map(float),
    reason=st.text("abc ÄÖ日", max_size=9).map(str.strip),
    who=st.sampled_from(["deploy", "this host"]),
)


@given(st.lists(DRAINS, unique_by=lambda drain: drain.target))
def test_drains_are_read_as_they_were_written(drains: list[Drain]) -> None:
    data = drain_file.encode(tuple(drains), 1.7e9)
    found = drain_file.decode(data, 1.7e9, 1000.0)
    assert [(item.target, item.since, item.until, item.reason, item.who) for item in found] == [
        (item.target, item.since, item.until, item.reason, item.who) for item in drains
    ]
    assert all(bool(item.ends) == (item.until is not None) for item in found)


def test_clock_that_was_set_back_makes_no_drain_longer_and_none_of_the_future() -> None:
    data = drain_file.encode((Drain(Target.read("node"), 100.0, 160.0),), 5000.0)
    (found,) = drain_file.decode(data, 1000.0, 200.0)  # the wall clock: 1200, and it was 5100
    assert (found.since, found.until) == (200.0, 260.0)


def test_times_out_of_every_calendar_are_read_all_the_same() -> None:
    data = b'{"version":1,"drains":[{"target":"node","since":1e300,"until":-1e308}]}'
    (found,) = drain_file.decode(data, 1e9, 5.0)
    assert (found.since, found.ends) == (5.0, "1970-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100000,
        b'{"version":2,"drains":[]}',
        b'{"version":1,"drains":[{"target":"","since":1}]}',
        b'{"version":1,"drains":[{"target":"node","since":1,"reason":"a\\nb"}]}',
        b'{"version":1,"drains":[{"target":"node","since":1,"who":"a\\u001b"}]}',
        b'{"version":1,"drains":[{"target":"node"}]}',
        b'{"version":1,"drains":[],"more":1}',
    ],
)
def test_what_is_no_file_of_ours_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's own words
        drain_file.decode(data, 0.0, 0.0)
