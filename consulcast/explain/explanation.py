"""What an explanation is made of."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from consulcast.changes import Change

Value: TypeAlias = str | int | float | bool | None


class Finding(StrEnum):
    """Why something is not announced, where no app or VIP of ours has a reason for it."""

    NOT_ENABLED = "not-enabled"  # Consul has the service, and its tags do not ask for anything
    CONSUL_NODE_UNKNOWN = "consul-node-unknown"  # Consul does not know the node that is asked about
    CONSUL_DENIED = "consul-denied"  # the token may not see what it has to
    UNKNOWN_TARGET = "unknown-target"  # nobody asks for it
    NOT_RUNNING = "not-running"  # the daemon does not run
    NOT_REACHABLE = "not-reachable"  # the daemon seems to run, and does not answer


class Stage(StrEnum):
    """The chain, in its order."""

    SOURCE = "source"
    TAGS = "tags"
    POLICY = "policy"
    MONITOR = "monitor"
    SHARING = "sharing"
    DAMPING = "damping"
    ADDRESS = "address"
    NAT = "nat"
    ROUTE = "route"
    PEER = "peer"


class Mark(StrEnum):
    """How a link of the chain is."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # not known, not yet, or not without doubt


class Step(Struct, frozen=True):
    """One link of the chain. ``values`` are the figures behind the words, by stable names."""

    stage: Stage
    about: str  # an app, a VIP, a peer
    mark: Mark
    text: str
    reason: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)


class Cause(Struct, frozen=True):
    """Why it is not announced."""

    reason: str
    text: str


class Explanation(Struct, frozen=True):
    """The answer. ``line`` is its first line; ``reason`` and ``cause`` say why not, or are ``announced`` and ""."""

    target: str
    announced: bool
    line: str
    reason: str
    cause: str
    todo: str
    steps: tuple[Step, ...] = ()
    changes: tuple[Change, ...] = ()


class Unknown(Struct, frozen=True):
    """Nobody asks for the target. ``hints`` say what may be meant, and what is known of Consul."""

    target: str
    reason: str
    line: str
    hints: tuple[str, ...] = ()
