"""Which of the two ways of making NAT a host gets: the one that it uses itself, and never both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from consulcast.executor.nat import command
from consulcast.executor.nat.backend import Backend, NatError
from consulcast.executor.nat.command import CommandError
from consulcast.executor.nat.iptables import legacy_nat_tables, legacy_rules, tell_unseen, unreadable
from consulcast.executor.nat.rules import CHAIN

log = logging.getLogger(__name__)

_TIMEOUT = 5.0


class Backends:
    """The ways there are, and the choice among them."""

    def __init__(self, setting: str, nft: Backend, iptables: Backend, legacy: Callable[[], bool] | None = None) -> None:
        self._setting = setting  # auto, nft or iptables
        self._nft, self._iptables = nft, iptables
        self._legacy = legacy or host_uses_legacy_iptables

    def leftover(self) -> bool:
        """Whether a former run may have left something, of either kind."""
        return self._nft.leftover() or self._iptables.leftover()

    def choose(self) -> Backend:
        """Choose what can be had, and remove what a former run left in the other. Raises ``NatError``."""
        complaints = []
        candidates = self._candidates()
        for backend in candidates:
            why = backend.missing()
            if not why:
                try:
                    backend.read()
                except NatError as error:
                    why = str(error)
            if not why:
                other = self._iptables if backend is self._nft else self._nft
                _clear(other)
                log.info("NAT is made with %s", backend.name, extra={"backend": backend.name, "reason": "nat-backend"})
                return backend
            complaints.append(f"{backend.name}: {why}")
        raise NatError("; ".join(complaints))

    def _candidates(self) -> Sequence[Backend]:
        if self._setting == "nft":
            return (self._nft,)
        if self._setting == "iptables":
            return (self._iptables,)
        return (self._iptables, self._nft) if self._legacy() else (self._nft, self._iptables)


def _clear(other: Backend) -> None:
    if other.leftover():
        try:
            other.remove()
        except NatError as error:
            extra = {"backend": other.name, "reason": "nat-leftover"}
            log.warning("what a former run may have left in %s cannot be removed: %s", other.name, error, extra=extra)


def host_uses_legacy_iptables() -> bool:
    """Whether the host's NAT is legacy iptables: its ``iptables`` is, or somebody has legacy rules in its nat table."""
    version = _version()  # "iptables v1.8.9 (nf_tables)"; before 1.8 there was only legacy
    if version and "nf_tables" not in version:
        return True
    if unreadable():
        tell_unseen(f"it is taken to have no legacy ones: {unreadable()}")
    return any(
        line.startswith("-A ") and CHAIN not in line
        for family in legacy_nat_tables()  # asking where there is none would make one
        for line in legacy_rules(family).splitlines()
    )


def _version() -> str:
    path = command.find("iptables")
    if path is None:
        return ""
    try:
        return command.run([path, "--version"], "", _TIMEOUT).output
    except CommandError as error:
        tell_unseen(str(error))
        return ""
