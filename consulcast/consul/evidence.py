"""What a second look found: whether things that left Consul's answer are gone, or only out of sight. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from consulcast.consul.bodies import Check, Service
from consulcast.consul.client import Right
from consulcast.consul.errors import ConsulError


class Doubts(Struct, frozen=True):
    """What left the answers, or got worse in them, and is to be looked for.

    ``catalog``, ``health``: an empty first answer counts, too.
    """

    services: tuple[Service, ...] = ()
    checks: tuple[Check, ...] = ()
    worse: tuple[Check, ...] = ()  # as Consul last said of checks that were held back
    catalog: bool = False
    health: bool = False

    def __bool__(self) -> bool:
        return self.catalog or self.health

    def rights(self, node: str) -> tuple[Right, ...]:
        """The rights without which these things could not be seen."""
        names = [service.name for service in self.services]
        names += [check.service_name for check in (*self.checks, *self.worse) if check.service_id]
        if self.catalog and not self.services:
            names.append("")
        return (Right("node", node), *(Right("service", name) for name in dict.fromkeys(names)))


class Read(Struct, frozen=True):
    """The ids in a consistent read, and whether Consul says that ACLs took something out."""

    ids: Collection[str] = ()
    filtered: bool = False
    apps: Collection[str] = ()  # of these: the services in doubt whose tags make them apps
    ranks: Mapping[str, int] = field(default_factory=dict)  # of checks: how bad each is, 0 the best


class Evidence(Struct, frozen=True):
    """The answers of a second look, each a value or the error that came instead."""

    services: Read | ConsulError = Read()  # the catalog's ServiceIDs
    checks: Read | ConsulError = Read()  # the CheckIDs of the node's health
    agent_services: Collection[str] | ConsulError = ()  # ServiceIDs that the agent itself has
    agent_checks: Collection[str] | ConsulError = ()  # CheckIDs that the agent itself has
    missing_rights: tuple[Right, ...] | ConsulError | None = ()  # None: Consul does not say
    agent_apps: Collection[str] = ()  # of ``agent_services``: those in doubt whose tags make them apps
    agent_ranks: Mapping[str, int] = field(default_factory=dict)  # how bad the agent itself finds its checks

    def against_service(self, service_id: str) -> str:
        """Why a service is not to be believed gone; "" when every witness says that it is."""
        return self._against(self.services, self.agent_services, service_id)

    def against_untagged(self, service_id: str) -> str:
        """Why a service is not to be believed an app no more, though it is still there."""
        read, agent = self.services, self.agent_services
        if isinstance(read, Read):
            read = Read(read.apps, read.filtered)
        return self._against(read, agent if isinstance(agent, ConsulError) else self.agent_apps, service_id)

    def unlisted(self, services: Collection[str]) -> Collection[str]:
        """Which of these the agent does not know: those that the servers still show are about to go."""
        return () if isinstance(self.agent_services, ConsulError) else set(services) - set(self.agent_services)

    def against_check(self, check_id: str) -> str:
        """Why a check is not to be believed gone."""
        return self._against(self.checks, self.agent_checks, check_id)

    def against_worse(self, check_id: str, believed: int) -> str:
        """Why a check is not to be believed worse than it is believed to be.

        An agent that could not reach the servers yet knows better than they do.
        """
        for witness in (self.checks, self.agent_checks):
            if isinstance(witness, ConsulError):
                return str(witness)
        assert isinstance(self.checks, Read)
        if self.checks.ranks.get(check_id, 0) <= believed:
            return "a consistent read does not show it worse"
        if self.agent_ranks.get(check_id, believed + 1) <= believed:
            return "the agent itself does not find it worse"
        return ""

    def against_no_services(self) -> str:
        """Why the node is not to be believed without services."""
        return self._against(self.services, self.agent_services, None)

    def against_no_checks(self) -> str:
        """Why the node is not to be believed without checks."""
        return self._against(self.checks, self.agent_checks, None)

    def _against(self, read: Read | ConsulError, agent: Collection[str] | ConsulError, wanted: str | None) -> str:
        """Why the witnesses do not agree that ``wanted`` is gone; ``None``: that there is nothing at all."""
        rights = self.missing_rights
        if isinstance(rights, ConsulError):
            return str(rights)
        if isinstance(read, ConsulError):
            return str(read)
        if isinstance(agent, ConsulError):
            return str(agent)
        if rights:
            return f"our token may not see it; its policy needs {' and '.join(map(str, rights))}"
        if rights is None and read.filtered:
            return "ACLs hide a part of the answer; the token needs the policy of docs/consul-acl.md"
        if wanted is None:
            return f"the agent has {min(agent)!r} registered" if agent and not read.ids else ""
        if wanted in read.ids:
            return "a consistent read still shows it"
        return "the agent still has it registered" if wanted in agent else ""
