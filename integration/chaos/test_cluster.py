"""Each fault of the servers alone, where the host's agent is a client of three."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from integration.chaos.catalogue import WEIGHTS
from integration.chaos.consul_faults import ConsulFault
from integration.chaos.fault import Fault
from integration.chaos.service_faults import CheckCritical, Deregistered, MassDeregistered
from integration.chaos.step import Steps
from integration.chaos.world import World
from integration.lab import Lab

OF_CONSUL = [kind for kind in WEIGHTS if issubclass(kind, ConsulFault) and kind.__name__ != "WrongAnswers"]


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    with Lab() as lab:
        yield Steps(World(lab, cluster=True))


@pytest.mark.parametrize("kind", OF_CONSUL, ids=lambda kind: kind.__name__)
def test_no_misfortune_of_consuls_reaches_the_router(steps: Steps, kind: type[Fault]) -> None:
    fault = kind(random.Random(1))
    assert fault.possible(steps.world)
    report = steps.run(fault)
    assert report.wrong == [], steps.world.lab.tail(60)


@pytest.mark.parametrize("kind", [CheckCritical, Deregistered, MassDeregistered], ids=lambda kind: kind.__name__)
def test_what_is_true_reaches_it_in_time(steps: Steps, kind: type[Fault]) -> None:
    report = steps.run(kind(random.Random(1)))
    assert report.wrong == [], steps.world.lab.tail(60)
    assert report.account.withdrawals > 0
