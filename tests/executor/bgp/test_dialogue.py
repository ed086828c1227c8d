from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket

from consulcast.executor.bgp import commands
from consulcast.executor.bgp import dialogue as module
from consulcast.executor.bgp.dialogue import Dialogue
from consulcast.executor.bgp.ledger import WINDOW
from consulcast.executor.bgp.life import Life
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.protocols import RouteState, SessionState
from consulcast.instruments import Instruments
from consulcast.latency import Cause, Latency, What
from consulcast.model import Route
from consulcast.repairs import Kind, Repairs
from consulcast.web.metrics import measured
from tests.executor.bgp.exabgp import Fake
from tests.executor.bgp.test_events import line
from tests.executor.bgp.test_ledger import table
from tests.executor.bgp.values import by_prefix, peer, route

PEERS = (peer(),)


class World:
    """A dialogue, and the other end of its connection."""

    def __init__(self, life: Life | None = None, peers: tuple[Peer, ...] = PEERS) -> None:
        self.changes = 0
        self.on_change: Callable[[], object] = lambda: None
        self.killed: list[str] = []
        self.repairs = Repairs()
        self.alive = 0  # signs of life
        self.instruments = Instruments()
        self.served: list[tuple[What, Cause]] = []
        self.latency = Latency(lambda what, cause, seconds: self.served.append((what, cause)))
        self.dialogue = Dialogue(
            peers,
            self._changed,
            self.killed.append,
            gevent.spawn,
            time.monotonic,
            life,
            repairs=self.repairs,
            latency=self.latency,
            instruments=self.instruments,
        )
        self.exabgp = Fake(*peers)
        self.peers: tuple[Peer, ...] = peers
        self.most = 0
        self._ends: list[socket.socket] = []
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self.dialogue.start()

    def close(self) -> None:
        self.dialogue.close()
        gevent.killall(self._greenlets)
        for end in self._ends:
            end.close()

    def _changed(self) -> None:
        self.changes += 1
        self.on_change()

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        self.dialogue.connect(ours)
        return theirs

    def read(self, end: socket.socket) -> bool:
        """Read what was written, into the fake's queue. Returns whether the connection still stands."""
        try:
            data = end.recv(1 << 20)
        except OSError:
            data = b""
        self.alive += data.count(b"\0")
        lines = data.replace(b"\0", b"").decode("ascii").splitlines()  # as the relay does
        for _ in range(self.exabgp.receive(lines)):
            end.sendall(b"exabgp 5.0.15\ndone\n")
        self.most = max(self.most, len(self.exabgp.unread))
        return bool(data)

    def answer(self, end: socket.socket) -> None:
        """Answer all that was read."""
        while self.exabgp.unread:
            if self.exabgp.unread[0] == commands.SHOW_NEIGHBORS:
                end.sendall(self.exabgp.snapshot() + b"\n")
            elif self.exabgp.unread[0].startswith(commands.TABLE):
                end.sendall(self.exabgp.part(self.exabgp.unread[0]) + b"\n")
            end.sendall(b"done\n" if self.exabgp.step() else b"error\n")

    def set_peers(self, *peers: Peer) -> None:
        """Write the file, and tell the dialogue."""
        change = PeerChange.between(self.peers, peers)
        self.peers = self.exabgp.file = peers
        self.dialogue.set_peers(change, True)

    def serve(self) -> socket.socket:
        """Connect, and read and answer from now on."""
        end = self.connect()

        def loop() -> None:
            while self.read(end):
                self.answer(end)

        self._greenlets.append(gevent.spawn(loop))
        return end


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def wait(fact: object, seconds: float = 10.0) -> None:
    assert callable(fact)
    with gevent.Timeout(seconds):
        while not fact():
            gevent.sleep(0.001)


def test_a_route_set_before_the_connection_is_told_when_it_comes(world: World) -> None:
    wanted = [route("203.0.113.1/32")]
    world.dialogue.set(by_prefix(wanted))
    assert world.dialogue.route_state(wanted[0].prefix) is RouteState.PENDING
    world.serve()
    wait(lambda: world.dialogue.settled)
    assert world.exabgp.table == table(PEERS, wanted)
    assert world.dialogue.route_state(wanted[0].prefix) is RouteState.HANDED_OVER


def test_a_change_is_reported_when_the_session_comes_up_and_when_a_route_is_acknowledged(world: World) -> None:
    end = world.serve()
    world.exabgp.up.add(str(PEERS[0].address))
    end.sendall(line("negotiated", '"negotiated": { "families": ["ipv4 unicast"] } ') + b"\n")
    end.sendall(line("state", '"state": "up"') + b"\n")
    wait(lambda: world.changes)
    assert world.dialogue.peers()[0].state is SessionState.UP
    before = world.changes
    world.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: world.changes > before)
    assert world.dialogue.route_state(route("203.0.113.1/32").prefix) is RouteState.ANNOUNCED


def test_lines_that_arrive_in_pieces_are_put_together(world: World) -> None:
    end = world.connect()
    for byte in line("state", '"state": "up"') + b"\n":
        end.sendall(bytes([byte]))
        gevent.sleep(0)
    wait(lambda: world.dialogue.peers()[0].state is SessionState.UP)


def test_ten_thousand_routes_never_have_more_than_the_window_unanswered(world: World) -> None:
    wanted = [route(f"198.18.{n // 250}.{n % 250}/32") for n in range(10_000)]
    world.serve()
    world.dialogue.set(by_prefix(wanted))
    wait(lambda: world.dialogue.settled, 30)
    assert world.exabgp.table == table(PEERS, wanted)
    assert WINDOW / 2 < world.most <= WINDOW


def test_all_is_told_again_on_a_new_connection_and_the_unwanted_withdrawn(world: World) -> None:
    world.serve()
    world.dialogue.set(by_prefix([route("203.0.113.1/32"), route("203.0.113.2/32")]))
    wait(lambda: world.dialogue.settled)
    world.dialogue.set(by_prefix([route("203.0.113.2/32")]))
    world.exabgp.read.clear()
    world.serve()
    wait(lambda: world.dialogue.settled)
    assert any("announce route 203.0.113.2/32" in command for command in world.exabgp.read)
    assert world.exabgp.table == table(PEERS, [route("203.0.113.2/32")])


def test_after_exabgp_has_ended_nothing_is_at_any_peer(world: World) -> None:
    end = world.serve()
    world.exabgp.up.add(str(PEERS[0].address))
    end.sendall(line("state", '"state": "up"') + b"\n")
    world.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: world.dialogue.settled and world.dialogue.peers()[0].state is SessionState.UP)
    world.dialogue.ended("SIGKILL")
    assert world.dialogue.peers()[0].state is SessionState.DOWN
    world.dialogue.set({})
    assert world.dialogue.route_state(route("203.0.113.1/32").prefix) is RouteState.CLEAR
    assert world.dialogue.settled


@pytest.mark.parametrize("said", [b"done\ndone\ndone\n", b"what?\n", b'{"type": "state", "neighbor": 7}\n'])
def test_an_exabgp_that_does_not_keep_to_its_protocol_is_ended(world: World, said: bytes) -> None:
    world.connect().sendall(said)
    wait(lambda: world.killed)
    assert "protocol" in world.killed[0]


def test_an_exabgp_that_does_not_answer_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEDGED", 0.05)
    monkeypatch.setattr(module, "GRACE", 0.05)
    world.connect()
    world.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: world.killed)
    assert "no answer" in world.killed[0]


def test_an_exabgp_with_nothing_to_answer_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEDGED", 0.05)
    monkeypatch.setattr(module, "GRACE", 0.01)
    world.serve()
    world.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: world.dialogue.settled)
    gevent.sleep(0.2)
    world.dialogue.set({})
    wait(lambda: world.dialogue.settled)
    assert world.killed == []


def test_a_relay_that_does_not_come_back_ends_exabgp(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEDGED", 0.05)
    world.serve().close()
    wait(lambda: world.killed)
    assert "relay" in world.killed[0]


def test_a_relay_that_comes_back_does_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEDGED", 0.1)
    world.serve().close()
    gevent.sleep(0.02)
    world.serve()
    gevent.sleep(0.2)
    assert world.killed == []


def test_other_peers_are_taken_over_and_told_of_at_once(world: World) -> None:
    world.serve()
    world.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: world.dialogue.settled)
    changes = world.changes
    world.set_peers(peer("198.51.100.3"))
    assert [str(status.address) for status in world.dialogue.peers()] == ["198.51.100.3"]
    assert world.dialogue.route_state(route("203.0.113.1/32").prefix) is RouteState.PENDING
    assert world.changes > changes
    wait(lambda: world.dialogue.settled)
    assert world.exabgp.table == table(world.peers, [route("203.0.113.1/32")])


def test_an_exabgp_that_says_done_but_has_other_peers_is_told_again_and_then_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TAKEN_OVER", 0.3)
    monkeypatch.setattr(module, "_CHECK_AGAIN", 0.02)
    monkeypatch.setattr(world.exabgp, "reload", lambda: None)
    world.serve()
    world.set_peers(peer("198.51.100.3"))
    wait(lambda: world.killed)
    assert "did not take over its new peers" in world.killed[0]
    assert world.exabgp.read.count(commands.RELOAD) > 2


def test_an_exabgp_that_does_not_answer_a_reload_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAKEN_OVER", 0.05)
    world.connect()
    world.set_peers(peer("198.51.100.3"))
    wait(lambda: world.killed)


def test_a_new_exabgp_is_not_asked_to_prove_what_it_has_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAKEN_OVER", 0.05)
    world.connect()
    world.set_peers(peer("198.51.100.3"))
    world.exabgp.end()
    world.dialogue.ended("SIGKILL")
    world.serve()
    gevent.sleep(0.2)
    assert world.killed == []
    assert commands.RELOAD not in world.exabgp.read


@pytest.mark.parametrize("seed", range(5))
def test_changes_refusals_and_reconnects_at_any_moment_end_with_what_is_wanted(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consulcast.executor.bgp.ledger._FIRST_RETRY", 0.001)
    monkeypatch.setattr("consulcast.executor.bgp.ledger._RELOAD_RETRY", 0.001)
    chance = random.Random(seed)
    wanted: list[Route] = []
    end = world.serve()
    for _ in range(150):
        act = chance.random()
        if act < 0.7:
            wanted = [
                route(f"203.0.113.{n}/32", *chance.choice([(), ("65000:1",), ("65000:2",)]))
                for n in range(8)
                if chance.random() < 0.5
            ]
            world.dialogue.set(by_prefix(wanted))
        elif act < 0.8:
            world.exabgp.refuse = 1
        elif act < 0.9:
            world.exabgp.unread.clear()
            end.close()
            end = world.serve()
        elif act < 0.95:
            world.exabgp.end()
            end.close()
            world.dialogue.ended("SIGKILL")
            gevent.sleep(0)
            end = world.serve()
        else:
            world.set_peers(*chance.choice([PEERS, (peer(peer_as=65099),), (peer(hold_time=9), peer("198.51.100.3"))]))
        gevent.sleep(chance.choice([0, 0, 0.001]))
    world.exabgp.refuse = 0
    wait(lambda: world.dialogue.settled)
    assert world.exabgp.table == table(world.peers, wanted)
    assert world.killed == []


ADDRESS = str(PEERS[0].address)
QUICK = Life(lease=0.04, graceful_restart=1)  # a pulse of 10 ms


@pytest.fixture
def quick() -> Iterator[World]:
    made = World(QUICK)
    yield made
    made.close()


def rises(world: World, end: socket.socket, families: str = '"ipv4 unicast", "ipv6 unicast"') -> None:
    """Have the session come up."""
    world.exabgp.up.add(ADDRESS)
    end.sendall(line("negotiated", f'"negotiated": {{ "families": [{families}] }} ') + b"\n")
    end.sendall(line("state", '"state": "up"') + b"\n")


def falls(world: World, end: socket.socket) -> None:
    world.exabgp.up.discard(ADDRESS)
    end.sendall(line("state", '"state": "down", "reason": "closing connection"') + b"\n")


def test_signs_of_life_are_given_while_nothing_happens(quick: World) -> None:
    quick.serve()
    wait(lambda: quick.alive > 5)


def test_an_exabgp_that_has_nothing_to_do_is_asked_and_ended_if_it_does_not_answer(
    quick: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WEDGED", 0.1)
    monkeypatch.setattr(module, "GRACE", 0.01)
    monkeypatch.setattr(module, "ASK", 0.05)
    end = quick.serve()
    wait(lambda: quick.exabgp.read.count(commands.SHOW_NEIGHBORS) > 3)
    assert quick.killed == []
    monkeypatch.setattr(quick, "answer", lambda end: None)
    del end
    wait(lambda: quick.killed)
    assert "no answer" in quick.killed[0]


def test_a_table_whose_sum_is_right_is_not_looked_at_in_parts(quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP", 0.02)
    quick.serve()
    quick.dialogue.set(by_prefix([route(f"203.0.113.{n}/32", "65000:1") for n in range(250)]))
    wait(lambda: quick.dialogue.settled)
    looks = quick.exabgp.sums_told
    wait(lambda: quick.exabgp.sums_told > looks + 1)  # what was under way by then is through
    parts, looks = quick.exabgp.parts_told, quick.exabgp.sums_told
    wait(lambda: quick.exabgp.sums_told > looks + 3)
    assert quick.exabgp.parts_told == parts
    quick.exabgp.table[ADDRESS, "203.0.113.7/32"] += " med 1"
    wait(lambda: quick.exabgp.parts_told == parts + 3)
    wait(lambda: quick.repairs.counts[Kind.ROUTE] == 1)


def test_drift_is_put_right_counted_and_logged_once(
    quick: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SWEEP", 0.05)
    wanted = [route(f"203.0.113.{n}/32") for n in range(250)]
    quick.serve()
    quick.dialogue.set(by_prefix(wanted))
    wait(lambda: quick.dialogue.settled)
    right = dict(quick.exabgp.table)
    del quick.exabgp.table[ADDRESS, "203.0.113.7/32"]
    quick.exabgp.table[ADDRESS, "198.18.0.1/32"] = (
        f"neighbor {ADDRESS} announce route 198.18.0.1/32 next-hop 198.51.100.9"
    )
    quick.exabgp.table[ADDRESS, "203.0.113.9/32"] += " community [ 65000:1 ]"
    wait(lambda: quick.exabgp.table == right and quick.repairs.counts[Kind.ROUTE] == 3)
    gevent.sleep(0.2)
    assert quick.repairs.counts[Kind.ROUTE] == 3
    # one line for each sweep that found something; the three may have been made in the middle of one
    assert 1 <= len([text for text in caplog.messages if text.startswith("drift: ExaBGP's table")]) <= 2
    assert quick.killed == []


def test_end_of_rib_is_said_once_a_session_when_all_is_complete_and_acknowledged(quick: World) -> None:
    end = quick.serve()
    quick.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    rises(quick, end)
    wait(lambda: quick.dialogue.peers()[0].state is SessionState.UP and quick.dialogue.settled)
    gevent.sleep(0.05)
    assert quick.exabgp.ended_ribs == []
    quick.dialogue.complete()
    both = [(ADDRESS, "ipv4"), (ADDRESS, "ipv6")]
    wait(lambda: quick.exabgp.ended_ribs == both)
    falls(quick, end)
    wait(lambda: quick.dialogue.peers()[0].state is SessionState.DOWN)
    rises(quick, end)
    wait(lambda: quick.exabgp.ended_ribs == both * 2)


def test_end_of_rib_waits_for_the_last_acknowledgement(quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = quick.answer
    monkeypatch.setattr(quick, "answer", lambda end: None)
    end = quick.serve()
    quick.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    quick.dialogue.complete()
    rises(quick, end)
    wait(lambda: quick.dialogue.peers()[0].state is SessionState.UP)
    gevent.sleep(0.05)
    assert not any("eor" in line for line in quick.exabgp.unread)
    monkeypatch.setattr(quick, "answer", answer)
    answer(end)
    wait(lambda: len(quick.exabgp.ended_ribs) == 2)


def test_a_route_that_is_withdrawn_while_a_session_is_down_is_clear_only_after_its_end_of_rib(quick: World) -> None:
    end = quick.serve()
    quick.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    quick.dialogue.complete()
    rises(quick, end)
    wait(lambda: len(quick.exabgp.ended_ribs) == 2)
    falls(quick, end)
    wait(lambda: quick.dialogue.peers()[0].state is SessionState.DOWN)
    quick.dialogue.set({})
    wait(lambda: quick.dialogue.settled)
    assert quick.dialogue.route_state(route("203.0.113.1/32").prefix) is RouteState.PENDING
    rises(quick, end)
    wait(lambda: quick.dialogue.route_state(route("203.0.113.1/32").prefix) is RouteState.CLEAR)
    assert len(quick.exabgp.ended_ribs) == 4


def test_whoever_waits_for_a_route_to_be_gone_is_woken_when_the_restart_time_is_over(quick: World) -> None:
    end = quick.serve()
    quick.dialogue.set(by_prefix([route("203.0.113.1/32")]))
    quick.dialogue.complete()
    rises(quick, end)
    wait(lambda: len(quick.exabgp.ended_ribs) == 2)
    falls(quick, end)
    wait(lambda: quick.dialogue.peers()[0].state is SessionState.DOWN)
    heard = []
    quick.on_change = lambda: heard.append(quick.dialogue.route_state(route("203.0.113.1/32").prefix))
    quick.dialogue.set({})
    wait(lambda: RouteState.CLEAR in heard)


def hand(world: World, before: Route | None, after: Route | None) -> None:
    """As the reconciler does for an event of now."""
    world.latency.happened(Cause.HTTP, time.monotonic())
    world.latency.planned()
    world.latency.begin()
    world.latency.handed(route("203.0.113.1/32").prefix, before, after)
    world.latency.end(())
    world.dialogue.set(by_prefix([after] if after else []))


def updates(world: World) -> dict[str, float]:
    """The updates that are counted, by kind."""
    samples = (sample for metric in map(measured, world.instruments.all()) for sample in metric.samples)
    return {one.labels["kind"]: one.value for one in samples if one.name == "consulcast_updates_total"}


def test_updates_to_a_peer_that_is_up_are_counted_and_timed_once(world: World) -> None:
    assert updates(world) == {"announce": 0, "withdraw": 0}
    end = world.serve()
    world.exabgp.up.add(str(PEERS[0].address))
    end.sendall(line("negotiated", '"negotiated": { "families": ["ipv4 unicast"] } ') + b"\n")
    end.sendall(line("state", '"state": "up"') + b"\n")
    wait(lambda: world.dialogue.peers()[0].state is SessionState.UP)
    there = route("203.0.113.1/32")
    hand(world, None, there)
    wait(lambda: world.served)
    hand(world, there, there)
    world.serve()  # a new relay: all is told again
    wait(lambda: world.dialogue.settled)
    assert updates(world) == {"announce": 1, "withdraw": 0}
    hand(world, there, None)
    wait(lambda: len(world.served) == 2)
    assert world.served == [(What.ANNOUNCE, Cause.HTTP), (What.WITHDRAW, Cause.HTTP)]
    assert updates(world) == {"announce": 1, "withdraw": 1}


def test_what_is_told_while_no_peer_is_up_is_neither_counted_nor_timed(world: World) -> None:
    world.serve()
    hand(world, None, route("203.0.113.1/32"))
    wait(lambda: world.dialogue.settled)
    assert (updates(world), world.served, world.latency.open) == ({"announce": 0, "withdraw": 0}, [], ())


@pytest.mark.parametrize(("up", "answers"), [((0, 1), 2), ((0, 2), 3), ((1, 2), 3), ((2,), 3), ((0,), 1)])
def test_an_update_is_timed_when_the_last_peer_that_is_up_has_it(up: tuple[int, ...], answers: int) -> None:
    peers = tuple(map(peer, ("198.51.100.2", "198.51.100.3", "198.51.100.4")))
    world = World(peers=peers)
    end = world.connect()
    events = line("negotiated", '"negotiated": { "families": ["ipv4 unicast"] } '), line("state", '"state": "up"')
    for number in up:
        for event in events:
            end.sendall(event.replace(b"198.51.100.2", str(peers[number].address).encode()) + b"\n")
    end.sendall(b"done\n")  # the answer to the first question, how sessions are
    wait(lambda: [peer.state is SessionState.UP for peer in world.dialogue.peers()].count(True) == len(up))
    one = route("203.0.113.1/32")
    hand(world, None, one)
    for answered, who in enumerate(peers, 1):
        end.sendall(b"done\n")
        wait(lambda who=who: world.dialogue.told(one.prefix, 0)[peers.index(who)].told)
        assert (len(world.served) == 1) is (answered >= answers), answered
    world.close()


def test_change_that_is_taken_back_before_it_is_told_leaves_nothing_open(world: World) -> None:
    there = route("203.0.113.1/32")
    hand(world, None, there)
    assert world.latency.open
    hand(world, there, None)
    assert not world.latency.open


def test_messages_of_a_session_are_shown_while_it_is_up(world: World) -> None:
    end = world.serve()
    world.exabgp.up.add(str(PEERS[0].address))
    assert world.dialogue.seen() == {}
    end.sendall(line("state", '"state": "up"') + b"\n")
    wait(lambda: world.dialogue.peers()[0].state is SessionState.UP)
    world.dialogue.look(PEERS[0].address, 5.0)
    assert set(world.dialogue.seen()) == {PEERS[0].address}
    world.dialogue.ended("SIGKILL")
    assert world.dialogue.seen() == {}


def test_what_a_peer_is_told_is_shown_beside_exabgp_s_table(world: World) -> None:
    one, other = route("203.0.113.1/32"), route("203.0.113.2/32")
    world.dialogue.set(by_prefix([one]))
    assert world.dialogue.told(one.prefix, 0.01)[0].table is None, "nobody is there to ask"
    world.serve()
    wait(lambda: world.dialogue.settled)
    (told,) = world.dialogue.told(one.prefix, 5.0)
    assert told.wanted == told.told == commands.announce(PEERS[0], one)
    assert told.told == commands.to(told.peer, told.table or "")
    assert not told.under_way
    (nothing,) = world.dialogue.told(other.prefix, 5.0)
    assert (nothing.wanted, nothing.told, nothing.table) == ("", "", "")


def test_an_exabgp_that_does_not_answer_about_its_table_is_not_waited_for(world: World) -> None:
    world.connect()
    assert world.dialogue.told(route("203.0.113.1/32").prefix, 0.01)[0].table is None
