"""Consul as the lab uses it: the API calls of a test, and a local agent that is the real binary."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from integration.lab.host import Host
from integration.lab.process import Process
from integration.lab.wait import until


class ConsulError(RuntimeError):
    """Consul answered with a status other than 200. ``status`` is it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


class HostConnection(http.client.HTTPConnection):
    """An HTTP connection that a host makes, not the machine."""

    def __init__(self, origin: Host, address: str, port: int, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self._origin = origin

    def connect(self) -> None:
        """Connect from that host."""
        with self._origin.inside():
            super().connect()


class Consul(ABC):
    """A Consul agent that answers at ``address`` on one host, and the calls that tests make."""

    host: Host
    node: str
    token = ""  # sent with every call, if set
    ip = "127.0.0.1"
    port = 8500

    @property
    def address(self) -> str:
        """Where the agent answers, seen from its host: ``127.0.0.1:8500``."""
        return f"{self.ip}:{self.port}"

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it has a leader and knows its own node."""

    @abstractmethod
    def stop(self) -> None:
        """End it in order."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a crash would."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze it: it takes connections and answers nothing."""

    @abstractmethod
    def resume(self) -> None:
        """Let it go on after ``pause``."""

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or crash) it and start it again.

        What an agent without ``persistent`` knew is lost; its index starts small.
        """
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def call(self, method: str, path: str, body: object = None, *, timeout: float = 10.0, **query: str) -> Any:
        """Make one API call (``/v1`` is put before the path) and return the parsed answer. Raises ``ConsulError``."""
        target = "/v1" + urllib.parse.quote(path) + ("?" + urllib.parse.urlencode(query) if query else "")
        connection = agent_connection(self, timeout)
        with contextlib.closing(connection):
            headers = {"X-Consul-Token": self.token} if self.token else {}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read()
        if response.status != 200:
            raise ConsulError(response.status, data.decode(errors="replace").strip())
        return json.loads(data) if data.strip() else None

    def register(
        self,
        name: str,
        tags: Sequence[str] = (),
        *,
        id: str = "",  # Consul's own word
        check: Mapping[str, object] | None = None,
        checks: Sequence[Mapping[str, object]] = (),
        port: int = 0,
        **more: object,
    ) -> None:
        """Register a service, or change it. ``check``: as in Consul's API; ``TTL`` is given by ``ttl_check``."""
        body: dict[str, object] = {"Name": name, "ID": id or name, "Tags": list(tags), **more}
        if port:
            body["Port"] = port
        if check is not None or checks:
            body["Checks"] = [*([check] if check is not None else []), *checks]
        self.call("PUT", "/agent/service/register", body)

    def deregister(self, service_id: str) -> None:
        """Remove a service."""
        self.call("PUT", f"/agent/service/deregister/{service_id}")

    def update_check(self, status: str, check_id: str = "", *, service_id: str = "", output: str = "") -> None:
        """Set a TTL check, named by its id or by its service, to ``passing``, ``warning`` or ``critical``."""
        self.call(
            "PUT", f"/agent/check/update/{check_id or f'service:{service_id}'}", {"Status": status, "Output": output}
        )

    def maintenance(self, enable: bool, service_id: str = "", reason: str = "") -> None:
        """Put a service, or the whole node, into maintenance mode, or end it."""
        path = f"/agent/service/maintenance/{service_id}" if service_id else "/agent/maintenance"
        self.call("PUT", path, enable=str(enable).lower(), reason=reason)

    def services(self) -> dict[str, Any]:
        """Return the services of the own node, by id, as the catalog has them."""
        answer = self.call("GET", f"/catalog/node/{self.node}")
        return dict(answer["Services"]) if answer else {}

    def checks(self) -> list[dict[str, Any]]:
        """Return the checks of the own node."""
        return list(self.call("GET", f"/health/node/{self.node}"))

    def ready(self) -> bool:
        """Tell whether there is a leader and the own node is in the catalog."""
        with contextlib.suppress(OSError, http.client.HTTPException, ConsulError, ValueError):
            return bool(self.call("GET", "/status/leader") and self.call("GET", f"/catalog/node/{self.node}"))
        return False


def ttl_check(status: str = "passing", *, check_id: str = "", ttl: str = "600s") -> dict[str, str]:
    """Return a check that only ``update_check`` changes."""
    return {"TTL": ttl, "Status": status, **({"CheckID": check_id} if check_id else {})}


class ConsulAgent(Consul):
    """The local ``consul`` binary, on one host.

    As ``-dev`` (ready in 0.1 s, knows nothing after a restart); with ``persistent`` as a single server with a
    data directory (2 s), which keeps its services and its index. ``config`` is merged into the agent's configuration.
    Without ``wait`` it is started only: one that needs others to have a leader.
    """

    def __init__(
        self,
        host: Host,
        node: str = "",
        *,
        ip: str = "127.0.0.1",
        port: int = 8500,
        persistent: bool = False,
        config: Mapping[str, object] | None = None,
        token: str = "",
        wait: bool = True,
    ) -> None:
        self.host, self.node, self.ip, self.port, self.token = host, node or host.name, ip, port, token
        self._persistent = persistent
        self._files = host.lab.dir / f"consul-{host.name}-{ip}-{port}"
        self._files.mkdir()
        settings = {**agent_config(self.node, ip, port, persistent=persistent), **(config or {})}
        if persistent:
            settings["data_dir"] = str(self._files / "data")
        (self._files / "config.json").write_text(json.dumps(settings))
        self._process: Process | None = None
        self.launch()
        if wait:
            self.wait_ready()

    @property
    def process(self) -> Process:
        """The running agent."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it and wait until it has a leader and knows its own node."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it and wait for nothing."""
        mode = [] if self._persistent else ["-dev"]
        files = f"-config-file={self._files / 'config.json'}"
        self._process = self.host.spawn("consul", "agent", *mode, files, name=f"consul-{self.node}")

    def wait_ready(self) -> None:
        """Wait until it has a leader and knows its own node."""
        until(self._ready, 30.0, f"Consul on {self.host.name} is ready", every=0.02)

    def stop(self) -> None:
        """End it in order, as a service manager would (a leave, if it is configured so)."""
        self.process.stop()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze it: it takes connections and answers nothing."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self.process.resume()

    def reconfigure(self, more: Mapping[str, object]) -> None:
        """Change its configuration and have it read again, services and checks too: all of them at once.

        Those that were registered over the API are lost, unless it is ``persistent``.
        """
        file = self._files / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **more}))
        self.call("PUT", "/agent/reload", timeout=60.0)

    def forget(self) -> None:
        """Throw a stopped agent's data directory away: the next start knows nothing."""
        shutil.rmtree(self._files / "data", ignore_errors=True)

    def _ready(self) -> bool:
        if not self.process.alive:
            raise RuntimeError(f"Consul on {self.host.name} has ended:\n{self.process.text()[-2000:]}")
        return self.ready()


def agent_connection(consul: Consul, timeout: float = 10.0) -> http.client.HTTPConnection:
    """Return a connection to an agent, made on its host when it is first used."""
    return HostConnection(consul.host, consul.ip, consul.port, timeout)


def agent_config(node: str, ip: str, port: int, *, persistent: bool) -> dict[str, object]:
    """Return the configuration of one agent that is its own datacenter."""
    settings: dict[str, object] = {
        "node_name": node,
        "client_addr": ip,
        "bind_addr": "127.0.0.1",
        "ports": {"http": port, "dns": -1, "grpc": -1},
        "disable_update_check": True,
        "disable_remote_exec": True,
        "log_level": "INFO",
    }
    if persistent:
        settings |= {"server": True, "bootstrap_expect": 1, "performance": {"raft_multiplier": 1}}
    return settings
