from __future__ import annotations

import itertools
import json
import math
import random
from collections import deque
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consulcast.drains import Method, Settings, lowered
from consulcast.executor.bgp import commands
from consulcast.executor.bgp.ledger import WINDOW, Ledger
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.protocols import RouteState
from consulcast.model import Community, CommunityKind, Route
from tests.executor.bgp.exabgp import Fake
from tests.executor.bgp.values import by_prefix, peer, route

PEERS = (peer(), peer("2001:db8::2", next_hop4=None))
PREFIX = ip_network("203.0.113.1/32")


def carried(*_: object) -> bool:
    return True


def answer_all(ledger: Ledger, exabgp: Fake, now: float = 0.0) -> None:
    """Write and answer until there is nothing more to say."""
    while lines := ledger.take(now):
        for _ in range(exabgp.receive(lines)):
            ledger.nudged()
        while exabgp.unread:
            ledger.acknowledge(exabgp.step(), now)


def table(peers: Iterable[Peer], routes: Iterable[Route]) -> dict[tuple[str, str], str]:
    """What ExaBGP should know."""
    found = {}
    for each in routes:
        for one in peers:
            line = commands.announce(one, each)
            if line is not None:
                found[str(one.address), str(each.prefix)] = line
    return found


@pytest.fixture
def exabgp() -> Fake:
    return Fake(*PEERS)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger([peer()])


def test_a_route_goes_from_pending_to_announced_and_back_to_clear(ledger: Ledger, exabgp: Fake) -> None:
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    assert len(ledger.take(0)) == 1
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    assert ledger.acknowledge(True, 0)
    assert ledger.state(PREFIX, carried) is RouteState.ANNOUNCED
    assert ledger.state(PREFIX, lambda *_: False) is RouteState.HANDED_OVER
    ledger.set({})
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    answer_all(ledger, exabgp)
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR


def test_a_prefix_withdrawn_before_it_was_ever_written_is_clear_at_once(ledger: Ledger) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    ledger.set({})
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR
    assert ledger.take(0) == []


def test_the_same_table_again_sends_nothing(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32", "65000:1", "65000:2")]))
    answer_all(ledger, exabgp)
    ledger.set(by_prefix([route("203.0.113.1/32", "65000:2", "65000:1")]))
    assert ledger.take(0) == []
    assert ledger.settled


def test_a_changed_community_is_told_without_a_withdrawal(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32", "65000:1")]))
    answer_all(ledger, exabgp)
    ledger.set(by_prefix([route("203.0.113.1/32", "65000:2")]))
    (line,) = ledger.take(0)
    assert "announce" in line
    assert "65000:2" in line


def test_withdrawals_go_ahead_of_announcements(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    answer_all(ledger, exabgp)
    ledger.set(by_prefix([route(f"198.18.0.{n}/32") for n in range(200)]))
    assert "withdraw" in ledger.take(0)[0]


def test_one_command_about_a_prefix_is_under_way_at_most(ledger: Ledger) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    assert len(ledger.take(0)) == 1
    ledger.set({})
    assert ledger.take(0) == []
    ledger.acknowledge(True, 0)
    assert ledger.take(0) == ["neighbor 198.51.100.2 withdraw route 203.0.113.1/32"]


def test_a_change_back_while_a_command_is_under_way_needs_no_other(ledger: Ledger) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    ledger.take(0)
    ledger.set({})
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    ledger.acknowledge(True, 0)
    assert ledger.take(0) == [commands.NUDGE]


def test_exabgp_is_nudged_after_acknowledgements_once_until_it_answers(ledger: Ledger) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32"), route("203.0.113.2/32")]))
    ledger.take(0)
    assert ledger.take(0) == []
    ledger.acknowledge(True, 0)
    assert ledger.take(0) == [commands.NUDGE]
    ledger.acknowledge(True, 0)
    assert ledger.take(0) == []
    ledger.nudged()
    assert ledger.take(0) == [commands.NUDGE]
    ledger.nudged()
    assert ledger.take(0) == []


def test_ten_thousand_routes_never_have_more_than_the_window_under_way(exabgp: Fake) -> None:
    ledger = Ledger([peer()])
    routes = [route(f"198.18.{n // 250}.{n % 250}/32") for n in range(10_000)]
    ledger.set(by_prefix(routes))
    chance = random.Random(7)
    while not ledger.settled:
        for _ in range(exabgp.receive(ledger.take(0))):
            ledger.nudged()
        assert ledger.under_way == len(exabgp.unread) <= WINDOW
        for _ in range(chance.randint(1, len(exabgp.unread))):
            ledger.acknowledge(exabgp.step(), 0)
    assert len(exabgp.table) == 10_000


def test_a_refused_route_is_failed_and_tried_again_ever_later(
    ledger: Ledger, exabgp: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    exabgp.refuse = 3
    now, pauses = 0.0, []
    while ledger.state(PREFIX, carried) is not RouteState.ANNOUNCED:
        answer_all(ledger, exabgp, now)
        if ledger.next_retry < math.inf:
            assert ledger.state(PREFIX, carried) is RouteState.FAILED
            pauses.append(ledger.next_retry - now)
            now = ledger.next_retry
    assert pauses == [1.0, 2.0, 4.0]
    assert ledger.settled
    assert "announce route 203.0.113.1/32" in caplog.text


def test_a_changed_route_is_tried_at_once_after_a_refusal(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    exabgp.refuse = 1
    answer_all(ledger, exabgp)
    ledger.set(by_prefix([route("203.0.113.1/32", "65000:1")]))
    answer_all(ledger, exabgp)
    assert ledger.state(PREFIX, carried) is RouteState.ANNOUNCED


def test_a_refused_withdrawal_is_not_clear(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    answer_all(ledger, exabgp)
    ledger.set({})
    exabgp.refuse = 1
    answer_all(ledger, exabgp)
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    assert not ledger.settled
    answer_all(ledger, exabgp, ledger.next_retry)
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR


def test_a_route_of_a_family_that_no_peer_has_a_next_hop_for_says_so() -> None:
    ledger = Ledger([peer(next_hop6=None)])
    ledger.set(by_prefix([route("2001:db8:1::/64")]))
    assert ledger.take(0) == []
    assert ledger.state(ip_network("2001:db8:1::/64"), carried) is RouteState.NO_NEXT_HOP


def test_one_route_that_cannot_be_written_fails_alone(ledger: Ledger, exabgp: Fake) -> None:
    bad = Route(PREFIX, (Community(CommunityKind.STANDARD, "json"),))
    ledger.set(by_prefix([bad, route("203.0.113.2/32")]))
    answer_all(ledger, exabgp)
    assert ledger.state(PREFIX, carried) is RouteState.FAILED
    assert ledger.state(ip_network("203.0.113.2/32"), carried) is RouteState.ANNOUNCED
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    answer_all(ledger, exabgp)
    assert ledger.state(PREFIX, carried) is RouteState.ANNOUNCED


def test_after_exabgp_has_ended_no_peer_has_anything_and_all_is_told_again(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32"), route("203.0.113.2/32")]))
    answer_all(ledger, exabgp)
    ledger.set(by_prefix([route("203.0.113.2/32")]))
    ledger.take(0)
    ledger.disconnected()
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    ledger.forget()
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR
    assert ledger.resume() == [commands.SHOW_NEIGHBORS]
    ledger.acknowledge(True, 0)
    assert [line.split()[2:5] for line in ledger.take(0)] == [["announce", "route", "203.0.113.2/32"]]


def test_after_a_lost_relay_all_is_told_again_and_the_unwanted_withdrawn(ledger: Ledger, exabgp: Fake) -> None:
    ledger.set(by_prefix([route("203.0.113.1/32"), route("203.0.113.2/32")]))
    answer_all(ledger, exabgp)
    ledger.disconnected()
    ledger.set(by_prefix([route("203.0.113.2/32")]))
    ledger.resume()
    ledger.acknowledge(True, 0)
    assert [line.split()[2] for line in ledger.take(0)] == ["withdraw", "announce"]


def replace_peers(ledger: Ledger, exabgp: Fake, *peers: Peer) -> None:
    """Write the file, and tell the ledger."""
    change = PeerChange.between(exabgp.file, peers)
    exabgp.file = peers
    ledger.set_peers(change, True)


A, B = peer(), peer("198.51.100.3")


@pytest.fixture
def two() -> tuple[Ledger, Fake]:
    """Peers A and B, who know one route."""
    ledger, exabgp = Ledger([A, B]), Fake(A, B)
    ledger.set(by_prefix([route("203.0.113.1/32")]))
    answer_all(ledger, exabgp)
    exabgp.read.clear()
    return ledger, exabgp


def test_an_added_peer_gets_the_whole_table_and_the_others_hear_nothing(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    added = peer("198.51.100.4")
    replace_peers(ledger, exabgp, A, added, B)
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    answer_all(ledger, exabgp)
    assert exabgp.read == [
        commands.RELOAD,
        commands.SHOW_NEIGHBORS,
        commands.announce(added, route("203.0.113.1/32")),
    ]
    assert ledger.state(PREFIX, carried) is RouteState.ANNOUNCED
    assert ledger.settled


def test_what_a_removed_peer_knew_is_not_clear_before_exabgp_has_dropped_it(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    ledger.set({})
    replace_peers(ledger, exabgp, A)
    assert ledger.take(0) == [commands.RELOAD]
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    assert not ledger.settled
    ledger.acknowledge(True, 0)
    exabgp.reload()
    answer_all(ledger, exabgp)
    assert exabgp.read[-1] == commands.withdraw(A, PREFIX)
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR
    assert ledger.settled


def test_nothing_is_under_way_while_the_configuration_is_read(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    ledger.set(by_prefix([route("203.0.113.1/32"), route("203.0.113.2/32")]))
    assert len(ledger.take(0)) == 2
    replace_peers(ledger, exabgp, A)
    ledger.set({})
    assert ledger.take(0) == []
    ledger.acknowledge(True, 0)
    assert ledger.take(0) == [commands.NUDGE]
    ledger.acknowledge(False, 0)  # of the removed peer: nothing to try again
    assert ledger.take(0) == [commands.RELOAD]
    assert ledger.take(0) == []
    ledger.acknowledge(True, 0)
    assert ledger.take(0)[1:] == [commands.withdraw(A, PREFIX), commands.withdraw(A, ip_network("203.0.113.2/32"))]


def test_other_next_hops_are_announced_to_that_peer_without_reading_the_configuration(
    two: tuple[Ledger, Fake],
) -> None:
    ledger, exabgp = two
    moved = peer(next_hop4=ip_address("198.51.100.77"))
    replace_peers(ledger, exabgp, moved, B)
    answer_all(ledger, exabgp)
    assert exabgp.read == [commands.announce(moved, route("203.0.113.1/32"))]


def test_a_peer_of_another_as_is_told_all_again(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    replace_peers(ledger, exabgp, A, peer("198.51.100.3", peer_as=65099))
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    answer_all(ledger, exabgp)
    assert exabgp.table == table(exabgp.file, [route("203.0.113.1/32")])
    assert not any(line.startswith(f"neighbor {A.address} ") for line in exabgp.read)


def test_a_peer_that_is_removed_and_back_before_exabgp_knows_keeps_no_stale_route(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    replace_peers(ledger, exabgp, A)
    ledger.set({})
    replace_peers(ledger, exabgp, A, B)
    exabgp.receive(ledger.take(0))
    ledger.acknowledge(exabgp.step(), 0)
    ledger.disconnected()
    exabgp.receive(ledger.resume())
    ledger.acknowledge(exabgp.step(), 0)
    answer_all(ledger, exabgp)
    assert exabgp.table == {}
    assert ledger.settled


def test_a_peer_that_comes_and_goes_while_the_configuration_is_read_keeps_no_stale_route(
    two: tuple[Ledger, Fake],
) -> None:
    ledger, exabgp = two
    replace_peers(ledger, exabgp, A)
    exabgp.receive(ledger.take(0))
    replace_peers(ledger, exabgp, A, B)
    assert exabgp.step()  # what it reads has B, who so keeps its table
    replace_peers(ledger, exabgp, A)
    ledger.set({})
    ledger.acknowledge(True, 0)
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    replace_peers(ledger, exabgp, A, B)
    answer_all(ledger, exabgp)
    assert exabgp.table == {}


def test_a_peer_removed_while_the_configuration_is_read_is_not_clear_by_that(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    replace_peers(ledger, exabgp, A, B, peer("198.51.100.4"))
    exabgp.receive(ledger.take(0))
    assert exabgp.step()
    replace_peers(ledger, exabgp, peer("198.51.100.4"))
    ledger.set({})
    ledger.acknowledge(True, 0)
    assert ledger.state(PREFIX, carried) is RouteState.PENDING
    answer_all(ledger, exabgp)
    assert ledger.state(PREFIX, carried) is RouteState.CLEAR


def test_a_changed_peer_is_told_all_again_though_its_first_reading_was_refused(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    exabgp.refuse = 1
    replace_peers(ledger, exabgp, A, peer("198.51.100.3", peer_as=65099))
    answer_all(ledger, exabgp)  # to the peer as it was
    answer_all(ledger, exabgp, ledger.next_retry)
    assert exabgp.table == table(exabgp.file, [route("203.0.113.1/32")])


def test_a_refused_reading_is_tried_again_and_told(two: tuple[Ledger, Fake], caplog: pytest.LogCaptureFixture) -> None:
    ledger, exabgp = two
    exabgp.refuse = 1
    replace_peers(ledger, exabgp, A)
    answer_all(ledger, exabgp)
    assert not ledger.settled
    assert "refused to read" in caplog.text
    answer_all(ledger, exabgp, ledger.next_retry)
    assert ledger.settled
    assert list(exabgp.peers) == [str(A.address)]


def test_an_exabgp_that_is_started_again_need_not_read_the_configuration_twice(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    replace_peers(ledger, exabgp, A)
    ledger.disconnected()
    ledger.forget()
    assert not ledger.outdated


def test_a_reading_that_was_under_way_when_the_relay_was_lost_is_done_again(two: tuple[Ledger, Fake]) -> None:
    ledger, exabgp = two
    replace_peers(ledger, exabgp, A)
    assert ledger.take(0) == [commands.RELOAD]
    ledger.disconnected()
    exabgp.receive(ledger.resume())
    ledger.acknowledge(exabgp.step(), 0)
    answer_all(ledger, exabgp)
    assert list(exabgp.peers) == [str(A.address)]
    assert ledger.settled


def test_an_answer_to_nothing_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(IndexError):
        ledger.acknowledge(True, 0)


_prefixes = [f"203.0.113.{n}/32" for n in range(3)] + ["2001:db8:1::/64"]
_tables = st.dictionaries(st.sampled_from(_prefixes), st.sampled_from([(), ("65000:1",), ("65000:2",)])).map(
    lambda wanted: [route(prefix, *communities) for prefix, communities in wanted.items()]
)
_variants = [
    [peer()],
    [peer(peer_as=65099), peer(password="x"), peer(next_hop4=ip_address("198.51.100.77")), peer(next_hop4=None)],
    [peer("2001:db8::2", next_hop4=None), peer("2001:db8::2", hold_time=9)],
    [peer("198.51.100.3")],
]
# Empty one time in a few: then ExaBGP is ended.
_peers = st.lists(st.sampled_from(list(itertools.chain(*_variants))), max_size=4, unique_by=lambda one: one.address)
_steps = st.sampled_from(["take", "take", "read", "read", "read", "hear", "hear", "hear", "refuse", "relay", "exabgp"])
# All about one peer and one prefix.
_narrow = st.one_of(
    st.sampled_from([[], [route("203.0.113.1/32")]]),
    st.sampled_from([(B,), (A, B), (A, B), (peer(peer_as=65099), B), (peer(hold_time=9), B)]),
    _steps,
    _steps,
)
_Act: TypeAlias = str | list[Route] | tuple[Peer, ...]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(_tables, _peers.map(tuple), _steps, _steps), max_size=60))
def test_whatever_happens_exabgp_ends_up_knowing_what_is_wanted_and_nothing_else(acts: list[_Act]) -> None:
    _play(acts)


@settings(max_examples=700, deadline=None)
@given(st.lists(_narrow, max_size=40))
def test_whatever_happens_to_one_peer_it_ends_up_knowing_what_is_wanted(acts: list[_Act]) -> None:
    _play(acts)


def _play(acts: list[_Act]) -> None:
    ledger, exabgp = Ledger(PEERS), Fake(*PEERS)
    peers: tuple[Peer, ...] = PEERS
    heard: deque[bool | None] = deque()  # answers on their way to us; None to a nudge
    wanted: list[Route] = []
    now = 0.0

    def reconnect() -> None:
        exabgp.receive(ledger.resume())

    def write() -> None:
        heard.extend([None] * exabgp.receive(ledger.take(now)))

    def hear() -> None:
        ok = heard.popleft()
        if ok is None:
            ledger.nudged()
        else:
            ledger.acknowledge(ok, now)

    def hear_all() -> None:
        while exabgp.unread or heard:
            if exabgp.unread:
                heard.append(exabgp.step())
            else:
                hear()

    reconnect()
    for act in acts:
        if isinstance(act, list):
            wanted = act
            ledger.set(by_prefix(act))
        elif isinstance(act, tuple):
            change, running = PeerChange.between(peers, act), bool(peers)
            peers = exabgp.file = act
            ledger.set_peers(change, running)
            if not (running and peers):
                heard.clear()
                exabgp.end()
                ledger.disconnected()
                ledger.forget()
            if peers and not running:
                reconnect()
        elif not peers:
            assert ledger.settled
        elif act == "take":
            write()
        elif act == "read" and exabgp.unread:
            heard.append(exabgp.step())
        elif act == "hear" and heard:
            hear()
        elif act == "refuse":
            exabgp.refuse = 1
        elif act in ("relay", "exabgp"):
            heard.clear()
            exabgp.unread.clear()
            ledger.disconnected()
            if act == "exabgp":
                exabgp.end()
                ledger.forget()
            reconnect()
        for prefix in map(ip_network, _prefixes):
            if ledger.state(prefix, carried) is RouteState.CLEAR:
                assert not any(known == str(prefix) for _, known in exabgp.table)
                assert not any(f"announce route {prefix}" in line for line in exabgp.unread)
    exabgp.refuse = 0
    while peers and not ledger.settled:
        now = max(now, ledger.next_retry if ledger.next_retry < math.inf else now)
        write()
        hear_all()
    assert exabgp.table == table(peers, wanted)
    for each in peers:
        theirs = json.loads(exabgp.part(commands.table_sum(each.address)))
        assert ledger.sum(each.address) == (theirs["count"], theirs["sum"])
    assert exabgp.peers.keys() == {str(each.address) for each in peers}
    assert all(each.same_session(exabgp.peers[str(each.address)]) for each in peers)
    for one in wanted:
        reached = any(each.next_hop(one.prefix) for each in peers)
        assert ledger.state(one.prefix, carried) is (RouteState.ANNOUNCED if reached else RouteState.NO_NEXT_HOP)
    write()  # what was left to ask
    hear_all()
    ledger.set(by_prefix(list(wanted)))
    assert set(ledger.take(now)) <= {commands.NUDGE}


@pytest.mark.parametrize("settings", [Settings(), Settings(Method.MED), Settings(Method.PREPEND)])
@pytest.mark.parametrize("peer_as", [65010, 65001])
def test_lower_preference_is_one_command_and_so_is_the_way_back(settings: Settings, peer_as: int) -> None:
    one = peer(peer_as=peer_as)
    ledger, plain = Ledger([one]), route("203.0.113.1/32", "65000:1")
    for wanted in (plain, lowered(plain, settings), plain):
        ledger.set(by_prefix([wanted]))
        (line,) = (line for line in ledger.take(0) if line != commands.NUDGE)
        assert line == commands.announce(one, wanted)
        ledger.nudged()
        ledger.acknowledge(True, 0)
        assert ledger.state(PREFIX, carried) is RouteState.ANNOUNCED
        ledger.set(by_prefix([wanted]))
        assert [line for line in ledger.take(0) if line != commands.NUDGE] == []
        ledger.nudged()
