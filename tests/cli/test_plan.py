"""What would change, asked of the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from consulcast.cli import cli
from consulcast.outlook import Action, Kind, Outlook, Step
from consulcast.web import api
from tests.cli.conftest import Site

STEPS = (
    Step(Kind.PEER, "198.51.100.2", Action.ADD, "", "AS 65010"),
    Step(Kind.APP, "consul:x\x1b", Action.REFUSE, "vip-not-allowed", "policy.consul.vips"),
    Step(Kind.VIP, "203.0.113.10/32", Action.ADD, "announced"),
)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PLAN_PAUSE", 0.0)


def test_nothing_to_do(site: Site) -> None:
    result = site.call("plan", "--exit-code")
    assert (result.exit_code, result.output) == (0, "nothing to do\n")


def test_steps_are_shown_and_nothing_is_done(site: Site) -> None:
    site.daemon.outlook = Outlook(STEPS, ("nat counts from the next start",))
    result = site.call("plan")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "add peer 198.51.100.2 (AS 65010)",
        "refuse app consul:x\\x1b (vip-not-allowed: policy.consul.vips)",
        "add vip 203.0.113.10/32 (announced)",
        "not known: nat counts from the next start",
        "3 things to do",
    ]
    assert site.daemon.calls == []
    site.daemon.outlook = Outlook(STEPS[:1], ())
    assert site.call("plan").output.splitlines()[-1] == "1 thing to do"
    site.daemon.outlook = Outlook(STEPS, ())
    assert site.call("plan", "--exit-code").exit_code == 1
    assert [step["action"] for step in site.json("plan")["steps"]] == ["add", "refuse", "add"]


def test_a_bad_file_is_a_usage_error(site: Site) -> None:
    site.daemon.bad_file = "c.yaml:3: bgp.per_as: unknown key"
    result = site.call("plan")
    assert result.exit_code == 2
    assert "c.yaml:3" in result.output


def test_without_a_daemon_the_way_to_do_without_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["plan", "--url", f"unix://{tmp_path}/none"])
    assert result.exit_code == 4
    assert "plan --config FILE" in result.output


def test_a_file_that_is_bad_is_told_without_a_daemon(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("bgp: {}\n")
    assert CliRunner().invoke(cli, ["plan", "--config", str(file)]).exit_code == 2
