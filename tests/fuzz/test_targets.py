"""A few cases of every target; `make fuzz` runs as many as are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from consulcast.web import handler
from tests.fuzz import run, web
from tests.fuzz.every import TARGETS
from tests.fuzz.target import Slow, bounded


@pytest.fixture(autouse=True)
def _no_server_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(handler, "LINGER_TIME", 0.05)
    yield
    while web.CONNECTED:
        web.CONNECTED.pop().close()


@pytest.mark.parametrize("name", run.NAMES)
def test_whatever_comes_ends_in_a_value_or_in_the_documented_error(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds:
        target.once(seed)

    @settings(
        max_examples=40,
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def check(case: Any) -> None:
        target.once(case)

    check()


def test_every_target_is_run_and_good_cases_get_through() -> None:
    assert set(run.NAMES) == set(TARGETS)
    assert set(run.OF_BYTES) == {name for name, target in TARGETS.items() if target.read}
    for name, end in {
        "tags": "app",
        "config": "config",
        "state": "2 held, 1 kept unread",
        "tokens": "2 tokens",
        "consul": "answer 0",
        "events": "Snapshot",
        "dns": "passing",
    }.items():
        ends = {TARGETS[name].once(seed) for seed in TARGETS[name].seeds}
        assert end in ends, (name, ends)


def _for_ever() -> None:
    while True:
        pass


def test_what_takes_for_ever_is_told() -> None:
    with pytest.raises(Slow), bounded(0.05):
        _for_ever()
