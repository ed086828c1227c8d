"""The script that nft gets, and what is made of nft's listing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consulcast.executor.nat import nft, rules
from consulcast.model import Translation
from tests.executor.nat.translations import tables

TEXTS = (
    "203.0.113.10/32 udp 53 198.51.100.1 8053",
    "203.0.113.10/32 tcp 53 198.51.100.1 8053",
    "198.18.0.0/16 udp 53 198.51.100.1 9053",
    "198.18.7.0/24 udp 53 198.51.100.1 8053",
    "2001:db8:53::10/128 udp 53 2001:db8::1 8053",
    "2001:db8:7::/64 tcp 853 2001:db8::1 8053",
)

GOLDEN = """\
add table inet consulcast
delete table inet consulcast
table inet consulcast {
  map dnat4 {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    elements = {
      203.0.113.10 . tcp . 53 : 198.51.100.1 . 8053,
      203.0.113.10 . udp . 53 : 198.51.100.1 . 8053
    }
  }
  map dnat6 {
    type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
    elements = {
      2001:db8:53::10 . udp . 53 : 2001:db8::1 . 8053
    }
  }
  chain dispatch {
    dnat ip to ip daddr . meta l4proto . th dport map @dnat4 comment "dnat4"
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @dnat6 comment "dnat6"
    ip6 daddr 2001:db8:7::/64 tcp dport 853 dnat ip6 to [2001:db8::1]:8053 comment "2001:db8:7::/64 tcp 853 2001:db8::1 8053"
    ip daddr 198.18.7.0/24 udp dport 53 dnat ip to 198.51.100.1:8053 comment "198.18.7.0/24 udp 53 198.51.100.1 8053"
    ip daddr 198.18.0.0/16 udp dport 53 dnat ip to 198.51.100.1:9053 comment "198.18.0.0/16 udp 53 198.51.100.1 9053"
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump dispatch comment "prerouting"
  }
  chain output {
    type nat hook output priority -100; policy accept;
    jump dispatch comment "output"
  }
}
"""  # noqa: E501

EMPTY = """\
add table inet consulcast
delete table inet consulcast
table inet consulcast {
  map dnat4 {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
  }
  map dnat6 {
    type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
  }
  chain dispatch {
    dnat ip to ip daddr . meta l4proto . th dport map @dnat4 comment "dnat4"
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @dnat6 comment "dnat6"
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump dispatch comment "prerouting"
  }
  chain output {
    type nat hook output priority -100; policy accept;
    jump dispatch comment "output"
  }
}
"""


def listing(translations: frozenset[Translation]) -> list[dict[str, Any]]:
    """What ``nft -j list table`` (1.0.6) prints of a table made by ``render``, without what is not looked at."""
    ordered = rules.in_order(translations)
    hosts = [item for item in ordered if item.vip.network.prefixlen == item.vip.max_prefixlen]
    items: list[dict[str, Any]] = [{"metainfo": {"version": "1.0.6"}}, {"table": {"name": "consulcast"}}]
    for version in (4, 6):
        elements = [
            [{"concat": [str(item.vip.ip), item.protocol, item.port]}, {"concat": [str(item.to), item.to_port]}]
            for item in hosts
            if item.vip.version == version
        ]
        items.append({"map": {"name": f"dnat{version}", **({"elem": elements} if elements else {})}})
    items.append({"chain": {"name": "dispatch", "handle": 1}})
    for hook in ("prerouting", "output"):
        items.append({"chain": {"name": hook, "type": "nat", "hook": hook, "prio": -100, "policy": "accept"}})
    comments = [("dispatch", "dnat4"), ("dispatch", "dnat6")]
    comments += [("dispatch", rules.written(item)) for item in ordered if item not in hosts]
    comments += [("prerouting", "prerouting"), ("output", "output")]
    items += [{"rule": {"chain": chain, "comment": comment, "expr": []}} for chain, comment in comments]
    return items


def parse(items: list[dict[str, Any]]) -> frozenset[Translation] | None:
    return nft.parse(json.dumps({"nftables": items}))


def test_script_as_nft_gets_it() -> None:
    assert nft.render(map(rules.read, TEXTS)) == GOLDEN


def test_script_of_the_empty_table_keeps_its_chains() -> None:
    assert nft.render(()) == EMPTY


@given(tables)
def test_order_and_repetition_make_no_difference(table: frozenset[Translation]) -> None:
    assert nft.render([*table, *reversed([*table])]) == nft.render(table)


@given(tables)
def test_listing_of_a_table_is_read_as_what_was_rendered(table: frozenset[Translation]) -> None:
    assert parse(listing(table)) == table


@pytest.mark.parametrize("gone", [2, 3, 4, 5, 6, 7, 8, 12, 13])
def test_table_that_lacks_a_map_or_a_chain_or_what_leads_there_is_not_taken_for_ours(gone: int) -> None:
    items = listing(frozenset(map(rules.read, TEXTS)))
    del items[gone]
    assert parse(items) is None


def test_table_with_a_rule_of_somebody_else_is_not_taken_for_ours() -> None:
    items = listing(frozenset())
    assert parse([*items, {"rule": {"chain": "dispatch", "expr": []}}]) is None
    assert parse([*items, {"chain": {"name": "mine"}}]) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": [{"map": {}}]}', '{"nftables": 1}'])
def test_listing_that_cannot_be_read_is_not_taken_for_ours(text: str) -> None:
    assert nft.parse(text) is None


class Kernel:
    """Refuses what it is told to, and whatever comes with it."""

    def __init__(self, bad: Iterable[Translation]) -> None:
        self.bad = frozenset(bad)
        self.questions = 0

    def objection(self, wanted: Iterable[Translation]) -> str:
        self.questions += 1
        return "not this one" if self.bad & set(wanted) else ""


@settings(deadline=None)
@given(tables, st.data())
def test_what_the_kernel_refuses_is_found_and_takes_nothing_else_with_it(
    wanted: frozenset[Translation], data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.sampled_from(rules.in_order(wanted)), max_size=2)) if wanted else set()
    kernel = Kernel(bad)
    failures = nft.refused(wanted, kernel.objection)
    assert failures == dict.fromkeys(bad, "not this one")


def test_family_that_the_kernel_does_not_have_costs_few_questions() -> None:
    four = [rules.read(f"203.0.113.10/32 udp {port} 198.51.100.1 53") for port in range(1, 1001)]
    six = [rules.read(f"2001:db8::10/128 udp {port} 2001:db8::1 53") for port in range(1, 1001)]
    kernel = Kernel(six)
    failures = nft.refused([*four, *six], kernel.objection)
    assert failures.keys() == set(six)
    assert kernel.questions <= 33
