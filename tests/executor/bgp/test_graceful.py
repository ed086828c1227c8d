from __future__ import annotations

import math
from ipaddress import ip_address, ip_network

from consulcast.executor.bgp.graceful import GracefulRestart

ONE, TWO = ip_address("198.51.100.2"), ip_address("198.51.100.3")
PREFIX, OTHER, PREFIX6 = ip_network("203.0.113.1/32"), ip_network("203.0.113.2/32"), ip_network("2001:db8:1::1/128")


def begun(*peers: object, time: float = 60.0) -> GracefulRestart:
    """All peers have had their first End-of-RIB."""
    restart = GracefulRestart(time, (ONE, TWO), 0)
    restart.complete()
    for peer in (ONE, TWO):
        restart.up(peer, (4, 6))
    while due := restart.next():
        restart.said(*due, ok=True)
    return restart


def test_end_of_rib_waits_for_all_to_be_announced_and_comes_once_per_peer_and_family() -> None:
    restart = GracefulRestart(60, (ONE, TWO), 0)
    restart.up(ONE, (6, 4))
    restart.up(TWO, (4,))
    assert restart.next() is None
    assert restart.complete()
    assert not restart.complete(), "no news"
    said = []
    while due := restart.next():
        said.append(due)
        restart.said(*due, ok=True)
    assert said == [(ONE, 4), (ONE, 6), (TWO, 4)]


def test_every_later_session_gets_its_own() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX], 10)
    assert restart.next() is None
    restart.up(ONE, (4,))
    assert restart.next() == (ONE, 4)


def test_a_session_that_was_gone_before_end_of_rib_gets_it_next_time() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX], 10)
    restart.up(ONE, (4,))
    restart.said(ONE, 4, ok=False)
    assert restart.next() is None
    assert restart.holds(PREFIX, 1e6)
    restart.up(ONE, (4,))
    restart.said(ONE, 4, ok=True)
    assert not restart.holds(PREFIX, 11)


def test_after_the_start_peers_may_hold_anything_until_end_of_rib_or_the_restart_time() -> None:
    restart = GracefulRestart(60, (ONE, TWO), 100)
    assert restart.holds(PREFIX, 100)
    restart.complete()
    restart.up(ONE, (4,))
    restart.said(ONE, 4, ok=True)
    assert restart.holds(PREFIX, 159), "the other has not come up"
    assert restart.next_deadline(159) == 160
    assert not restart.holds(PREFIX, 160)
    assert restart.next_deadline(160) == math.inf


def test_a_peer_whose_session_broke_holds_what_it_had_until_end_of_rib() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX], 10)
    assert restart.holds(PREFIX, 10)
    assert not restart.holds(OTHER, 10)
    assert restart.next_deadline(10) == 70
    restart.up(ONE, (4, 6))
    assert restart.holds(PREFIX, 1e6), "for as long as End-of-RIB is not said"
    restart.said(ONE, 4, ok=True)
    assert restart.holds(PREFIX, 11)
    restart.said(ONE, 6, ok=True)
    assert not restart.holds(PREFIX, 11)


def test_a_peer_that_does_not_come_back_holds_nothing_after_the_restart_time() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX, PREFIX6], 10)
    assert restart.holds(PREFIX6, 69.9)
    assert not restart.holds(PREFIX6, 70)


def test_a_session_without_any_family_holds_nothing() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX], 10)
    restart.up(ONE, ())
    assert not restart.holds(PREFIX, 11)
    assert restart.next() is None


def test_a_removed_peer_is_not_waited_for_for_ever() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX], 10)
    restart.up(ONE, (4,))
    restart.removed(ONE, 20)
    assert restart.next() is None
    assert restart.holds(PREFIX, 79)
    assert not restart.holds(PREFIX, 80)


def test_nothing_is_waited_for_at_the_end() -> None:
    restart = begun()
    restart.down(ONE, [PREFIX], 10)
    restart.let_go()
    assert not restart.holds(PREFIX, 10)


def test_where_it_is_off_nothing_is_held_and_nothing_due() -> None:
    restart = begun(time=0)
    assert not restart.holds(PREFIX, 0)
    restart.down(ONE, [PREFIX], 10)
    assert not restart.holds(PREFIX, 10)
    restart.up(ONE, (4, 6))
    assert restart.next() is None
    assert restart.next_deadline(10) == math.inf
