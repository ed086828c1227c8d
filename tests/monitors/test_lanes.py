"""Those that hang take nothing from those that do not."""

from __future__ import annotations

import time

import gevent

from consulcast.monitors.lanes import Lanes, Turn


def hang(turn: Turn, seconds: float = 60.0) -> None:
    with turn:
        gevent.sleep(seconds)


def test_what_is_slow_leaves_the_quick_lane() -> None:
    lanes = Lanes(1, 2, patience=0.02)
    hanging = [gevent.spawn(hang, Turn(lanes)) for _ in range(2)]
    gevent.sleep(0)
    began = time.monotonic()
    with Turn(lanes):
        assert 0.02 <= time.monotonic() - began < 1.0
    gevent.killall(hanging)
    assert (lanes.quick.counter, lanes.slow.counter) == (1, 2)


def test_what_was_slow_begins_on_the_slow_lane_and_what_was_quick_again_on_the_quick_one() -> None:
    lanes = Lanes(1, 1, patience=0.01)
    turn = Turn(lanes)
    hang(turn, 0.03)
    with turn:
        assert (lanes.quick.counter, lanes.slow.counter) == (1, 0)
    with turn:
        assert (lanes.quick.counter, lanes.slow.counter) == (0, 1)
    assert (lanes.quick.counter, lanes.slow.counter) == (1, 1)


def test_with_the_slow_lane_full_the_known_slow_wait_and_the_quick_do_not() -> None:
    lanes = Lanes(1, 1, patience=0.01)
    known = [Turn(lanes) for _ in range(5)]
    for turn in known:
        hang(turn, 0.02)
    hanging = [gevent.spawn(hang, turn) for turn in known]
    gevent.sleep(0.01)
    began = time.monotonic()
    with Turn(lanes):
        assert time.monotonic() - began < 0.05
    gevent.killall(hanging)
    assert (lanes.quick.counter, lanes.slow.counter) == (1, 1)


def test_what_is_killed_while_it_waits_holds_no_place() -> None:
    lanes = Lanes(1, 1)
    with Turn(lanes):
        waiting = gevent.spawn(hang, Turn(lanes))
        gevent.sleep(0)
        waiting.kill()
    assert (lanes.quick.counter, lanes.slow.counter) == (1, 1)
