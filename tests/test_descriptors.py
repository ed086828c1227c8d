"""Monitors that hang must not take the descriptors that others need."""

from __future__ import annotations

import resource

import pytest

from consulcast import descriptors
from consulcast.monitors.factory import Resources
from consulcast.policy import DEFAULTS


@pytest.mark.parametrize(("now", "then"), [((1024, 524288), 16384), ((1024, 4096), 4096), ((65536, 65536), 65536)])
def test_limit_is_raised_as_far_as_may_be(now: tuple[int, int], then: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: now)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    descriptors.take_up()
    assert told == [(then, now[1])]


def test_all_monitors_that_sources_may_have_can_hang_at_once() -> None:
    places = Resources().connections.slow.counter
    assert sum(rules.max_monitors for rules in DEFAULTS.values()) <= places < descriptors.MOST - 2048
