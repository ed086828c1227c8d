"""The commands as a user calls them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from consulcast import __version__
from consulcast.cli import cli

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


def test_check_says_good_and_exits_0() -> None:
    result = CliRunner().invoke(cli, ["check", "--config", str(EXAMPLE)])
    assert result.exit_code == 0
    assert "good; AS 64512, 1 apps, peers: 198.51.100.254, 2001:db8::fe" in result.output


def test_check_names_file_line_key_and_exits_2(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("bgp:\n  local_as: 1\n  per_as: 2\n")
    result = CliRunner().invoke(cli, ["check", "--config", str(path)])
    assert result.exit_code == 2
    assert f"{path}:3: bgp.per_as: unknown key" in result.output


def test_run_refuses_what_check_refuses(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("bgp: {}\n")
    assert CliRunner().invoke(cli, ["run", "--config", str(path)]).exit_code == 2


def test_check_tells_of_keys_without_effect(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("agent: {consul_query_interval: 5m}\nbgp: {local_as: 1, peer_as: 2}\n")
    result = CliRunner().invoke(cli, ["check", "--config", str(path)])
    assert result.exit_code == 0
    assert "warning: agent.consul_query_interval" in result.output
    assert "peers: the default gateway" in result.output


def test_version() -> None:
    assert __version__ in CliRunner().invoke(cli, ["--version"]).output
