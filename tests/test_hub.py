"""How late the hub is."""

from __future__ import annotations

import time

import gevent

from consulcast.hub import HubTurns


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
