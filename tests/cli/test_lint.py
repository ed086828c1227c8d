"""`lint` as CI calls it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from consulcast.cli import cli

GOOD = ("--tag", "enable_gocast", "--tag", "gocast_vip=203.0.113.10/32")
FILE = 'service {\n  name = "dns"\n  tags = [\n    "enable_gocast",\n    "gocast-vip=203.0.113.10/32",\n  ]\n}\n'


def lint(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["lint", *arguments], input=text)


def test_tags_on_the_command_line() -> None:
    assert lint(*GOOD).exit_code == 0
    result = lint(*GOOD, "--tag", "gocast_monitor=exec:true")
    assert result.exit_code == 1
    assert "service 'service', tag 'gocast_monitor=exec:true': monitor-not-allowed: " in result.output
    assert "policy.consul.exec" in result.output


def test_a_file_has_its_line_in_each_form(tmp_path: Path) -> None:
    file = tmp_path / "dns.hcl"
    file.write_text(FILE)
    result = lint(str(file))
    assert result.exit_code == 1
    assert result.output.startswith(f"{file}:5: service 'dns', tag 'gocast-vip=203.0.113.10/32': unknown-tag: ")
    assert result.output.endswith("1 service with tags of gocast, 1 to mend\n")
    (finding,) = json.loads(lint(str(file), "--json").output)["findings"]
    assert (finding["line"], finding["code"], finding["wrong"]) == (5, "unknown-tag", True)
    line = lint(str(file), "--format", "github").output
    assert line.startswith(f"::error file={file},line=5,title=unknown-tag::service 'dns'")


def test_standard_input() -> None:
    assert lint("-", text=FILE).exit_code == 1
    assert lint("-", text='{"service": {"name": "x", "tags": ["other"]}}').output.startswith("0 services")


def test_the_hosts_policy_and_prefix_count(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "agent: {tag_prefix: any}\nbgp: {local_as: 1, peer_as: 2, peer_ip: 203.0.113.20}\n"
        "api: {tokens_file: /not/here}\n"
        "policy: {consul: {vips: [203.0.113.0/27], exec: allow}}\n"
    )
    ours = ("--tag", "enable_any", "--config", str(file), "--tag")
    assert lint(*ours, "any_vip=203.0.113.1/32", "--tag", "any_monitor=exec:true").exit_code == 0
    assert "policy.consul.vips" in lint(*ours, "any_vip=203.0.113.100/32").output
    assert "a peer of it" in lint(*ours, "any_vip=203.0.113.20/32").output


def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    bad = tmp_path / "x.hcl"
    bad.write_text("service {\n")
    assert lint(str(bad)).exit_code == 2
    assert f"{bad}:1: " in lint(str(bad)).output
    bad.write_bytes(b"\xff")
    assert lint(str(bad)).exit_code == 2
    assert lint(str(tmp_path / "none")).exit_code == 2
    assert lint().exit_code == 2
    config = tmp_path / "c.yaml"
    config.write_text("policy: {consul: {vips: [x]}}\n")
    result = lint(*GOOD, "--config", str(config))
    assert result.exit_code == 2
    assert f"{config}:1: policy.consul.vips[0]" in result.output


def test_a_tag_forges_no_line_and_no_annotation() -> None:
    tag = "gocast_vip=1\n::error::forged\x1b[2J"
    for form in ("text", "github"):
        output = lint(*GOOD, "--tag", tag, "--format", form).output
        assert "\x1b" not in output
        assert not any(line.startswith("::error::forged") for line in output.splitlines())


def test_a_file_without_a_service_is_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.hcl"
    file.write_text('variable "x" {}\n')
    result = CliRunner().invoke(cli, ["lint", "--json", str(file)])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["services"] == 0
    assert f"{file}: no service with tags in it" in result.stderr
