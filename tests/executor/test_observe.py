"""Observing: the rules are those of a daemon that acts, and nothing is ever said to be announced."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

import gevent
import pytest

from consulcast import notation
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.observe import NoAddresses, NoNat, NoSpeaker
from consulcast.executor.protocols import RouteState, SessionState
from consulcast.model import Draining, Intent, Reason, Route, Translation, Vip
from consulcast.reconciler import Reconciler
from consulcast.values import replace

VIP, VIP6 = notation.vip("203.0.113.10/32"), notation.vip("2001:db8::10/128")
NAT = Translation(VIP.local, "tcp", 80, ipaddress.ip_address("198.51.100.1"), 8080)
PEER = Peer(
    *(ipaddress.ip_address("198.51.100.2"), 65010, 65001, ipaddress.ip_address("198.51.100.1")),
    router_id=ipaddress.IPv4Address("198.51.100.1"),
    next_hop4=ipaddress.ip_address("198.51.100.1"),
)


@pytest.fixture
def reconciler() -> Iterator[Reconciler]:
    def wake() -> None:
        made.wake()

    made = Reconciler(NoAddresses(), NoNat(wake), NoSpeaker([PEER], wake), drain_time=0.0)
    made.start()
    yield made
    made.stop(1.0)


def by_vip(*intents: Intent) -> dict[Vip, Intent]:
    return {each.vip: each for each in intents}


def until(fact: Callable[[], bool]) -> None:
    with gevent.Timeout(10):
        while not fact():
            gevent.sleep(0.002)


def reasons(reconciler: Reconciler) -> dict[str, Reason]:
    return {str(vip): found.reason for vip, found in reconciler.status().items()}


def wanted(announce: bool = True) -> list[Intent]:
    up = Intent(VIP, Route(VIP.prefix), True, announce, Reason.ANNOUNCED if announce else Reason.MONITOR_FAILING)
    return [up, Intent(VIP6, Route(VIP6.prefix), True, True, Reason.ANNOUNCED)]


def test_what_would_be_announced_is_said_to_be_so_and_no_more(reconciler: Reconciler) -> None:
    up, other = wanted()
    reconciler.set(by_vip(Intent(VIP, up.route, True, True, up.reason, nats=(NAT,)), other), complete=True)
    until(lambda: reasons(reconciler).get(str(VIP)) is Reason.WOULD_ANNOUNCE)
    assert reasons(reconciler)[str(VIP6)] is Reason.NO_NEXT_HOP
    assert not reconciler.ever_announced
    assert reconciler.ever_complete


def test_a_failing_vip_has_the_same_reason_as_ever(reconciler: Reconciler) -> None:
    reconciler.set(by_vip(*wanted(announce=False)), complete=True)
    until(lambda: reasons(reconciler).get(str(VIP)) is Reason.MONITOR_FAILING)


def test_nothing_is_ever_said_to_be_added_or_removed(reconciler: Reconciler, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    reconciler.set(by_vip(*wanted()), complete=True)
    until(lambda: reasons(reconciler).get(str(VIP)) is Reason.WOULD_ANNOUNCE)
    reconciler.set({}, complete=True)
    until(lambda: not reconciler.status())
    assert not any("address" in line or "announced" in line for line in caplog.messages)


def test_no_session_is_up_and_the_peer_says_why() -> None:
    speaker = NoSpeaker([PEER], lambda: None)
    (peer,) = speaker.peers()
    assert (peer.state, peer.last_error) == (SessionState.DOWN, "observing: no session is opened")
    assert speaker.route_state(VIP.prefix) is RouteState.CLEAR


def test_what_a_drain_announces_for_a_while_yet_is_not_said_to_be_announced(reconciler: Reconciler) -> None:
    up, other = wanted()
    reconciler.set(by_vip(up, other), complete=True)
    until(lambda: reasons(reconciler).get(str(VIP)) is Reason.WOULD_ANNOUNCE)
    drain = Draining(0.0, 1e9, "graceful-shutdown", 0.0)
    reconciler.set(by_vip(replace(up, reason=Reason.DRAINING, drain=drain), other), complete=True)
    until(lambda: "with graceful-shutdown" in reconciler.status()[VIP].detail)
    assert reasons(reconciler)[str(VIP)] is Reason.WOULD_ANNOUNCE
