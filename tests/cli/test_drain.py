"""Out of service, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from click.testing import CliRunner, Result
from flask import Flask, Response, jsonify, request

from consulcast.cli import cli
from consulcast.cli import drain as module
from consulcast.web.listen import listen
from consulcast.web.server import Server
from tests.cli.conftest import Site

VIP = "203.0.113.10/32"


class Drains:
    """The part of the API that drains, without a daemon."""

    def __init__(self) -> None:
        self.standing: dict[str, Any] = {}
        self.phase: str | None = None  # of the VIP; `None`: another instance keeps it
        self.app = Flask("drains")
        self.app.add_url_rule("/v1/drains", view_func=self.all)
        self.app.add_url_rule("/v1/drains/<path:target>", view_func=self.change, methods=["PUT", "DELETE"])

    def body(self, target: str) -> dict[str, Any]:
        vip = {"vip": VIP, "drain": {"phase": self.phase} if self.phase else None}
        until = "2026-01-01T00:30:00Z" if self.standing[target]["for"] else None
        return {"target": target, "until": until, "vips": [vip]}

    def all(self) -> Response:
        return jsonify(drains=[self.body(target) for target in self.standing])

    def change(self, target: str) -> Any:
        target = VIP if VIP.startswith(target) else target  # the name that it has here
        if request.method == "PUT":
            self.standing[target] = request.get_json()
            return jsonify(self.body(target))
        if target not in self.standing:
            return jsonify(code=404, reason="not-found", message=f"{target!r} is not drained"), 404
        del self.standing[target]
        return Response(status=204)


@pytest.fixture
def drains() -> Drains:
    return Drains()


@pytest.fixture
def url(drains: Drains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(module, "_LOOK", 0.01)
    address = f"unix://{tmp_path}/api.sock"
    server = Server(listen(address), drains.app)
    server.start()
    yield address
    server.stop(timeout=0)


def call(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--url", url])


def test_drain_says_how_long_and_why(drains: Drains, url: str) -> None:
    result = call(url, "drain", "203.0.113.10/32", "--for", "30m", "--reason", "new kernel")
    assert (result.exit_code, result.output) == (0, "drained: 203.0.113.10/32 until 2026-01-01T00:30:00Z\n")
    assert drains.standing == {"203.0.113.10/32": {"for": "30m", "reason": "new kernel"}}


@pytest.mark.parametrize("name", ["consul:dns-1", "a b/c?d#e%f", "dns"])
def test_names_arrive_as_they_are(drains: Drains, url: str, name: str) -> None:
    assert call(url, "drain", name).exit_code == 0
    assert list(drains.standing) == [name]
    assert call(url, "undrain", name).output == f"not drained any more: {name}\n"
    assert drains.standing == {}


def test_the_host_is_drained(drains: Drains, url: str) -> None:
    assert call(url, "drain", "--node").exit_code == 0
    assert list(drains.standing) == ["node"]
    assert call(url, "undrain", "--node").exit_code == 0


@pytest.mark.parametrize("arguments", [(), ("dns", "--node")])
def test_one_target_is_needed(url: str, arguments: tuple[str, ...]) -> None:
    assert call(url, "drain", *arguments).exit_code == 2
    assert call(url, "undrain", *arguments).exit_code == 2


def test_what_is_not_drained_is_not_found(url: str) -> None:
    result = call(url, "undrain", "dns")
    assert result.exit_code == 3
    assert "'dns' is not drained" in result.output


def test_what_is_not_here_is_drained_only_by_force(drains: Drains, url: str) -> None:
    call(url, "drain", "later", "--force")
    assert drains.standing["later"]["force"] is True


@pytest.mark.parametrize("target", ["203.0.113.10", VIP, "dns", "consul:dns-1"])
def test_wait_ends_when_the_vips_are_withdrawn(drains: Drains, url: str, target: str) -> None:
    def go() -> None:
        for phase in ("withdrawing", "flows"):
            gevent.sleep(0.03)
            drains.phase = phase

    drains.phase = "lowered"
    gevent.spawn(go)
    assert call(url, "drain", target, "--wait", "10").exit_code == 0
    assert drains.phase == "flows"


def test_wait_that_is_too_short_says_what_is_announced(drains: Drains, url: str) -> None:
    drains.phase = "lowered"
    result = call(url, "drain", "dns", "--wait", "0.05")
    assert result.exit_code == 1
    assert f"still announced: {VIP}" in result.output
    assert "dns" in drains.standing


def test_a_vip_that_another_instance_keeps_is_not_waited_for(drains: Drains, url: str) -> None:
    assert call(url, "drain", "dns", "--wait", "10").exit_code == 0


def test_what_is_not_here_is_told_in_the_words_of_the_command(site: Site) -> None:
    result = site.call("drain", "nowhere")
    assert result.exit_code == 3
    assert "--force drains it all the same" in result.stderr
