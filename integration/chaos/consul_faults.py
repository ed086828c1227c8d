"""Consul's own misfortunes: the agent of the host, its servers, what it knows, and what the token may see.

None of them is about the services, so none may withdraw anything.
"""

from __future__ import annotations

import contextlib
import http.client
from typing import Any

from integration.chaos.fault import CONSUL, Fault
from integration.chaos.fleet import CONSUL as FROM_CONSUL
from integration.chaos.world import GRACE, READ, World
from integration.lab import ConsulAgent, ConsulCluster
from integration.lab.consul import ConsulError, agent_connection

_AFTER = GRACE + 10.0  # seconds: the watches try again within as long as it lasted, and the grace


class ConsulFault(Fault):
    """Consul cannot be asked, or answers what is not so."""

    touches = CONSUL
    back = _AFTER

    @staticmethod
    def cluster(world: World) -> ConsulCluster:
        """The servers."""
        assert world.cluster is not None
        return world.cluster


class AgentFrozen(ConsulFault):
    """The agent takes connections and answers nothing."""

    hold = 1.0

    def inject(self, world: World) -> None:
        world.consul.pause()

    def heal(self, world: World) -> None:
        world.consul.resume()
        world.consul.wait_ready()


class AgentKilled(ConsulFault):
    """The agent crashes and is started again."""

    def inject(self, world: World) -> None:
        world.consul.kill()

    def heal(self, world: World) -> None:
        world.consul.start()


class AgentRestarted(ConsulFault):
    """The agent is restarted in order: a client leaves its datacenter, and comes back with critical checks."""

    back = _AFTER + 5.0

    def inject(self, world: World) -> None:
        world.consul.process.stop(30.0)

    def heal(self, world: World) -> None:
        world.consul.start()


class LeaderFault(ConsulFault):
    """About the server that leads."""

    clusters = True
    leader: ConsulAgent

    @property
    def what(self) -> str:
        return self.leader.node if hasattr(self, "leader") else ""


class LeaderKilled(LeaderFault):
    """The leader crashes; the others elect another."""

    hold = 1.0

    def inject(self, world: World) -> None:
        self.leader = self.cluster(world).leader
        self.leader.kill()

    def heal(self, world: World) -> None:
        self.cluster(world).start([self.leader])


class LeaderFrozen(LeaderFault):
    """The leader answers nobody, and its connections stand: an agent bound to it hangs."""

    hold = 2.5

    def inject(self, world: World) -> None:
        self.leader = self.cluster(world).leader
        self.leader.pause()

    def heal(self, world: World) -> None:
        self.leader.resume()
        self.cluster(world).wait_ready()


class QuorumLost(ConsulFault):
    """Two of three servers are gone: no leader."""

    clusters = True
    hold = 1.0

    def inject(self, world: World) -> None:
        servers = self.cluster(world).servers
        self.gone = self.rng.sample(servers, 2)
        for one in self.gone:
            one.kill()

    def heal(self, world: World) -> None:
        self.cluster(world).start(self.gone)


class AllServersRestarted(ConsulFault):
    """All servers at once, by kill; they may reap nodes that they have not met again."""

    clusters = True

    def inject(self, world: World) -> None:
        for one in self.cluster(world).servers:
            one.kill()

    def heal(self, world: World) -> None:
        self.cluster(world).start()


class PolicyWeakened(ConsulFault):
    """The token may see less: Consul answers 200 with less, and says nothing of it."""

    hold = 2.0
    rules = (
        'node_prefix "" { policy = "read" }',
        'service_prefix "" { policy = "read" }',
        'key "x" { policy = "read" }',
    )

    def inject(self, world: World) -> None:
        self.chosen = self.rng.choice(self.rules)
        world.weaken(self.chosen)

    def heal(self, world: World) -> None:
        world.weaken(READ)

    @property
    def what(self) -> str:
        return self.chosen.partition(" ")[0] if hasattr(self, "chosen") else ""


class TokenDeleted(ConsulFault):
    """The token is not known any more: 403."""

    hold = 2.0

    def inject(self, world: World) -> None:
        world.revoke()

    def heal(self, world: World) -> None:
        world.grant()


class ServiceDeletedBehind(ConsulFault):
    """A service is deleted from the catalog; its agent still has it, and would mend that in a minute or two."""

    def inject(self, world: World) -> None:
        mine = [one for one in world.services.values() if one.source == FROM_CONSUL and one.registered and one.healthy]
        self.service = self.rng.choice(mine).id
        _deregister_behind(world, ServiceID=self.service)

    def heal(self, world: World) -> None:
        world.register(self.service, again=True)

    @property
    def what(self) -> str:
        return getattr(self, "service", "")


class CatalogEmptied(ConsulFault):
    """The whole node is deleted from the catalog."""

    hold = 1.0

    def inject(self, world: World) -> None:
        _deregister_behind(world)

    def heal(self, world: World) -> None:
        _register_all(world)


class SnapshotRestored(ConsulFault):
    """An older state of the servers is restored: a service that is younger than it is not there."""

    hold = 1.0
    needs = frozenset({CONSUL})

    def possible(self, world: World) -> bool:
        return not world.services["late"].registered

    def inject(self, world: World) -> None:
        snapshot = _snapshot(world, "GET")
        world.register("late")
        world.bird.wait_route(world.services["late"].vip)
        _snapshot(world, "PUT", snapshot)

    def heal(self, world: World) -> None:
        _register_all(world)
        world.deregister("late")


def _deregister_behind(world: World, **what: str) -> None:
    with contextlib.suppress(ConsulError):
        world.consul.call("PUT", "/catalog/deregister", {"Node": world.consul.node, **what})


def _register_all(world: World) -> None:
    """Have the agent tell the servers of everything again."""
    for one in list(world.services.values()):
        if one.source == FROM_CONSUL and one.registered:
            status = one.check
            world.register(one.id, again=True)
            if one.ttl and status != "passing":
                world.check(one.id, status)


def _snapshot(world: World, method: str, body: Any = None) -> bytes:
    connection = agent_connection(world.consul, 20.0)
    with contextlib.closing(connection):
        connection.request(method, "/v1/snapshot", body, {"X-Consul-Token": world.consul.token})
        response: http.client.HTTPResponse = connection.getresponse()
        data = response.read()
    if response.status != 200:
        raise ConsulError(response.status, data.decode(errors="replace"))
    return data
