from __future__ import annotations

import signal

import pytest

from consulcast.executor.bgp.life import Heart, Life
from consulcast.executor.bgp.relay import Lease


@pytest.mark.parametrize(("lease", "pause"), [(2, 0.5), (10, 2.5), (600, 2.5), (0, 2.5)])
def test_signs_of_life_come_four_times_in_a_lease_and_not_too_rarely(lease: float, pause: float) -> None:
    assert Life(lease).pause == pause


def test_only_with_graceful_restart_is_exabgp_asked_to_end() -> None:
    assert Life().death_signal is signal.SIGKILL
    assert Life(graceful_restart=120).death_signal is signal.SIGTERM


def test_a_heart_that_missed_the_lease_says_so_for_a_moment() -> None:
    heart = Heart(10, 0)
    heart.beat(2.5)
    assert heart.missed(12.5) == 0
    assert heart.missed(14) == 11.5, "it has not even beaten again"
    heart.beat(14)
    assert heart.missed(14.5) == 11.5
    assert heart.missed(15.5) == 0


def test_without_a_lease_nothing_is_missed() -> None:
    heart = Heart(0, 0)
    assert heart.missed(1e6) == 0
    heart.beat(1e6)
    assert heart.missed(1e6) == 0


def test_a_lease_runs_out_unless_it_is_renewed() -> None:
    lease = Lease(10, now=0)
    assert lease.left(4) == 6
    assert not lease.over(9.9)
    assert lease.over(10.1)
    lease.renew(10.1)
    assert not lease.over(20)
    assert lease.left(25) == 0


def test_who_looks_much_too_late_has_slept_and_gives_time() -> None:
    lease = Lease(10, now=0)
    assert not lease.over(60)
    assert lease.left(60) == 5
    assert lease.over(65.1)


def test_a_lease_of_zero_never_runs_out() -> None:
    lease = Lease(0, now=0)
    assert lease.left(1e6) is None
    assert not lease.over(1e6)
