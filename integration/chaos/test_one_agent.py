"""Each fault alone, where the host's agent is its own server: what reached the router is what had to."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from integration.chaos.answer_faults import WRONGS, WrongAnswers
from integration.chaos.catalogue import WEIGHTS
from integration.chaos.fault import Fault
from integration.chaos.step import Steps
from integration.chaos.world import World
from integration.lab import Lab

KINDS = [kind for kind in WEIGHTS if not kind.clusters and kind is not WrongAnswers]


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    with Lab() as lab:
        yield Steps(World(lab))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_that_had_not_to_be_comes_of(steps: Steps, kind: type[Fault]) -> None:
    fault = kind(random.Random(1))
    assert fault.possible(steps.world)
    report = steps.run(fault)
    assert report.wrong == [], steps.world.lab.tail(60)


@pytest.mark.parametrize("kind", WRONGS)
def test_no_answer_of_consuls_takes_anything_away(steps: Steps, kind: str) -> None:
    report = steps.run(WrongAnswers(random.Random(1), kind))
    assert report.wrong == [], steps.world.lab.tail(60)
    assert (report.account.announcements, report.account.withdrawals) == (0, 0)
