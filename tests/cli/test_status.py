"""The daemon on one screen, and what a script learns from the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from consulcast.cli import cli
from consulcast.model import AppKey, Reason, Source, Stale
from consulcast.registration import Registration
from consulcast.web.view import AppState, AppView, ConsulView, QueryView, VipView
from tests.cli.conftest import Site
from tests.web.daemon import PEER, Daemon


def be(monkeypatch: pytest.MonkeyPatch, reason: Reason, detail: str = "") -> None:
    def vips(self: Daemon) -> list[VipView]:
        apps = [item.app() for item in self.registered.values()]
        return [VipView(vip, reason, detail, (app.key,)) for app in apps for vip in app.vips]

    monkeypatch.setattr(Daemon, "vips", vips)


def test_all_that_is_wanted_is_announced(site: Site) -> None:
    site.register("dns", "203.0.113.10/32")
    result = site.call("status")
    assert result.exit_code == 0
    assert result.output.startswith("1 of 1 VIPs announced; 1 of 1 peers up; without Consul\n")
    for word in ("203.0.113.10/32", "announced", "http:dns", "passing", str(PEER.address), "65000"):
        assert word in result.output
    assert "\x1b" not in result.output


def test_a_vip_that_is_down_is_told_with_its_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, Reason.MONITOR_FAILING, "http:dns: nobody listens")
    site.register("dns", "203.0.113.10/32")
    result = site.call("status")
    assert result.exit_code == 1
    assert "monitor-failing: http:dns: nobody listens" in result.output


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.ANNOUNCED, 0),
        (Reason.DRAINING, 0),
        (Reason.PEER_DOWN, 1),
        (Reason.ANNOUNCING, 1),
        (Reason.MONITOR_PENDING, 1),
    ],
)
def test_quiet_says_it_by_the_exit_status_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, reason: Reason, status: int
) -> None:
    be(monkeypatch, reason)
    site.register("dns", "203.0.113.10/32")
    result = site.call("status", "--quiet")
    assert (result.exit_code, result.output) == (status, "")


def test_a_refused_app_is_not_as_it_should_be(site: Site) -> None:
    refused = AppView(
        AppKey(Source.CONSUL, "x"), Registration("x"), AppState.REFUSED, Reason.BAD_TAG, "tag 'gocast_vip=1'"
    )
    site.daemon.others.append(refused)
    result = site.call("status")
    assert result.exit_code == 1
    assert "bad-tag: tag 'gocast_vip=1'" in result.output


def test_json_has_what_the_api_says(site: Site) -> None:
    site.register("dns", "203.0.113.10/32")
    found = site.json("status")
    assert found["ok"] is True
    assert [vip["vip"] for vip in found["vips"]] == ["203.0.113.10/32"]
    assert found["consul"]["node"] is None
    assert found["peers"][0]["state"] == "up"


def test_what_is_not_well_is_shown_and_the_rest_counted(site: Site) -> None:
    for number in range(1, 31):
        site.register(f"app-{number}", f"203.0.113.{number}/32")
    short, whole = site.call("status").output, site.call("status", "--all").output
    assert "… and 18 more VIPs, announced (--all)" in short
    assert len(short.splitlines()) < 40
    assert "203.0.113.30/32" in whole
    assert "more" not in whole


def test_freshness_of_consul_is_shown(site: Site) -> None:
    site.daemon.seen = ConsulView("web1", True, None, {"catalog": QueryView(0.0), "health": QueryView(0.0)})
    assert "Consul (node web1) fresh, asked" in site.call("status").output
    site.daemon.seen = ConsulView("web1", True, Stale(0.0, "no leader"))
    assert "stale for" in site.call("status").output
    assert "no leader" in site.call("status").output
    site.daemon.seen = ConsulView("web1")
    assert "has not answered yet" in site.call("status").output


def test_names_of_others_do_nothing_to_the_terminal(site: Site) -> None:
    name = "x\x1b]0;owned\x07\u202e"
    site.daemon.others.append(
        AppView(AppKey(Source.CONSUL, name), Registration(name), AppState.PASSING, Reason.PASSING, since=0.0)
    )
    output = site.call("status").output
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "x\\x1b]0;owned" in output
    assert json.loads(site.call("status", "--json").stdout)["apps"][0]["id"] == name


def test_colours_are_for_a_terminal_that_wants_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.register("dns", "203.0.113.10/32")
    arguments = ["status", "--url", site.url]
    assert "\x1b[32m" in CliRunner().invoke(cli, arguments, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(cli, arguments, color=True).output


def test_an_error_is_json_too_where_json_was_asked_for(tmp_path: Path) -> None:
    for command in ("status", "plan", "reload", "events", "undrain x"):
        arguments = [*command.split(), "--json", "--url", f"unix://{tmp_path}/none.sock"]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 4
        body = json.loads(result.stdout)
        assert (body["status"], body["reason"], result.stderr) == (4, None, "")
        assert "no daemon takes a connection" in body["error"]
    file = tmp_path / "c.yaml"
    file.write_text("bgp: {}")
    for command in ("check", "plan", "lint --tag x"):
        result = CliRunner().invoke(cli, [*command.split(), "--json", "--config", str(file)])
        if result.exit_code:
            assert json.loads(result.stdout)["status"] == result.exit_code == 2


def test_the_daemons_reason_is_in_the_error(site: Site) -> None:
    result = site.call("undrain", "nothing", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["reason"] == "not-found"
    assert "is not drained" in site.call("undrain", "nothing").stderr


def test_while_consul_has_not_said_what_is_wanted_all_is_not_fine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = ConsulView("host", False, None, {"catalog": QueryView(), "health": QueryView()})
    monkeypatch.setattr(Daemon, "consul", lambda self: seen)
    result = site.call("status")
    assert "has not answered yet" in result.output
    assert result.exit_code == 1
