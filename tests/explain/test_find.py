"""What is meant by a target."""

from __future__ import annotations

import pytest

from consulcast.explain.facts import Facts
from consulcast.explain.find import MOST, find, nearest
from consulcast.model import AppKey, Reason, Refused, Source
from tests.explain.world import DNS, facts, failing, shown

NET = ("enable_gocast", "gocast_vip=198.18.0.0/24")


def known() -> Facts:
    return facts(
        shown("dns", *DNS, id="dns-1"),
        shown("dns", *DNS, id="dns-2"),
        shown("net", *NET),
        shown("six", "enable_gocast", "gocast_vip=2001:db8::10/128"),
        shown("off", "gocast_vip=203.0.113.77/32"),
        shown("typo", "enable_gocast", "gocast-vip=203.0.113.78/32"),
    )


@pytest.mark.parametrize(
    ("target", "vips", "apps", "services"),
    [
        ("dns", ["203.0.113.10/32"], ["consul:dns-1", "consul:dns-2"], []),
        ("dns-2", ["203.0.113.10/32"], ["consul:dns-2"], []),
        ("consul:dns-1", ["203.0.113.10/32"], ["consul:dns-1"], []),
        ("203.0.113.10/32", ["203.0.113.10/32"], ["consul:dns-1", "consul:dns-2"], []),
        ("203.0.113.10", ["203.0.113.10/32"], ["consul:dns-1", "consul:dns-2"], []),
        ("203.0.113.0/24", ["203.0.113.10/32"], ["consul:dns-1", "consul:dns-2"], []),
        ("198.18.0.0/24", ["198.18.0.0/24"], ["consul:net"], []),
        ("198.18.0.7", ["198.18.0.0/24"], ["consul:net"], []),
        ("2001:db8:0::10", ["2001:db8::10/128"], ["consul:six"], []),
        ("off", [], [], ["off"]),
        ("consul:off", [], [], ["off"]),
        ("203.0.113.77", [], [], ["off"]),
        ("typo", [], ["consul:typo"], []),
        ("203.0.113.78/32", [], ["consul:typo"], []),
        (" dns-1 ", ["203.0.113.10/32"], ["consul:dns-1"], []),
    ],
)
def test_what_is_meant(target: str, vips: list[str], apps: list[str], services: list[str]) -> None:
    found = find(target, known())
    assert found is not None
    assert [str(vip) for vip in found.vips] == vips
    assert [str(key) for key in found.apps] == apps
    assert [item.id for item in found.services] == services


@pytest.mark.parametrize(
    "target", ["", "nobody", "203.0.113.11", "203.0.113.11/32", "2001:db8::11", "consul:", "300.1.1.1"]
)
def test_what_nobody_asks_for(target: str) -> None:
    assert find(target, known()) is None


def test_a_prefix_with_many_vips_is_explained_in_part() -> None:
    many = [shown(f"s{number}", "enable_gocast", f"gocast_vip=203.0.113.{number}/32") for number in range(99)]
    found = find("203.0.113.0/24", facts(*many))
    assert found is not None
    assert len(found.vips) == MOST
    assert found.left_out == 99 - MOST


def test_of_many_vips_those_that_are_not_to_be_announced_come_first() -> None:
    many = [
        shown(f"s{number}", "enable_gocast", f"gocast_vip=203.0.113.{number}/32", "gocast_monitor=consul")
        for number in range(30)
    ]
    found = find("203.0.113.0/24", facts(*many, verdicts={"s29": failing()}))
    assert found is not None
    assert str(found.vips[0]) == "203.0.113.29/32"


def test_one_who_asks_for_everything_is_not_the_answer_to_everything() -> None:
    greedy = shown("greedy", "enable_gocast", "gocast_vip=0.0.0.0/0")
    refused = Refused(AppKey(Source.CONSUL, "greedy"), "greedy", Reason.VIP_NOT_ALLOWED, "never announced")
    typo = shown("typo", "enable_gocast", "gocast-vip=203.0.113.78/32")
    known = facts(greedy, typo, shown("net", *NET), shown("dns", *DNS), refuse=(refused,))

    def meant(target: str) -> list[str]:
        found = find(target, known)
        assert found is not None
        return [*map(str, found.vips), *map(str, found.apps)]

    assert meant("203.0.113.78") == ["consul:typo"]
    assert meant("198.18.0.7") == ["198.18.0.0/24", "consul:net"]
    assert meant("203.0.113.0/24") == ["203.0.113.10/32", "consul:dns"]
    assert find("192.0.2.1", known) is None
    assert meant("0.0.0.0/0") == ["0.0.0.0/0", "consul:greedy"]


def test_what_is_written_alike() -> None:
    assert nearest("dsn", known())[0] == "dns"
    assert "203.0.113.10/32" in nearest("203.0.113.1/32", known())
    assert not nearest("qqqq", known())
