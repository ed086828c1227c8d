"""Consul in a container, through testcontainers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from docker.errors import APIError
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from integration.lab.consul import Consul, agent_config
from integration.lab.engine import Engine, consul_image
from integration.lab.host import Host
from integration.lab.relay import Relay
from integration.lab.wait import until

testcontainers_config.ryuk_disabled = True  # its image would have to be pulled; the lab removes what it starts


class ConsulContainer(Consul):
    """A Consul agent in a container that answers on a host's loopback, like ``ConsulAgent``."""

    def __init__(
        self,
        engine: Engine,
        host: Host,
        node: str = "",
        *,
        ip: str = "127.0.0.1",
        port: int = 8500,
        persistent: bool = False,
        config: Mapping[str, object] | None = None,
        token: str = "",
    ) -> None:
        self.host, self.node, self.ip, self.port, self.token = host, node or host.name, ip, port, token
        settings = {**agent_config(self.node, "0.0.0.0", 8500, persistent=persistent), **(config or {})}
        if persistent:
            settings["data_dir"] = "/consul/data"
        mode = [] if persistent else ["-dev"]
        self._engine = engine
        self._container = DockerContainer(consul_image(engine), docker_client_kw={"timeout": 30, **engine.where()})
        if engine.host:
            self._container.with_kwargs(network="bridge")  # not what it would find on this machine's own engine
        self._container.with_command(["agent", *mode, "-hcl", json.dumps(settings)])
        self._container.with_exposed_ports("8500/tcp")
        host.lab.on_exit(self.close)
        self._container.start()
        self._published = self._look_up()
        self._relay = Relay(host, (ip, port), engine.host, lambda: self._published)
        until(self.ready, 30.0, "Consul in its container is ready", every=0.02)

    def start(self) -> None:
        """Start the same container again and wait until it has a leader and knows its own node."""
        self._container.get_wrapped_container().start()
        self._published = self._look_up()  # a published port is another one after each start
        until(self.ready, 30.0, "Consul in its container is ready", every=0.02)

    def stop(self) -> None:
        """End it in order."""
        self._container.get_wrapped_container().stop(timeout=10)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._container.get_wrapped_container().kill()

    def pause(self) -> None:
        """Freeze it: it takes connections and answers nothing."""
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._container.get_wrapped_container().unpause()

    def close(self) -> None:
        """Remove the container."""
        if hasattr(self, "_relay"):
            self._relay.close()
        with contextlib.suppress(APIError):
            log = self._container.get_wrapped_container().logs()
            self.host.lab.log(f"{self.host.name}-consul-container").write_bytes(log)
        self._container.stop()

    def _look_up(self) -> tuple[str, int]:
        """Return where the container's port is published, seen from the engine's host."""
        if self._engine.host is None:
            return self._container.get_container_host_ip(), self._container.get_exposed_port(8500)
        client = self._container.get_docker_client()
        return "127.0.0.1", int(client.port(self._container.get_container_id(), 8500))
