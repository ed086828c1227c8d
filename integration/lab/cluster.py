"""Consul as a site has it: three servers that elect a leader, and the client agent of one host."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterable, Mapping

from integration.lab.consul import ConsulAgent, ConsulError
from integration.lab.host import Host
from integration.lab.wait import until

ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")


class ConsulCluster:
    """All of it on one host's loopback, each agent at an address of its own; the client at 127.0.0.1:8500.

    ``config`` is merged into every agent's configuration, ``token`` is sent with every call.
    """

    def __init__(self, host: Host, *, config: Mapping[str, object] | None = None, token: str = "") -> None:
        shared = {"retry_join": list(ADDRESSES), "retry_interval": "1s", **(config or {})}
        server = {"bootstrap_expect": len(ADDRESSES), "leave_on_terminate": False, **shared}
        self.servers = tuple(
            ConsulAgent(
                host,
                f"server-{number}",
                ip=address,
                persistent=True,
                config={"bind_addr": address, **_ports(8500), **server},
                token=token,
                wait=False,
            )
            for number, address in enumerate(ADDRESSES, 1)
        )
        for one in self.servers:
            one.wait_ready()
        client = {"server": False, "bootstrap_expect": 0, **_ports(8500), **shared}
        self.client = ConsulAgent(host, persistent=True, config=client, token=token)

    @property
    def leader(self) -> ConsulAgent:
        """The server that leads; waits for one. A frozen server is not asked."""
        return until(self._leader, 30.0, "the servers have a leader", every=0.05)

    def start(self, servers: Iterable[ConsulAgent] = ()) -> None:
        """Start servers again that have ended (all of these, if none are named) and wait until the client knows."""
        for one in servers or self.servers:
            if not one.process.alive:
                one.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the servers have a leader and the client reaches it."""
        self.client.wait_ready()

    def _leader(self) -> ConsulAgent | None:
        for one in self.servers:
            with contextlib.suppress(OSError, http.client.HTTPException, ConsulError, ValueError):
                named = one.call("GET", "/status/leader", timeout=0.5).partition(":")[0]
                found = next((server for server in self.servers if server.ip == named), None)
                if found is not None and found.process.alive:
                    return found
        return None


def _ports(http_port: int) -> dict[str, object]:
    return {"ports": {"http": http_port, "dns": -1, "grpc": -1, "serf_wan": -1}}
