"""`migrate` as an operator calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consulcast.cli import cli
from tests.test_migration import SAMPLE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gocast.yaml"
    path.write_text(SAMPLE)
    return path


def migrate(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["migrate", *map(str, arguments)])


def test_a_good_file_works_as_it_is(file: Path) -> None:
    result = migrate(file)
    assert result.exit_code == 0
    assert f"{file}:6: agent.consul_query_interval: note: no effect here" in result.output
    assert result.output.endswith("the file works as it is\n")


def test_what_is_to_be_mended_is_the_exit_status(file: Path) -> None:
    file.write_text(SAMPLE + "    foo: 1\n")
    result = migrate(file)
    assert result.exit_code == 1
    assert f"{file}:23: apps[0].foo: mend: " in result.output
    assert json.loads(migrate(file, "--json").stdout)["works"] is False


def test_the_equivalent_file_is_written_for_its_owner_and_over_nothing(file: Path, tmp_path: Path) -> None:
    written = tmp_path / "consulcast.yaml"
    assert migrate(file, "-o", written).exit_code == 0
    assert written.stat().st_mode & 0o777 == 0o600
    assert CliRunner().invoke(cli, ["check", "--config", str(written)]).exit_code == 0
    assert migrate(file, "-o", "-").stdout == written.read_text()
    again = migrate(file, "-o", written)
    assert again.exit_code == 2
    assert "File exists" in again.output


def test_what_is_no_gocast_file_is_a_usage_error(file: Path) -> None:
    file.write_text("[")
    assert migrate(file).exit_code == 2
    assert migrate(file.parent / "none").exit_code == 2
