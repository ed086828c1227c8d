"""How late the hub is, and that what takes long lets it go on."""

from __future__ import annotations

import itertools
import socket
import time

import gevent
import pytest
from gevent import socket as green

from consulcast import hub
from consulcast.hub import HubTurns, breathe, in_turns


def _busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_greenlet_that_does_not_yield_is_seen_and_sleep_is_not() -> None:
    turns: list[float] = []
    timing = HubTurns(turns.append)
    timing.start()
    try:
        gevent.sleep(0.2)
        idle = sum(turns)
        gevent.spawn(_busy, 0.05).join()
        gevent.sleep(0.01)
        gevent.spawn_later(0.01, _busy, 0.05).join()
        gevent.sleep(0.01)
        gevent.sleep(0.01)
    finally:
        timing.stop()
    assert idle < 0.2, "the wait for the kernel is not counted"
    assert len([turn for turn in turns if turn >= 0.05]) >= 2
    known = len(turns)
    gevent.sleep(0.01)
    assert len(turns) == known, "stopped"


def test_it_wakes_nobody() -> None:
    timing = HubTurns(lambda seconds: None)
    timing.start()
    try:
        loop = gevent.get_hub().loop
        assert timing._after.ref is False
        assert timing._before.ref is False
        assert loop is not None
    finally:
        timing.stop()


PIECE = 0.0005  # seconds that a piece of work takes at least
PIECES = 300


class Work:
    """Work in pieces, beside a ticker of 2 ms and a reader that each piece sends a byte to; what happened, in order."""

    def __init__(self, jobs: int) -> None:
        self.happened: list[str] = []
        self.done: list[int] = [0] * jobs
        self.when_one_was_done: list[int] = []
        ours, theirs = socket.socketpair()
        with ours, green.socket(theirs.family, theirs.type, fileno=theirs.detach()) as read:
            others: list[gevent.Greenlet[..., None]] = [gevent.spawn(self._tick), gevent.spawn(self._read, read)]
            gevent.sleep(0.01)
            self.happened.clear()
            self._ours = ours
            work = [gevent.spawn(self._do, job, PIECES // jobs) for job in range(jobs)]
            with gevent.Timeout(60):
                gevent.joinall(work, raise_error=True)
            gevent.killall(others)

    def _tick(self) -> None:
        while True:
            gevent.sleep(0.002)
            self.happened.append("tick")

    def _read(self, read: green.socket) -> None:
        while read.recv(4096):
            self.happened.append("read")

    def _do(self, job: int, pieces: int) -> None:
        for _ in in_turns(range(pieces)):
            _busy(PIECE)
            self.happened.append("piece")
            self.done[job] += 1
            self._ours.send(b"x")
        self.when_one_was_done = self.when_one_was_done or self.done.copy()

    def most_between(self, what: str) -> int:
        """How many pieces were done at most before ``what`` was served again."""
        served = (one for one in self.happened if one in ("piece", what))
        return max(len(list(run)) for kind, run in itertools.groupby(served) if kind == "piece")


def test_timers_and_sockets_are_served_during_long_work_in_pieces() -> None:
    """``gevent.sleep(0)`` in the place of ``breathe`` serves them once in 50 pieces and more."""
    work = Work(1)
    assert work.done == [PIECES]
    assert work.most_between("tick") <= 16
    assert work.most_between("read") <= 16


def test_ten_who_work_at_once_are_in_nobodys_way_longer_than_one() -> None:
    work = Work(10)
    assert work.done == [PIECES // 10] * 10
    # one piece of each at the beginning, when none has waited yet; each alone would have its four of a turn
    assert work.most_between("tick") <= 28
    assert work.most_between("read") <= 28
    assert min(work.when_one_was_done) >= PIECES // 10 // 2, "who came first goes first"


def test_who_is_killed_while_it_waits_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SLICE", 0.0)
    seen: list[int] = []

    def one(number: int) -> None:
        breathe()
        seen.append(number)

    ones = [gevent.spawn(one, number) for number in range(3)]
    gevent.sleep(0)
    ones[1].kill(block=False)
    with gevent.Timeout(10):
        gevent.joinall(ones)
    assert seen == [0, 2]


def test_a_turn_that_was_not_long_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(hub, "SLICE", 3600.0)
    gevent.spawn(seen.append, "another")
    breathe()
    assert seen == []
    monkeypatch.setattr(hub, "SLICE", 0.0)
    breathe()
    assert seen == ["another"]
