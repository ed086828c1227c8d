"""When the service manager is told what."""

from __future__ import annotations

import ipaddress

import gevent
import pytest

from consulcast import service
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.model import Reason
from consulcast.sd_notify import Notifier
from consulcast.service import Service, summary


class Words(Notifier):
    """Writes down what it is told."""

    def __init__(self, watchdog: float | None = None) -> None:
        super().__init__({})
        self.watchdog = watchdog
        self.said: list[str] = []

    def _must(self, message: str) -> None:
        self.said.append(message.splitlines()[0])

    def alive(self) -> None:
        self.said.append("WATCHDOG=1")

    def take(self) -> list[str]:
        said, self.said = self.said, []
        return said


class World:
    def __init__(self, watchdog: float | None = None) -> None:
        self.words = Words(watchdog)
        self.complete = False
        self.text = "so"
        self.now = 100.0
        self.service = Service(self.words, lambda: self.complete, lambda: self.text, lambda: self.now)

    def passes(self) -> list[str]:
        self.again = self.service.passed()
        return self.words.take()


def test_ready_is_told_once_when_all_is_as_it_should_be_and_status_when_it_changes() -> None:
    world = World()
    assert world.passes() == ["STATUS=so"]
    assert world.passes() == []
    world.complete, world.text = True, "other"
    assert world.passes() == ["READY=1", "STATUS=other"]
    assert world.passes() == []
    assert world.again is None, "nobody asks for a sign of life, so nobody is woken for one"


def test_consul_that_does_not_answer_does_not_make_the_start_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "READY_ANYWAY", 0.02)
    world = World()
    world.service.start()
    assert world.passes() == ["EXTEND_TIMEOUT_USEC=40000", "STATUS=so"]
    gevent.sleep(0.05)
    assert world.words.take() == ["READY=1"]
    world.complete = True
    assert world.passes() == []


def test_sign_of_life_comes_with_the_loop_at_half_the_time_and_not_before() -> None:
    world = World(watchdog=30.0)
    assert world.passes() == ["STATUS=so", "WATCHDOG=1"]
    assert world.again == 15.0
    world.now += 10.0
    assert world.passes() == []
    assert world.again == 5.0
    world.now += 5.0
    assert world.passes() == ["WATCHDOG=1"]


def test_reload_begins_and_ends_and_is_no_word_before_the_start_is_over() -> None:
    world = World()
    with world.service.reloading():
        pass
    assert world.words.take() == []
    world.complete = True
    world.passes()
    with world.service.reloading():
        assert world.words.take() == ["RELOADING=1"]
    assert world.words.take() == ["READY=1"]


def test_after_the_end_has_begun_nothing_is_said_but_that() -> None:
    world = World()
    world.service.stopping(5.0)
    assert world.words.take() == ["STOPPING=1", "STATUS=withdrawing all"]
    world.complete = True
    assert world.passes() == []


def test_summary_counts_what_is_announced_and_up() -> None:
    router, host = ipaddress.ip_address("198.51.100.2"), ipaddress.ip_address("198.51.100.1")
    peers = [PeerStatus(router, 65010, 65001, host, state, 0.0) for state in (SessionState.UP, SessionState.DOWN)]
    vips = {Reason.ANNOUNCED: 2, Reason.DRAINING: 1}
    assert summary(vips, peers, "Consul fresh") == "2 of 3 VIPs announced, 1 of 2 peers up; Consul fresh"
