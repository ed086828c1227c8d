"""The commands as a user calls them."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from consulcast import __version__
from consulcast.cli import cli

EXAMPLE = Path(__file__).parent.parent.parent / "config.example.yaml"


def test_check_says_good_and_exits_0() -> None:
    result = CliRunner().invoke(cli, ["check", "--config", str(EXAMPLE)])
    assert result.exit_code == 0
    assert "good; AS 64512, 1 app, peers: 198.51.100.254, 2001:db8::fe" in result.output


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


def test_check_tells_which_apps_the_policy_refuses_and_by_which_rule(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("""
bgp: {local_as: 1, peer_as: 2, peer_ip: 198.51.100.2}
consul: {address: 198.51.100.77}
policy:
  reserved: [203.0.113.128/25]
  services: [{name: "dns-*", vips: [203.0.113.0/28]}]
  config: {communities: ["64512:*"], nat_dest: [8000-8999], monitors: [port, exec], exec: commands, max_apps: 7}
commands: {check: {argv: [/bin/check], arguments: ["[0-9]+"]}}
apps:
- {name: dns-1, vip: 203.0.113.1/32, monitors: ["exec:@check 53"]}
- {name: a, vip: 203.0.113.1/32}
- {name: b, vip: 203.0.113.200/32}
- {name: c, vip: 198.51.100.77/32}
- {name: d, vip: 203.0.113.50/32, monitors: ["exec:@check x"]}
- {name: e, vip: 203.0.113.50/32, monitors: ["exec:true"]}
- {name: f, vip: 203.0.113.50/32, monitors: ["tcp:198.51.100.9:1"]}
- {name: g, vip: 203.0.113.50/32, vip_config: {bgp_communities: ["1:1"]}}
- {name: h, vip: 203.0.113.50/32, nats: ["tcp:22"]}
""")
    result = CliRunner().invoke(cli, ["check", "--config", str(path)])
    assert result.exit_code == 0
    refused = dict(re.findall(r"app '([^']+)' will be refused: (.*)", result.output))
    for name, reason, rule in (
        ("a", "vip-not-allowed", "policy.services[0]"),
        ("b", "vip-not-allowed", "policy.reserved[0]"),
        ("c", "vip-not-allowed", "Consul"),
        ("d", "monitor-not-allowed", "commands.check.arguments[0]"),
        ("e", "monitor-not-allowed", "policy.config.exec"),
        ("f", "monitor-not-allowed", "policy.config.monitors"),
        ("g", "community-not-allowed", "policy.config.communities"),
        ("h", "nat-not-allowed", "policy.config.nat_dest"),
    ):
        assert refused[name].startswith(f"{reason}: ")
        assert rule in refused.pop(name)
    assert refused == {}
