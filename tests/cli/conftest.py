"""The commands against a real server over a daemon without a host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consulcast.cli import cli
from consulcast.registration import Registration
from consulcast.web.door import Settings
from consulcast.web.endpoint import Endpoint
from consulcast.web.listen import Address
from tests.web.daemon import Daemon


@dataclass
class Site:
    """A daemon that listens on a unix socket."""

    daemon: Daemon
    url: str
    endpoint: Endpoint

    def call(self, *arguments: str) -> Result:
        """Run a command that asks this daemon."""
        return CliRunner().invoke(cli, [*arguments, "--url", self.url])

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json").stdout)

    def register(self, name: str, vip: str) -> None:
        self.daemon.register(Registration(name, (vip,)), vouched=True)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    running: list[Endpoint] = []

    def start(settings: Settings | None = None, own: str = "") -> Site:
        daemon, path = Daemon(), tmp_path / "api.sock"
        address = Address.read(f"unix://{path}")
        endpoint = Endpoint(daemon, settings or Settings(listen=(address,)), own)
        endpoint.start()
        running.append(endpoint)
        return Site(daemon, address.text, endpoint)

    yield start
    for endpoint in running:
        endpoint.stop()


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSULCAST_URL", "CONSULCAST_TOKEN_FILE", "CONSULCAST_CA_FILE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
