"""When to look, and how many looks count."""

from __future__ import annotations

import itertools

from consulcast import notation
from consulcast.model import Health
from consulcast.monitors import schedule
from consulcast.monitors.counter import Counter
from consulcast.monitors.schedule import Defaults

DEFAULTS = Defaults(interval=10.0, timeout=5.0)
PASSING, WAVERING = Counter(Health.PASSING), Counter(Health.PASSING, against=1)


def test_a_closed_listener_is_certain_a_failed_probe_is_confirmed() -> None:
    assert schedule.pace(notation.monitor("port:tcp:53"), DEFAULTS).fall == 1
    for text in ("exec:true", "tcp:h:80", "http:http://h/", "dns:h:example.org"):
        pace = schedule.pace(notation.monitor(text), DEFAULTS)
        assert (pace.interval, pace.timeout, pace.rise, pace.fall) == (10.0, 5.0, 1, 2)


def test_a_monitors_own_numbers_win() -> None:
    pace = schedule.pace(notation.monitor("exec:true;interval=1s;timeout=2s;rise=3;fall=4"), DEFAULTS)
    assert (pace.interval, pace.timeout, pace.rise, pace.fall) == (1.0, 2.0, 3, 4)


def test_first_failure_is_confirmed_soon_unless_fall_is_written() -> None:
    for text, seconds in (("exec:true", 1.0), ("exec:true;fall=2", 10.0), ("exec:true;interval=300ms", 0.3)):
        spec = notation.monitor(text)
        assert schedule.next_look(spec, schedule.pace(spec, DEFAULTS), WAVERING, looks=5) == seconds


def test_looks_are_an_interval_apart_after_a_first_pause_of_the_monitors_own() -> None:
    specs = [notation.monitor(f"exec:{number}") for number in range(100)]
    pace = schedule.pace(specs[0], DEFAULTS)
    first = sorted(schedule.next_look(spec, pace, PASSING, looks=1) for spec in specs)
    assert all(0 < pause <= 10.0 for pause in first)
    assert max(later - earlier for earlier, later in itertools.pairwise(first)) < 1.0
    assert schedule.next_look(specs[0], pace, PASSING, looks=2) == 10.0


def test_first_looks_are_close_together_and_within_the_interval() -> None:
    assert schedule.first_look(0, 1, 10.0) == 0.0
    assert schedule.first_look(199, 200, 10.0) < 1.0
    assert schedule.first_look(9999, 10000, 10.0) < 10.0
