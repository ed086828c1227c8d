from __future__ import annotations

import random
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from consulcast.executor.bgp import commands
from consulcast.executor.bgp import dialogue as module
from consulcast.executor.bgp.dialogue import Dialogue
from consulcast.executor.bgp.ledger import WINDOW
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.bgp.relay import SIGN_OF_LIFE
from consulcast.executor.protocols import RouteState, SessionState
from consulcast.model import Route
from consulcast.repairs import Repairs
from tests.executor.bgp.exabgp import Fake
from tests.executor.bgp.test_events import line
from tests.executor.bgp.test_ledger import table
from tests.executor.bgp.values import peer, route

PEERS = (peer(),)
LEASE = 0.15


class World:
    """A dialogue, and the other end of its connection."""

    def __init__(self) -> None:
        self.changes = 0
        self.signs = 0
        self.killed: list[str] = []
        self.dialogue = Dialogue(
            PEERS, self._changed, self.killed.append, LEASE, Repairs(), gevent.spawn, time.monotonic
        )
        self.exabgp = Fake(*PEERS)
        self.peers: tuple[Peer, ...] = PEERS
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

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        self.dialogue.connect(ours)
        return theirs

    def read(self, end: socket.socket) -> bool:
        """Read what was written, into the fake's queue. Returns whether the connection still stands."""
        try:
            data = end.recv(1 << 20)
            self.signs += data.count(SIGN_OF_LIFE)
        except OSError:
            data = b""
        for _ in range(self.exabgp.receive(data.replace(SIGN_OF_LIFE, b"").decode("ascii").splitlines())):
            end.sendall(b"exabgp 5.0.15\ndone\n")
        self.most = max(self.most, len(self.exabgp.unread))
        return bool(data)

    def answer(self, end: socket.socket) -> None:
        """Answer all that was read."""
        while self.exabgp.unread:
            if self.exabgp.unread[0] == commands.SHOW_NEIGHBORS:
                end.sendall(self.exabgp.snapshot() + b"\n")
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
    world.dialogue.set(wanted)
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
    world.dialogue.set([route("203.0.113.1/32")])
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
    world.dialogue.set(wanted)
    wait(lambda: world.dialogue.settled, 30)
    assert world.exabgp.table == table(PEERS, wanted)
    assert WINDOW / 2 < world.most <= WINDOW


def test_all_is_told_again_on_a_new_connection_and_the_unwanted_withdrawn(world: World) -> None:
    world.serve()
    world.dialogue.set([route("203.0.113.1/32"), route("203.0.113.2/32")])
    wait(lambda: world.dialogue.settled)
    world.dialogue.set([route("203.0.113.2/32")])
    world.exabgp.read.clear()
    world.serve()
    wait(lambda: world.dialogue.settled)
    assert any("announce route 203.0.113.2/32" in command for command in world.exabgp.read)
    assert world.exabgp.table == table(PEERS, [route("203.0.113.2/32")])


def test_after_exabgp_has_ended_nothing_is_at_any_peer(world: World) -> None:
    end = world.serve()
    world.exabgp.up.add(str(PEERS[0].address))
    end.sendall(line("state", '"state": "up"') + b"\n")
    world.dialogue.set([route("203.0.113.1/32")])
    wait(lambda: world.dialogue.settled and world.dialogue.peers()[0].state is SessionState.UP)
    world.dialogue.ended("SIGKILL")
    assert world.dialogue.peers()[0].state is SessionState.DOWN
    world.dialogue.set([])
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
    world.dialogue.set([route("203.0.113.1/32")])
    wait(lambda: world.killed)
    assert "no answer" in world.killed[0]


def test_an_exabgp_with_nothing_to_answer_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEDGED", 0.05)
    monkeypatch.setattr(module, "GRACE", 0.01)
    world.serve()
    world.dialogue.set([route("203.0.113.1/32")])
    wait(lambda: world.dialogue.settled)
    gevent.sleep(0.2)
    world.dialogue.set([])
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
    world.dialogue.set([route("203.0.113.1/32")])
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
            world.dialogue.set(wanted)
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


def test_signs_of_life_are_sent_three_times_within_the_lease_though_nothing_happens(world: World) -> None:
    world.serve()
    gevent.sleep(2 * LEASE)
    assert 4 <= world.signs <= 8


def test_an_idle_exabgp_that_hangs_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_ASK_EVERY", 0.05), ("WEDGED", 0.1), ("GRACE", 0.01)):
        monkeypatch.setattr(module, name, seconds)
    world.connect()  # and never answers
    wait(lambda: world.killed)
    assert "no answer" in world.killed[0]
