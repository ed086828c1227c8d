"""A name may hold half of a surrogate pair: JSON can write one, and UTF-8 cannot. All that is handed out shows it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from consulcast import hooks, notation
from consulcast.cli import cli
from consulcast.drains import Drain, Kind, Target
from consulcast.model import AppKey, Reason, Source
from consulcast.publication import publication
from consulcast.registration import Registration
from consulcast.web.app import make_app
from consulcast.web.door import Settings
from consulcast.web.endpoint import Endpoint
from consulcast.web.listen import Address
from consulcast.web.view import AppState, AppView, VipView
from tests.web.daemon import Daemon

NAME, SHOWN = "half\udc80", "half\\udc80"
KEY = AppKey(Source.CONSUL, NAME)
APP = AppView(KEY, Registration(NAME, ("203.0.113.9/32",)), AppState.FAILING, Reason.MONITOR_FAILING, f"of {NAME}", 0.0)
log = logging.getLogger("consulcast.test_half_a_letter")


class Half(Daemon):
    """A daemon in which everything that can have a name has this one."""

    def __init__(self) -> None:
        super().__init__(others=[APP])
        self.drained = {Target(Kind.APP, NAME): Drain(Target(Kind.APP, NAME), 0.0, None, "", NAME, NAME)}

    def vips(self) -> list[VipView]:
        return [VipView(notation.vip("203.0.113.9/32"), Reason.MONITOR_FAILING, NAME, (KEY,))]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Half()
    log.setLevel(logging.INFO)
    log.addHandler(made.changes)
    extra = {"app": f"consul:{NAME}", "reason": "monitor-failing", "detail": NAME}
    log.info("app %s", NAME, extra=extra)
    yield made
    log.removeHandler(made.changes)


@pytest.mark.parametrize("path", ["/", "/?q=half", f"/?q={SHOWN}", "/?state=failing"])
def test_the_page_shows_it(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert f"<bdi>{SHOWN}</bdi>" in response.text


@pytest.mark.parametrize("path", ["/v1/apps", "/v1/vips", "/v1/drains", "/v1/events"])
def test_the_api_writes_it_as_json(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert SHOWN in str(json.loads(response.data)).replace("\\\\", "\\")


@pytest.mark.parametrize("path", ["/v1/events/stream?after=0", "/page/stream"])
def test_the_streams_tell_it(client: FlaskClient, path: str) -> None:
    with gevent.Timeout(10):
        told = next(one for one in client.get(path).iter_encoded() if b"half" in one)
    assert SHOWN in told.decode().replace("\\\\", "\\")


def test_the_figures_are_written(client: FlaskClient) -> None:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert 'consulcast_vip_announced{reason="monitor-failing",vip="203.0.113.9/32"} 0.0' in response.text


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["events"], ["events", "--json"]])
def test_the_commands_print_it(daemon: Daemon, tmp_path: Path, command: list[str]) -> None:
    address = Address.read(f"unix://{tmp_path / 'api.sock'}")
    endpoint = Endpoint(daemon, Settings(listen=(address,)), "")
    endpoint.start()
    try:
        result = CliRunner().invoke(cli, [*command, "--url", address.text])
    finally:
        endpoint.stop()
    assert SHOWN in result.stdout.replace("\\\\", "\\")


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_lint_prints_it(tmp_path: Path, form: str) -> None:
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"service": {"name": NAME, "tags": ["enable_gocast", "gocast-vip=203.0.113.9/32"]}}))
    result = CliRunner().invoke(cli, ["lint", str(file), "--format", form])
    assert result.exit_code == 1
    assert "half" in result.stdout


def test_a_hook_is_told_of_it(daemon: Daemon) -> None:
    (change,) = daemon.changes.after(0)
    assert json.loads(hooks._text(change))["detail"] == SHOWN
    assert hooks._variables(change)["CONSULCAST_SUBJECT"] == "consul:half?"


def test_it_is_published(daemon: Daemon) -> None:
    vips = daemon.vips()
    found = publication("host-1", vips, daemon.peers(), {vips[0].vip: 0.0}, {vips[0].vip: [NAME]})
    assert json.loads(found.keys["vips/203.0.113.9_32"])["apps"] == [f"consul:{SHOWN}"]
    assert found.tags == ()


def test_an_error_says_it(daemon: Daemon) -> None:
    daemon.bad_file = f"file: {NAME}"
    answer = make_app(daemon).test_client().post("/v1/reload")
    assert answer.status_code == 409
    assert json.loads(answer.data)["message"] == f"file: {SHOWN}"
