"""NAT by legacy iptables, the daemon's side: python-iptables runs in a child, one run per family, and never in here.

It swaps the whole process's standard output, may exit() the process, and cannot do both families in one.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gevent.pool import Group

from consulcast import capabilities
from consulcast.capabilities import Capability
from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat import command, rules
from consulcast.executor.nat.backend import Made, NatError
from consulcast.executor.nat.command import CommandError
from consulcast.model import Translation

log = logging.getLogger(__name__)

_TIMEOUT = 10.0  # seconds; the child itself waits 5 s for the lock
_CHILD = "consulcast.executor.nat.iptables_child"
_NAMES = {4: Path("/proc/net/ip_tables_names"), 6: Path("/proc/net/ip6_tables_names")}
_SAVE = {4: "iptables-legacy-save", 6: "ip6tables-legacy-save"}
_NOTHING: frozenset[Translation] = frozenset()


def legacy_nat_tables() -> set[int]:
    """Tell of which IP versions the kernel has a legacy nat table; asking iptables itself would make one."""
    return {version for version, names in _NAMES.items() if _has_nat(names)}


def unreadable() -> str:
    """Tell what hides from us whether there are legacy tables; empty: nothing does."""
    hidden = [str(names) for names in _NAMES.values() if names.exists() and not os.access(names, os.R_OK)]
    return f"{hidden[0]} can be read by root and its group only: see docs/privileges.md" if hidden else ""


def legacy_rules(version: int) -> str:
    """Tell what the legacy nat table has, as ``iptables-save`` words it. A child of 2 ms."""
    path = command.find(_SAVE[version])
    if path is None:
        return ""
    try:
        return command.run([path, "-t", "nat"], "", _TIMEOUT).output
    except CommandError as error:
        tell_unseen(str(error))
        return ""


@functools.lru_cache(maxsize=16)
def tell_unseen(why: str) -> None:
    """Log, once for each reason, why it cannot be seen what NAT the host has."""
    log.warning("what NAT rules the host has cannot be seen: %s", why, extra={"reason": "nat-unseen", "detail": why})


class Iptables:
    """Our chain in the legacy nat tables."""

    name = "iptables"

    def __init__(self) -> None:
        self._known: dict[int, frozenset[Translation] | None] = {}  # by IP version, as last read or made

    def missing(self) -> str:
        """Tell whether python-iptables is installed, and what our user lacks."""
        if not importlib.util.find_spec("iptc"):
            return "no Python module iptc: install python-iptables"
        if not capabilities.has(Capability.NET_RAW):
            return f"{Capability.NET_RAW} is missing, for its raw socket: see docs/privileges.md"
        return unreadable()

    def leftover(self) -> bool:
        """Whether a legacy nat table names our chain; where there is none, nothing is asked."""
        return any(rules.CHAIN in legacy_rules(version) for version in legacy_nat_tables())

    def read(self) -> frozenset[Translation] | None:
        """Read both families' chains; a family without a nat table has none of ours. Raises ``NatError``."""
        answers = self._ask(dict.fromkeys(legacy_nat_tables(), "read"))
        for answer in answers.values():
            if isinstance(answer, NatError):
                raise answer
        self._known = {version: found for version, found in answers.items() if not isinstance(found, NatError)}
        if None in self._known.values():
            return None
        return _NOTHING.union(*(found or () for found in self._known.values()))

    def apply(self, wanted: frozenset[Translation]) -> Made:
        """Make each family's chain exactly this, in one commit; a family that has and had none is not touched.

        Raises ``NatError`` when no family's could be made.
        """
        mine = {version: frozenset(item for item in wanted if item.vip.version == version) for version in _NAMES}
        # an unreadable chain (None) and an absent one (not there) are both not `_NOTHING`
        asked = {
            version: json.dumps([rules.written(item) for item in rules.in_order(items)])
            for version, items in mine.items()
            if items or self._known.get(version, _NOTHING) != _NOTHING
        }
        failures: dict[Translation, str] = {}
        errors = []
        for version, answer in self._ask(asked).items():
            if isinstance(answer, NatError):
                errors.append(answer)
                failures |= dict.fromkeys(mine[version] - (self._known.get(version) or _NOTHING), str(answer))
            else:
                self._known[version] = answer
        if errors and len(errors) == len(asked):
            raise errors[0]
        trouble = str(errors[0]) if errors else ""
        return Made(_NOTHING.union(*(found or () for found in self._known.values())), failures, trouble)

    def remove(self) -> None:
        """Delete our chains and what leads to them. Raises ``NatError``."""
        for answer in self._ask(dict.fromkeys(legacy_nat_tables(), "remove")).values():
            if isinstance(answer, NatError):
                raise answer
        self._known = {}

    def start(self, on_change: Callable[[bool], None], spawn: Spawn) -> None:
        """Do nothing: legacy iptables tells nobody of changes; the sweep sees them."""

    def stop(self) -> None:
        """Do nothing."""

    def _ask(self, asked: Mapping[int, str]) -> dict[int, frozenset[Translation] | NatError | None]:
        """Run a child per family, side by side."""
        return dict(zip(asked, Group().map(_run_child, asked.items()), strict=True))


def _run_child(asked: tuple[int, str]) -> frozenset[Translation] | NatError | None:
    version, stdin = asked
    # No compiler in PATH, the standard library's distutils: python-iptables is imported in 35 ms then, else in 130.
    environment = {
        "PATH": "/usr/sbin:/sbin",
        "SETUPTOOLS_USE_DISTUTILS": "stdlib",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")))),
        **{name: os.environ[name] for name in ("PYTHONHOME", "LD_LIBRARY_PATH") if name in os.environ},
    }
    try:
        done = command.run([sys.executable, "-P", "-m", _CHILD, str(version)], stdin, _TIMEOUT, environment)
        if done.status:
            return NatError(f"iptables, IPv{version}: {done.why}")
        found = json.loads(done.output)
        return None if found is None else frozenset(map(rules.read, found))
    except (CommandError, ValueError) as error:
        return NatError(f"iptables, IPv{version}: {error}")


def _has_nat(names: Path) -> bool:
    try:
        return "nat" in names.read_text().split()
    except OSError:
        return False
