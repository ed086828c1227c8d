"""GoCast's own call, as its unit files and Dockerfiles have it."""

from __future__ import annotations

import pytest

from consulcast.gocast_arguments import translate


@pytest.mark.parametrize(
    "call",
    [
        "-config=/c.yaml",
        "--config=/c.yaml",
        "-config /c.yaml",
        "-config=/c.yaml -logtostderr -v=2",
        "-v 2 -config=/c.yaml",
    ],
)
def test_gocasts_call_runs_the_daemon(call: str) -> None:
    assert translate(call.split()) == ["run", "--config", "/c.yaml"]


def test_logging_flags_are_ignored_with_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    translate(["-config=/c.yaml", "-logtostderr", "-v=2"])
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "call", ["", "run --config /c.yaml", "check --config=/c.yaml", "--help", "--version", "-h", "-x"]
)
def test_our_own_call_is_left_alone(call: str) -> None:
    assert translate(call.split()) == call.split()
