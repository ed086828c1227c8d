"""The second look: all witnesses asked at once, so that a true deregistration costs one more round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import gevent

from consulcast.consul.bodies import AgentCheck, AgentService, CatalogNode, Service
from consulcast.consul.client import Answer, Client, Consistency, Right, nameable
from consulcast.consul.errors import AclsOff, ConsulError, Rejected
from consulcast.consul.evidence import Doubts, Evidence, Read
from consulcast.consul.settings import ConsulSettings
from consulcast.consul.view import wrong_node
from consulcast.monitors.consul import rank
from consulcast.values import replace

T = TypeVar("T")

FEW = 8  # services that are asked for by name …
MANY = 100  # … of so many at least


class SecondLook:
    """Asks the servers (consistently), the agent and the ACLs about what left an answer."""

    def __init__(
        self,
        settings: ConsulSettings,
        node: str,
        is_app: Callable[[Service], bool],
        shown: Callable[[], Mapping[str, Service]] = dict,
        like: Client | None = None,
    ) -> None:
        """``shown``: the node's services as Consul showed them last.

        ``like``: who asks for the same all the time, so that little of an answer is to be decoded.
        """
        self._client, self._node, self._is_app = Client(settings, connections=5, like=like), node, is_app
        self._shown = shown
        self._acls_off = False  # as the running agent says; it reads this setting only when it starts

    def __call__(self, doubts: Doubts) -> Evidence:
        """Look; what a witness fails to say stands in the evidence as its error."""
        rights = _ask(partial(self._missing_rights, doubts.rights(self._node)))
        names = [service.id for service in doubts.services]
        catalog = (_ask(partial(self._services, names)), _ask(self._client.agent_services)) if doubts.catalog else None
        health = (_ask(self._checks), _ask(self._client.agent_checks)) if doubts.health else None
        try:
            evidence = Evidence(missing_rights=rights.get())
            if catalog:
                agent = catalog[1].get()
                evidence = replace(
                    evidence, services=catalog[0].get(), agent_services=agent, agent_apps=self._agent_apps(agent, names)
                )
            if health:
                own = health[1].get()
                evidence = replace(evidence, checks=health[0].get(), agent_checks=own, agent_ranks=_agent_ranks(own))
            return evidence
        finally:
            gevent.killall([rights, *(catalog or ()), *(health or ())], block=False)

    def missing_rights(self, rights: tuple[Right, ...]) -> tuple[Right, ...] | ConsulError | None:
        """Which of the rights our token lacks; ``None`` if Consul does not say."""
        return _or_error(lambda: self._missing_rights(rights))

    def forget(self) -> None:
        """Contact was lost: the agent may be another one when it is back."""
        self._acls_off = False

    def close(self) -> None:
        """Drop the kept connections."""
        self._client.close()

    def _missing_rights(self, rights: tuple[Right, ...]) -> tuple[Right, ...] | None:
        if self._acls_off:
            return ()
        try:
            return self._client.missing_rights(rights)
        except AclsOff:
            self._acls_off = True
            return ()

    def _services(self, names: Sequence[str]) -> Read:
        answer = self._few_services(names)
        if answer is None:
            answer = self._client.catalog_node(self._node, consistency=Consistency.CONSISTENT)
        against = wrong_node(answer.data, self._node)
        if against or answer.data is None:
            raise ConsulError(against)
        services = answer.data.services or {}
        apps = frozenset(name for name in names if name in services and self._is_app(services[name]))
        return Read(services.keys(), answer.filtered, apps)

    def _few_services(self, names: Sequence[str]) -> Answer[CatalogNode | None] | None:
        """Ask for these alone where there are many others, which take Consul tens of milliseconds to list.

        One of those is asked for as well: an answer without it proves nothing. ``None``: all are to be asked for.
        """
        shown = self._shown()
        if not names or len(names) > FEW or len(shown) < MANY or not all(map(nameable, names)):
            return None
        witness = next((name for name in shown if name not in names and nameable(name)), None)
        if witness is None:
            return None
        try:
            answer = self._client.catalog_services(self._node, [*names, witness], consistency=Consistency.CONSISTENT)
        except Rejected:  # it has another idea of filters
            return None
        found = answer.data.services if answer.data is not None else None
        return answer if found and witness in found else None

    def _agent_apps(self, services: Mapping[str, AgentService] | ConsulError, names: Iterable[str]) -> frozenset[str]:
        if isinstance(services, ConsulError):
            return frozenset()
        found = {name: services[name] for name in names if name in services}
        return frozenset(
            name
            for name, service in found.items()
            if not service.override and self._is_app(Service(name, service.name, service.tags))
        )

    def _checks(self) -> Read:
        answer = self._client.health_node(self._node, consistency=Consistency.CONSISTENT)
        ranks = {check.id: rank(check) for check in answer.data or ()}
        return Read(ranks.keys(), answer.filtered, ranks=ranks)


def _agent_ranks(checks: Mapping[str, AgentCheck] | ConsulError) -> Mapping[str, int]:
    return {} if isinstance(checks, ConsulError) else {name: rank(check) for name, check in checks.items()}


def _ask(call: Callable[[], T]) -> gevent.Greenlet[..., T | ConsulError]:
    return gevent.spawn(_or_error, call)


def _or_error(call: Callable[[], T]) -> T | ConsulError:
    try:
        return call()
    except ConsulError as error:
        return error
