"""The log for programs: its form, its levels, and that every line says why."""

from __future__ import annotations

import ast
import functools
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consulcast import logs
from consulcast.cli import cli
from consulcast.logs import JsonLine
from consulcast.logtext import LONGEST

SOURCES = sorted((Path(__file__).parent.parent / "consulcast").rglob("*.py"))


def record(message: str, *arguments: object, **extra: Any) -> logging.LogRecord:
    logger = logging.getLogger("consulcast.test")
    return logger.makeRecord(logger.name, logging.WARNING, "f", 1, message, arguments, None, extra=extra)


def test_line_is_an_object_with_the_fields_that_it_is_about() -> None:
    made = record(
        "vip %s: %s", "203.0.113.1/32", "announced", vip="203.0.113.1/32", reason="announced", pid=7, former=""
    )
    made.created = 1795621397.0506
    assert json.loads(JsonLine().format(made)) == {
        "ts": "2026-11-25T15:43:17.050Z",
        "level": "warning",
        "logger": "consulcast.test",
        "msg": "vip 203.0.113.1/32: announced",
        "vip": "203.0.113.1/32",
        "reason": "announced",
        "pid": 7,
    }


def test_time_on_the_full_second_has_its_milliseconds() -> None:
    made = record("x")
    made.created = 1795621397.0
    assert json.loads(JsonLine().format(made))["ts"] == "2026-11-25T15:43:17.000Z"


def test_exception_is_one_string_with_its_traceback() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made = record("failed", reason="part-failed")
        made.exc_info = sys.exc_info()
    line = JsonLine().format(made)
    assert "\n" not in line
    said = json.loads(line)["exception"]
    assert said.startswith("Traceback")
    assert said.endswith("ValueError: two\nlines")


@pytest.mark.parametrize(
    "name",
    [
        'a"b',
        "a\\b",
        "a\nb",
        "a\x1b[2Kb",
        "a\x7fb",
        "a\x9bb",
        "a\u2028b",
        "a\u202eb",
        "\ud800",
        "a\0b",
        "é",
        "x" * 100_000,
    ],
)
def test_hostile_name_is_one_printable_line_that_can_be_read_back(name: str) -> None:
    line = JsonLine().format(record("app %s: registered", name, app=name))
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 3 * LONGEST
    read = json.loads(line)["app"]
    assert read == name or name == "\ud800" or len(name) > LONGEST


def test_field_cannot_take_the_place_of_the_lines_own() -> None:
    assert json.loads(JsonLine().format(record("true", level="debug", ts="never")))["level"] == "warning"


@pytest.fixture
def restored(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    root, ours = logging.getLogger(), logging.getLogger("consulcast")
    before = root.handlers[:], root.level, ours.level
    yield capsys
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", "debug info warning error"), ("info", "info warning error"), ("error", "error")],
)
def test_what_is_of_the_level_or_worse_is_logged(restored: pytest.CaptureFixture[str], level: str, seen: str) -> None:
    logs.start("json", level)
    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("consulcast.x"), name)(name)
    logging.getLogger("urllib3").debug("a connection")
    assert [json.loads(line)["msg"] for line in restored.readouterr().err.splitlines()] == seen.split()


def test_text_is_the_default(restored: pytest.CaptureFixture[str]) -> None:
    logs.start()
    logging.getLogger("consulcast.x").info("well")
    assert restored.readouterr().err.endswith("INFO    consulcast.x well\n")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--log-format", "xml"], {}),
        (["--log-level", "loud"], {}),
        ([], {"CONSULCAST_LOG_FORMAT": "xml"}),
        ([], {"CONSULCAST_LOG_LEVEL": "loud"}),
    ],
)
def test_form_and_level_come_from_option_or_environment_and_no_other_is_taken(
    arguments: list[str], environment: dict[str, str]
) -> None:
    result = CliRunner().invoke(cli, ["run", "--config", "/nowhere", *arguments], env=environment)
    assert result.exit_code == 2
    assert "is not one of" in result.output


@functools.cache
def calls() -> tuple[tuple[str, ast.Call], ...]:
    """Every call that logs, with where it stands."""
    return tuple(_calls())


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                target = node.func.value
                if isinstance(target, ast.Name) and target.id == "log":
                    yield f"{path.name}:{node.lineno}", node


def test_every_line_that_tells_of_a_change_carries_fields() -> None:
    found = calls()
    assert len(found) > 60, "the calls are not found any more"
    bare = [
        where
        for where, call in found
        if isinstance(call.func, ast.Attribute)
        and call.func.attr != "debug"
        and not any(keyword.arg == "extra" for keyword in call.keywords)
    ]
    assert bare == [], "add extra={'reason': ...}"


def test_every_dictionary_of_fields_has_a_reason() -> None:
    for where, call in calls():
        for keyword in call.keywords:
            if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                keys = [key.value for key in keyword.value.keys if isinstance(key, ast.Constant)]
                assert "reason" in keys, where
