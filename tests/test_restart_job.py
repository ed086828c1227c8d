from __future__ import annotations

from pathlib import Path

import pytest

from consulcast.restart_job import restart_is_under_way, restarts, unit_of

UNIT = "consulcast.service"


@pytest.mark.parametrize(
    "text",
    [
        f"0::/system.slice/{UNIT}\n",
        f"0::/system.slice/{UNIT}/inner\n",
        f"4:memory:/elsewhere.service\n1:name=systemd:/system.slice/{UNIT}\n0::/\n",
    ],
)
def test_the_unit_is_found_in_either_version_of_cgroups(text: str) -> None:
    assert unit_of(text) == UNIT


@pytest.mark.parametrize("text", ["0::/user.slice/session-1.scope\n", "0::/\n", "", "9:pids:/x.service\n"])
def test_outside_of_a_service_there_is_no_unit(text: str) -> None:
    assert unit_of(text) is None


@pytest.mark.parametrize(
    ("jobs", "answer"),
    [
        (f"1234 {UNIT} restart running\n", True),
        (f"77 other.service restart running\n1234 {UNIT} restart waiting\n", True),
        (f"1234 {UNIT} stop running\n", False),
        (f"1234 {UNIT} start waiting\n", False),
        ("1234 other.service restart running\n", False),
        ("No jobs listed.\n", False),
        ("\n", False),
        ("", False),
    ],
)
def test_only_a_restart_of_our_own_unit_is_one(jobs: str, answer: bool) -> None:
    assert restarts(jobs, UNIT) is answer


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    made = tmp_path / "cgroup"
    made.write_text(f"0::/system.slice/{UNIT}\n")
    return made


def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_systemd_is_asked_about_our_unit(cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(
        tmp_path,
        monkeypatch,
        'test "$*" = "list-jobs --plain --no-legend consulcast.service" || exit 1\necho "7 $4 restart running"',
    )
    assert restart_is_under_way({"INVOCATION_ID": "x"}, cgroup)
    assert not restart_is_under_way({}, cgroup), "not run by systemd"
    assert not restart_is_under_way({"INVOCATION_ID": "x"}, tmp_path / "nothing")


@pytest.mark.parametrize("script", [f"echo '7 {UNIT} restart running'; exit 1", "sleep 60", "echo nonsense", "exit 0"])
def test_whatever_is_unclear_is_a_stop(
    script: str, cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consulcast.restart_job._TIMEOUT", 0.3)
    systemctl(tmp_path, monkeypatch, script)
    assert not restart_is_under_way({"INVOCATION_ID": "x"}, cgroup)


def test_without_systemctl_it_is_a_stop(cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consulcast.restart_job.find", lambda program: None)
    assert not restart_is_under_way({"INVOCATION_ID": "x"}, cgroup)
