"""The parts of Consul's JSON that matter here, as typed values.

What is not named is not decoded and not compared: neither a check's changing output nor a newer index is a change.
https://developer.hashicorp.com/consul/api-docs/catalog and https://developer.hashicorp.com/consul/api-docs/health
"""

from __future__ import annotations

from msgspec import Struct, field

NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"
OURS = "consulcast:"  # begins the ids of what we publish (publisher.py): no input of ours


class Node(Struct, frozen=True):
    """The node of a catalog answer."""

    name: str = field(name="Node")


class Service(Struct, frozen=True):
    """One instance of a service in the catalog."""

    id: str = field(name="ID")
    name: str = field(name="Service")
    tags: tuple[str, ...] | None = field(name="Tags", default=())
    create_index: int = field(name="CreateIndex", default=0)


class CatalogNode(Struct, frozen=True):
    """Answer of ``/v1/catalog/node/:node``. An unknown node is ``null``, or has no ``Node``."""

    node: Node | None = field(name="Node", default=None)
    services: dict[str, Service] | None = field(name="Services", default=None)


class Check(Struct, frozen=True):
    """One check of ``/v1/health/node/:node``; without ``service_id`` it is the node's."""

    id: str = field(name="CheckID")
    status: str = field(name="Status", default="critical")
    service_id: str = field(name="ServiceID", default="")
    service_name: str = field(name="ServiceName", default="")
    notes: str = field(name="Notes", default="")

    @property
    def maintenance(self) -> bool:
        """Whether this check stands for maintenance mode (``consul maint``), which is a drain and no failure."""
        return self.id == NODE_MAINTENANCE or self.id.startswith(SERVICE_MAINTENANCE)


class AgentService(Struct, frozen=True):
    """One entry of ``/v1/agent/services``; its key is the ServiceID."""

    name: str = field(name="Service", default="")
    tags: tuple[str, ...] | None = field(name="Tags", default=())
    override: bool = field(name="EnableTagOverride", default=False)  # the tags are the catalog's, and follow it late


class AgentConfig(Struct, frozen=True):
    """The part of ``/v1/agent/self`` that names the agent's node."""

    node: str = field(name="NodeName", default="")


class AgentSelf(Struct, frozen=True):
    """Answer of ``/v1/agent/self``, which takes the right ``agent:read``."""

    config: AgentConfig = field(name="Config", default_factory=AgentConfig)


class AgentCheck(Struct, frozen=True):
    """One entry of ``/v1/agent/checks``; its key is the CheckID."""

    status: str = field(name="Status", default="critical")
    service_id: str = field(name="ServiceID", default="")
    output: str = field(name="Output", default="")


class Authorization(Struct, frozen=True):
    """One answer of ``/v1/internal/acl/authorize``."""

    allow: bool = field(name="Allow")
