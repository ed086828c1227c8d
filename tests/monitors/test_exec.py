"""Commands: run as in GoCast, and nothing is left of them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from consulcast.model import MonitorSpec
from consulcast.monitors.command import Commands, Programs
from consulcast.monitors.exec import ExecProbe
from consulcast.monitors.lanes import Lanes
from consulcast.monitors.probe import Look


def run(command: str, timeout: float = 5.0, commands: Commands | None = None) -> Look:
    return ExecProbe(MonitorSpec("exec", command), Lanes(4, 4), Programs(commands)).look(timeout)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(seen: Callable[[], object]) -> None:
    end = time.monotonic() + 3.0
    while not seen():
        assert time.monotonic() < end
        gevent.sleep(0.01)


def test_exit_status_decides_and_the_last_line_is_the_reason() -> None:
    assert run("true") == Look(True, "exit status 0")
    assert run("echo one; echo two >&2; echo; exit 3") == Look(False, "exit status 3: two")
    assert run("kill -9 $$") == Look(False, "killed by signal 9")
    assert run("no-such-command-here").detail.endswith("command not found")


def test_colons_quotes_and_other_letters_reach_the_shell_as_written() -> None:
    assert run("""test "a:b" = 'a:b' && [[ ü == ü ]] && echo "$((1 + 1)):'x' > y" """).detail == (
        "exit status 0: 2:'x' > y"
    )


def test_the_last_line_is_short_and_printable() -> None:
    look = run(r"printf 'a\033[31m%0300d\n' 0; exit 1")
    assert look.detail.isprintable()
    assert len(look.detail) == len("exit status 1: ") + 200


def test_much_output_neither_blocks_the_command_nor_is_kept() -> None:
    assert run("head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo end") == Look(True, "exit status 0: end")


def test_the_environment_is_clean_and_input_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    assert run("echo ${CONSUL_HTTP_TOKEN-none} ${PATH:+path}; cat").detail == "exit status 0: none path"


def test_no_descriptor_of_ours_is_handed_on() -> None:
    with open(os.devnull) as held:
        high = fcntl.fcntl(held, fcntl.F_DUPFD_CLOEXEC, 200)
    assert run(f"test ! -e /proc/$$/fd/{high} && test -e /proc/{os.getpid()}/fd/{high}").passed
    os.close(high)


def test_time_out_kills_the_whole_group(tmp_path: Path) -> None:
    began = time.monotonic()
    look = run(f"sleep 61 & echo $! >{tmp_path}/pid; echo waiting; sleep 61; true", timeout=0.3)
    assert look == Look(False, "did not end within 0.3 s and was killed: waiting")
    assert time.monotonic() - began < 2.0
    until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_what_a_passing_command_leaves_in_the_background_goes_too(tmp_path: Path) -> None:
    began = time.monotonic()
    assert run(f"sleep 61 & echo $! >{tmp_path}/pid").passed
    assert time.monotonic() - began < 2.0, "the background process holds the output open"
    until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_killing_the_look_kills_the_command(tmp_path: Path) -> None:
    looking = gevent.spawn(run, f"echo $$ >{tmp_path}/pid; sleep 61; true")
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    looking.kill()
    assert not alive(int((tmp_path / "pid").read_text()))


def test_no_descriptors_are_lost() -> None:
    run("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run("echo x; exit 1")
    run("sleep 61", timeout=0.05)
    assert len(os.listdir("/proc/self/fd")) == before


def test_that_no_process_can_be_started_says_nothing_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("consulcast.monitors.exec._posix_spawn", refuse)
    assert run("true") == Look(None, "the command could not be started: Resource temporarily unavailable")
