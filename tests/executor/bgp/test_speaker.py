"""The whole of it with a real ExaBGP, whose only peer is a closed port of the loopback device."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import gevent
import pytest

from consulcast.executor.bgp.child import next_pause
from consulcast.executor.bgp.errors import PeerError, RunDirectoryError
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.speaker import ExaBgpSpeaker
from consulcast.executor.protocols import RouteState, Speaker
from consulcast.values import replace
from tests.executor.bgp.values import by_prefix, peer, route

PREFIX = ip_network("203.0.113.1/32")


def wait(fact: Callable[[], object], seconds: float = 20.0) -> None:
    with gevent.Timeout(seconds):
        while not fact():
            gevent.sleep(0.005)


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[ExaBgpSpeaker]:
    made = ExaBgpSpeaker([closed(password="s3cret")], tmp_path / "run")
    made.start()
    yield made
    made.stop(5)


def pid(speaker: ExaBgpSpeaker) -> int:
    found = speaker._child.pid
    assert found is not None
    return found


def test_a_route_is_handed_over_and_cleared_while_the_peer_is_down(speaker: ExaBgpSpeaker) -> None:
    told: Speaker = speaker
    told.set(by_prefix([route("203.0.113.1/32", "65000:1")]))
    wait(lambda: told.route_state(PREFIX) is RouteState.HANDED_OVER)
    told.set({})
    wait(lambda: told.route_state(PREFIX) is RouteState.CLEAR)


def test_the_child_is_in_a_session_of_its_own_and_takes_nothing_from_our_environment(
    speaker: ExaBgpSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    speaker.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: speaker.settled)
    first = pid(speaker)
    os.kill(first, signal.SIGKILL)
    wait(lambda: speaker._child.pid not in (None, first))
    wait(lambda: speaker.route_state(PREFIX) is RouteState.HANDED_OVER)
    assert b"secret" not in Path(f"/proc/{pid(speaker)}/environ").read_bytes()
    assert os.getsid(pid(speaker)) == pid(speaker)
    assert speaker.last_child_error.startswith("SIGKILL")


def test_an_end_of_exabgp_is_no_reason_of_what_comes_after_the_next_session(
    speaker: ExaBgpSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait(lambda: speaker._child.pid)
    os.kill(pid(speaker), signal.SIGKILL)
    wait(lambda: speaker._child.ended_at)
    assert speaker.child_trouble.startswith("SIGKILL")
    later = [replace(status, since=time.monotonic()) for status in speaker.peers()]
    monkeypatch.setattr(speaker, "peers", lambda: later)
    assert speaker.child_trouble == ""


def test_nothing_is_left_after_a_stop_but_the_log(speaker: ExaBgpSpeaker, tmp_path: Path) -> None:
    speaker.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: speaker.settled)
    assert "s3cret" in (tmp_path / "run" / "exabgp.conf").read_text()
    ended = pid(speaker)
    speaker.stop(5)
    assert not Path(f"/proc/{ended}").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"exabgp.log"}


def test_a_stop_while_it_starts_leaves_no_child(speaker: ExaBgpSpeaker) -> None:
    wait(lambda: speaker._child.pid)
    started = pid(speaker)
    speaker.stop(5)
    assert not Path(f"/proc/{started}").exists()


def test_pauses_between_starts_grow_to_an_end_and_begin_small_after_a_good_run() -> None:
    pauses = [0.0]
    for _ in range(9):
        pauses.append(next_pause(pauses[-1], ran=0.2))
    assert pauses[1:] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert next_pause(10.0, ran=60) == 0.1


def test_a_start_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    speaker = ExaBgpSpeaker([peer()], tmp_path / "run")
    speaker.start()
    wait(lambda: speaker.last_child_error)
    assert speaker.last_child_error == "exit status 1"
    monkeypatch.setattr("sys.executable", "/nonexistent")
    wait(lambda: "cannot start /nonexistent" in speaker.last_child_error)
    speaker.stop(5)


def test_without_peers_nothing_is_started_and_routes_say_so(tmp_path: Path) -> None:
    speaker = ExaBgpSpeaker([], tmp_path / "run")
    speaker.start()
    speaker.set(by_prefix([route("203.0.113.1/32")]))
    assert speaker.route_state(PREFIX) is RouteState.NO_NEXT_HOP
    assert speaker.peers() == ()
    assert speaker.settled
    speaker.stop(1)
    assert not (tmp_path / "run").exists()


def closed(number: int = 1, **more: Any) -> Peer:
    """A peer at a closed port of the loopback device."""
    return peer(f"127.0.0.{number}", local_address=ip_address("127.0.0.1"), port=9, **more)


def test_peers_are_taken_over_by_the_exabgp_that_runs_though_routes_wait_for_a_peer_that_is_down(
    speaker: ExaBgpSpeaker, caplog: pytest.LogCaptureFixture
) -> None:
    speaker.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: speaker.settled)
    first = pid(speaker)
    with caplog.at_level(logging.INFO):
        speaker.set_peers([closed(2), closed(1, password="other", hold_time=9)])
    assert [str(status.address) for status in speaker.peers()] == ["127.0.0.2", "127.0.0.1"]
    assert speaker.route_state(PREFIX) is RouteState.PENDING
    assert [record.getMessage() for record in caplog.records] == [
        "peer 127.0.0.2 AS65010: added",
        "peer 127.0.0.1 AS65010: changed (password, hold_time), its session is reset",
    ]
    wait(lambda: speaker._dialogue._unproven is None and speaker.settled)
    assert speaker.route_state(PREFIX) is RouteState.HANDED_OVER
    assert pid(speaker) == first


def test_peers_that_differ_in_next_hops_only_keep_their_session(
    speaker: ExaBgpSpeaker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        speaker.set_peers([closed(password="s3cret", next_hop4=ip_address("198.51.100.7"))])
    assert caplog.messages == ["peer 127.0.0.1 AS65010: changed (next_hop4 198.51.100.7), its session stays"]
    caplog.clear()
    speaker.set_peers([closed(password="s3cret", next_hop4=ip_address("198.51.100.7"))])
    assert caplog.messages == []


def test_exabgp_runs_while_there_are_peers_and_only_then(tmp_path: Path) -> None:
    speaker = ExaBgpSpeaker([], tmp_path / "run")
    speaker.start()
    speaker.set(by_prefix([route("203.0.113.1/32")]))
    speaker.set_peers([closed()])
    wait(lambda: speaker.route_state(PREFIX) is RouteState.HANDED_OVER)
    ended = pid(speaker)
    speaker.set_peers([])
    assert speaker.route_state(PREFIX) is RouteState.NO_NEXT_HOP
    wait(lambda: speaker.settled)
    wait(lambda: not Path(f"/proc/{ended}").exists())
    assert speaker.last_child_error == ""
    speaker.set_peers([closed()])
    wait(lambda: speaker.route_state(PREFIX) is RouteState.HANDED_OVER)
    speaker.stop(5)
    assert speaker._child.pid is None


def test_peers_that_come_back_while_exabgp_ends_get_another(speaker: ExaBgpSpeaker) -> None:
    speaker.set(by_prefix([route("203.0.113.1/32")]))
    wait(lambda: speaker.settled)
    first = pid(speaker)
    speaker.set_peers([])
    gevent.sleep(0.01)
    speaker.set_peers([closed(2)])
    wait(lambda: speaker._child.pid not in (None, first) and speaker.settled)
    assert speaker.route_state(PREFIX) is RouteState.HANDED_OVER
    assert [str(status.address) for status in speaker.peers()] == ["127.0.0.2"]


def test_a_stop_while_exabgp_ends_for_want_of_peers_leaves_nothing(speaker: ExaBgpSpeaker, tmp_path: Path) -> None:
    wait(lambda: speaker._child.pid)
    started = pid(speaker)
    speaker.set_peers([])
    speaker.stop(5)
    assert not Path(f"/proc/{started}").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"exabgp.log"}


def test_peers_that_cannot_be_set_change_nothing(speaker: ExaBgpSpeaker, tmp_path: Path) -> None:
    before = speaker.peers()
    with pytest.raises(PeerError, match="twice"):
        speaker.set_peers([closed(), closed()])
    (tmp_path / "run" / "exabgp.new").mkdir()
    with pytest.raises(RunDirectoryError, match="new: Is a directory"):
        speaker.set_peers([closed(2)])
    assert speaker.peers() == before
    (tmp_path / "run" / "exabgp.new").rmdir()
    speaker.set_peers([closed(2)])
    wait(lambda: speaker._dialogue._unproven is None and speaker.settled)


def test_faults_of_the_settings_are_told_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="twice"):
        ExaBgpSpeaker([peer(), peer()], tmp_path / "run")
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(RunDirectoryError, match="0700"):
        ExaBgpSpeaker([peer()], tmp_path / "open").start()
