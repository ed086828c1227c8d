"""What an alert says to run can be run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from consulcast.cli import cli

FILE = Path(__file__).parents[1] / "deploy/prometheus-alerts.yaml"
RULES = {rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("name", RULES)
def test_a_command_is_one_and_what_is_explained_is_a_vip(name: str) -> None:
    command = RULES[name]["annotations"]["command"]
    for word in re.findall(r"\bconsulcast (\w+)", command.replace("-u consulcast", "")):
        assert word in cli.commands
    explained = re.findall(r"explain (\{\{[^}]*\}\}|\S+)", command)
    assert [target for target in explained if target not in ("{{ $labels.vip }}", "APP")] == []
