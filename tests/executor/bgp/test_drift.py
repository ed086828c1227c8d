from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

import pytest

from consulcast.executor.bgp import commands
from consulcast.executor.bgp.drift import PART, Question, Sweep, part_of
from consulcast.executor.bgp.ledger import Key, Ledger
from consulcast.model import Prefix
from tests.executor.bgp.exabgp import Fake
from tests.executor.bgp.test_ledger import answer_all
from tests.executor.bgp.values import by_prefix, peer, route

PEER = peer()
ONE, TWO, FOREIGN = (ip_network(f"203.0.113.{n}/32") for n in (1, 2, 9))


def line(prefix: Prefix, *communities: str) -> str:
    made = commands.announce(PEER, route(str(prefix), *communities))
    assert made is not None
    return made.removeprefix(f"neighbor {PEER.address} ")


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger([PEER])
    made.set(by_prefix([route(str(ONE)), route(str(TWO))]))
    answer_all(made, Fake(PEER))
    return made


def look(ledger: Ledger, found: dict[Prefix, str]) -> Sweep:
    """Make one look, and have said again what was found."""
    sweep = Sweep.of(ledger.all_told(), [PEER.address])
    question = sweep.next()
    assert question == Question(PEER.address, 0, 1)
    ledger.say_again(list(sweep.compare(question, found, ledger.told, ledger.unsure)))
    assert sweep.next() is None
    return sweep


def test_what_is_as_acknowledged_is_no_drift(ledger: Ledger) -> None:
    assert look(ledger, {ONE: line(ONE), TWO: line(TWO)}).count == 0
    assert ledger.take(0) == []


def test_missing_foreign_and_changed_routes_are_said_as_they_should_be(ledger: Ledger) -> None:
    sweep = look(ledger, {TWO: line(TWO, "65000:1"), FOREIGN: line(FOREIGN)})
    assert sweep.count == 3
    assert sweep.text() == (
        "ExaBGP's table: 203.0.113.1/32 at 198.51.100.2 missing; "
        "203.0.113.9/32 at 198.51.100.2 unknown to us; 203.0.113.2/32 at 198.51.100.2 changed"
    )
    assert sorted(ledger.take(0)) == sorted(
        commands.to(PEER.address, said) for said in (line(ONE), line(TWO), f"withdraw route {FOREIGN}")
    )


def test_what_is_under_way_is_not_looked_at(ledger: Ledger) -> None:
    ledger.set(by_prefix([route(str(TWO), "65000:2"), route(str(FOREIGN))]))
    assert len(ledger.take(0)) == 3
    assert look(ledger, {ONE: line(ONE), TWO: line(TWO)}).count == 0
    assert look(ledger, {TWO: line(TWO, "65000:2"), FOREIGN: line(FOREIGN)}).count == 0


def test_what_waits_to_be_said_is_not_looked_at(ledger: Ledger) -> None:
    ledger.set(by_prefix([route(str(TWO), "65000:2"), route(str(FOREIGN))]))
    assert look(ledger, {ONE: line(ONE), TWO: line(TWO)}).count == 0


def test_what_was_withdrawn_after_the_look_began_is_not_missing(ledger: Ledger) -> None:
    sweep = Sweep.of(list(ledger.all_told()), [PEER.address])
    question = sweep.next()
    assert question is not None
    ledger.set(by_prefix([route(str(TWO))]))
    answer_all(ledger, Fake(PEER))
    assert list(sweep.compare(question, {TWO: line(TWO)}, ledger.told, ledger.unsure)) == []


def test_a_large_table_is_looked_at_in_parts_that_are_disjoint_and_hold_all() -> None:
    keys = [Key(PEER.address, ip_network(f"198.18.{n // 250}.{n % 250}/32")) for n in range(10 * PART)]
    sweep = Sweep.of(keys, [PEER.address, ip_address("2001:db8::2")])
    parts = {}
    while question := sweep.next():
        parts[question] = sweep.expected[question]
    assert Question(ip_address("2001:db8::2"), 0, 1) in parts, "it may know what it was never told"
    assert Counter(key for part in parts.values() for key in part) == Counter(keys)
    assert max(map(len, parts.values())) < 2 * PART
    for question, part in parts.items():
        assert {part_of(key.prefix, question.parts) for key in part} <= {question.part}


def test_many_routes_make_one_line_of_a_readable_length() -> None:
    keys = [Key(PEER.address, ip_network(f"198.18.0.{n}/32")) for n in range(20)]
    sweep = Sweep([], {}, missing=keys)
    assert sweep.text().endswith("198.18.0.2/32 at 198.51.100.2 and 17 more missing")
