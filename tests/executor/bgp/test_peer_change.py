from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import Any

import pytest

from consulcast.executor.bgp.peer_change import PeerChange
from tests.executor.bgp.values import peer

A, B, C = peer(), peer("198.51.100.3"), peer("198.51.100.4")
OTHER_HOP = ip_address("198.51.100.77")


def test_peers_are_known_by_their_address() -> None:
    change = PeerChange.between([A, B], [C, A])
    assert (change.added, change.removed, change.reset, change.rerouted) == ((C,), (B,), (), ())
    assert change.peers == (C, A)
    assert change.renewed == {C.address}
    assert change.of_sessions


def test_another_order_is_no_change() -> None:
    assert not PeerChange.between([A, B], [B, A]).of_sessions


def test_other_next_hops_of_the_same_families_need_no_new_session() -> None:
    moved = peer(next_hop4=OTHER_HOP)
    change = PeerChange.between([A], [moved])
    assert change.rerouted == ((A, moved),)
    assert not change.of_sessions
    assert not change.renewed


@pytest.mark.parametrize(
    "other",
    [
        {"peer_as": 65099},
        {"local_as": 65099},
        {"local_address": ip_address("198.51.100.9")},
        {"router_id": ip_address("198.51.100.9")},
        {"port": 1179},
        {"password": "s3cret"},
        {"ttl": 5},
        {"ttl_security": 1},
        {"hold_time": 9},
        {"extended_next_hop": True},
        {"next_hop6": None},
        {"next_hop4": ip_address("2001:db8::1"), "extended_next_hop": True},
    ],
    ids=lambda other: "-".join(other),
)
def test_any_other_setting_needs_a_new_session(other: dict[str, Any]) -> None:
    changed = peer(**other)
    for before, after in ((A, changed), (changed, A)):
        change = PeerChange.between([before, B], [after, B])
        assert change.reset == ((before, after),)
        assert change.renewed == {A.address}


def test_each_change_is_one_line_and_a_password_is_never_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        PeerChange.between([A, B], [peer(password="s3cret", next_hop4=OTHER_HOP), C]).log()
        PeerChange.between([A], [peer(next_hop4=OTHER_HOP)]).log()
        PeerChange.between([A], [A]).log()
    assert caplog.messages == [
        "peer 198.51.100.3 AS65010: removed",
        "peer 198.51.100.4 AS65010: added",
        "peer 198.51.100.2 AS65010: changed (next_hop4, password), its session is reset",
        "peer 198.51.100.2 AS65010: changed (next_hop4 198.51.100.77), its session stays",
    ]
