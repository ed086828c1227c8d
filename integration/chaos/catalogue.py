"""Every fault that a random run draws from, with how often it is drawn; and the drawing."""

from __future__ import annotations

import random

from integration.chaos.answer_faults import WrongAnswers
from integration.chaos.bgp_faults import (
    CablePulled,
    ExabgpFrozen,
    ExabgpKilled,
    PathSilent,
    RelayFrozen,
    RelayKilled,
    RouterKilled,
    RouterRestarted,
    SessionDisabled,
)
from integration.chaos.consul_faults import (
    AgentFrozen,
    AgentKilled,
    AgentRestarted,
    AllServersRestarted,
    CatalogEmptied,
    LeaderFrozen,
    LeaderKilled,
    PolicyWeakened,
    QuorumLost,
    ServiceDeletedBehind,
    SnapshotRestored,
    TokenDeleted,
)
from integration.chaos.daemon_faults import (
    DaemonBusy,
    DaemonFrozen,
    DaemonHung,
    DaemonKilled,
    DaemonReloaded,
    DaemonStopped,
)
from integration.chaos.fault import Fault
from integration.chaos.host_faults import AddressDeleted, ForeignBeside, LoopbackDown, RulesFlushed
from integration.chaos.service_faults import (
    CheckCritical,
    CheckWarning,
    Deregistered,
    Flapping,
    HttpUnregistered,
    ListenerKilled,
    Maintenance,
    MassDeregistered,
    ProbeFails,
    Restarted,
    ScriptFails,
    ScriptHangs,
)
from integration.chaos.world import World

# The cheap ones often, those that cost many seconds seldom.
WEIGHTS: dict[type[Fault], float] = {
    AddressDeleted: 5,
    AgentFrozen: 2,
    AgentKilled: 2,
    AgentRestarted: 1,
    AllServersRestarted: 2,
    CablePulled: 2,
    CatalogEmptied: 2,
    CheckCritical: 8,
    CheckWarning: 3,
    DaemonBusy: 3,
    DaemonFrozen: 3,
    DaemonHung: 1.5,
    DaemonKilled: 5,
    DaemonReloaded: 4,
    DaemonStopped: 3,
    Deregistered: 6,
    ExabgpFrozen: 3,
    ExabgpKilled: 4,
    Flapping: 4,
    ForeignBeside: 3,
    HttpUnregistered: 5,
    LeaderFrozen: 1,
    LeaderKilled: 2,
    ListenerKilled: 8,
    LoopbackDown: 2,
    Maintenance: 5,
    MassDeregistered: 1,
    PathSilent: 0.5,
    PolicyWeakened: 3,
    ProbeFails: 2,
    QuorumLost: 2,
    RelayFrozen: 2,
    RelayKilled: 3,
    Restarted: 4,
    RouterKilled: 2,
    RouterRestarted: 2,
    RulesFlushed: 5,
    ScriptFails: 2,
    ScriptHangs: 1,
    ServiceDeletedBehind: 3,
    SessionDisabled: 3,
    SnapshotRestored: 2,
    TokenDeleted: 2,
    WrongAnswers: 16,
}
TWO = 0.25  # of the steps have a second fault, which overlaps the first


def draw(rng: random.Random, world: World, *, ending_daemon: bool = True) -> tuple[tuple[Fault, ...], bool]:
    """Draw one fault, or two that overlap, and whether the second is healed first."""
    first = _one(rng, world, ending_daemon)
    if rng.random() >= TWO:
        return (first,), False
    for _ in range(20):
        second = _one(rng, world, ending_daemon)
        if first.beside(second):
            return (first, second), rng.random() < 0.5
    return (first,), False


def _one(rng: random.Random, world: World, ending_daemon: bool) -> Fault:
    kinds = [
        kind
        for kind in WEIGHTS
        if (world.cluster is not None or not kind.clusters) and (ending_daemon or not kind.ends_daemon)
    ]
    while True:
        fault = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0](rng)
        if fault.possible(world):
            return fault
