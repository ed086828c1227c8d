"""Which NAT rules should stand, as a property."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.model import Intent, Reason, Route, Translation
from consulcast.nat_rules import rules_now

VIPS = [notation.vip(text) for text in ("203.0.113.10/32", "203.0.113.11/32", "10.0.0.0/24")]


def rule(number: int, port: int, to_port: int) -> Translation:
    return Translation(VIPS[number].local, "udp", port, ipaddress.ip_address("198.51.100.1"), to_port)


numbers = st.integers(0, 2)
some = st.lists(
    st.builds(rule, numbers, st.integers(1, 2), st.integers(1, 2)), max_size=6, unique_by=lambda item: item.key
)


@st.composite
def intents(draw: st.DrawFn) -> list[Intent]:
    wanted = draw(some)
    made = []
    for number in draw(st.sets(numbers)):
        vip = VIPS[number]
        address = draw(st.booleans())
        announce = address and draw(st.booleans())
        nats = tuple(item for item in wanted if item.vip == vip.local)
        made.append(Intent(vip, Route(vip.prefix), address, announce, Reason.ANNOUNCED, nats=nats))
    return made


@given(intents(), st.sets(numbers), some, st.booleans(), st.sets(numbers))
def test_one_rule_per_key_and_none_before_its_address_and_settled_at_once(
    wanted: list[Intent], there: set[int], known: list[Translation], complete: bool, drained: set[int]
) -> None:
    present = {VIPS[number].local for number in there}
    kept = {intent.vip.local for intent in wanted if intent.address}
    due = ({VIPS[number].local for number in drained} - kept) if complete else set()
    decided = kept if complete else set()
    now = rules_now(wanted, present, known, decided, due)
    up = {item for i in wanted if i.announce for item in i.nats}
    assert len({item.key for item in now}) == len(now)
    assert {item for item in up if item.vip in present} <= now
    assert all(item in known or item.vip in present for item in now)
    assert not any(item.vip in due for item in now)
    if complete:
        asked = {item for i in wanted if i.address for item in i.nats}
        assert all(item in asked or item.vip not in kept for item in now)
    assert rules_now(wanted, present, now, decided, due) == now
