"""``explain``: what is printed, and what a script learns from the exit status."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from consulcast import last_words
from consulcast.cli import cli
from consulcast.explain.explanation import Explanation
from tests.cli.conftest import Site
from tests.web.daemon import Daemon


def test_not_announced(site: Site) -> None:
    result = site.call("explain", "203.0.113.10/32")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "203.0.113.10/32 is NOT announced: monitor-failing: nobody listens",
        "  http:dns",
        "    !! monitor  monitor-failing: nobody listens",
        "what to do: Mend it.",
    ]


def test_announced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Explanation("dns", True, "203.0.113.10/32 is announced to 1 of 1 peers", "announced", "", "")
    monkeypatch.setattr(Daemon, "explain", lambda self, target: told)
    result = site.call("explain", "dns")
    assert (result.exit_code, result.output) == (0, "203.0.113.10/32 is announced to 1 of 1 peers\n")


def test_the_target_goes_through_whatever_it_is_made_of(site: Site) -> None:
    assert site.json("explain", "a b/c?d=e#f%2F")["target"] == "a b/c?d=e#f%2F"


def test_terminal_codes_in_names_are_not_obeyed(site: Site) -> None:
    assert "\x1b" not in site.call("explain", "\x1b[31mred").output


def test_what_nobody_asks_for(site: Site) -> None:
    result = site.call("explain", "203.0.113.99/32")
    assert result.exit_code == 3
    assert result.output == "203.0.113.99/32 is not known here\n  written most alike: dns\n"
    assert site.json("explain", "203.0.113.99/32")["reason"] == "unknown-target"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "c.yaml"
    (tmp_path / "run").mkdir()
    agent = {"run_dir": f"{tmp_path}/run", "state_dir": f"{tmp_path}/state", "listen_addr": "127.0.0.1:1"}
    made.write_text(json.dumps({"agent": agent, "bgp": {"local_as": 65001, "peer_as": 65010}}))
    return made


def refused(file: Path, *more: str) -> str:
    result = CliRunner().invoke(cli, ["explain", "dns", "--config", str(file), *more])
    assert result.exit_code == 4
    return result.output


def test_never_started(file: Path) -> None:
    said = refused(file)
    assert said.startswith(f"dns cannot be explained: not-running: no process holds {file.parent}/run; see `journalctl")
    assert "http://127.0.0.1:1: Connection refused" in said


def test_the_last_words_of_a_start_that_failed(file: Path) -> None:
    last_words.say(str(file.parent / "state"), "cannot start: CAP_NET_ADMIN is missing")
    assert "Z cannot start: CAP_NET_ADMIN is missing" in refused(file).split("\n")[0]


def test_a_file_that_is_not_taken(file: Path) -> None:
    file.write_text(file.read_text().replace("65010", "0"))
    assert "not-running: no process holds" in (said := refused(file))
    assert "its file is not taken" in said


def test_a_daemon_that_runs_and_is_not_reached(file: Path) -> None:
    with (file.parent / "run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        assert json.loads(refused(file, "--json"))["reason"] == "not-reachable"
        assert f"process {os.getpid()} holds {file.parent}/run" in refused(file)


def test_one_that_takes_the_connection_and_says_nothing_is_not_said_to_be_down(file: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "run" / "api.sock"))
        silent.listen()
        first = refused(file, "--timeout", "0.1").split("\n")[0]
        asked_by_url = CliRunner().invoke(
            cli, ["explain", "dns", "--url", f"unix://{tmp_path}/run/api.sock", "--timeout", "0.1"]
        )
    for said in (first, asked_by_url.output):
        assert said.startswith("dns cannot be explained: not-reachable: unix://")
        assert "no answer in 0.1 s" in said


def test_a_url_is_not_taken_for_the_default_directory_s(tmp_path: Path) -> None:
    for url, words in (
        ("http://127.0.0.1:1", "not-reachable: no daemon takes a connection"),
        (f"unix://{tmp_path}/api.sock", f"not-running: no process holds {tmp_path}"),
        (f"unix://{tmp_path}/other.sock", "not-reachable: no daemon takes a connection"),
    ):
        result = CliRunner().invoke(cli, ["explain", "dns", "--url", url])
        assert result.exit_code == 4
        assert result.output.startswith(f"dns cannot be explained: {words}")


def test_an_empty_target_is_a_slip(site: Site) -> None:
    assert site.call("explain", " ").exit_code == 2


def test_one_that_waits_for_the_network_says_so(file: Path) -> None:
    last_words.say(str(file.parent / "state"), "waiting for a way to a peer: no route")
    with (file.parent / "run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "waiting for a way to a peer: no route" in refused(file).split("\n")[0]


@pytest.mark.skipif(
    os.geteuid() != 0, reason="others cannot tell a directory that is read-only from one that is not theirs"
)
def test_a_state_directory_that_cannot_be_written_is_named(file: Path) -> None:
    """It keeps no last words either."""
    file.write_text(file.read_text().replace(f"{file.parent}/state", "/proc/sys/consulcast"))
    assert "agent.state_dir /proc/sys/consulcast cannot be written: /proc/sys is read-only" in refused(file)
