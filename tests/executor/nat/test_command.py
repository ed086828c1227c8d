"""One-shot children, by real ones."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import gevent
import pytest

from consulcast.executor.nat import command
from consulcast.executor.nat.command import CommandError, run

SH = "/bin/sh"


def test_input_and_output_of_any_size_go_through() -> None:
    text = "x" * 3_000_000
    assert run(["/bin/cat"], text, 10.0).output == text


def test_failure_is_worded_with_its_first_line_or_its_status() -> None:
    assert run([SH, "-c", "echo; echo 'Error: no' >&2; echo more >&2; exit 3"], "", 5.0).why == "Error: no"
    assert run([SH, "-c", "exit 3"], "", 5.0).why == "exit status 3"
    assert run([SH, "-c", "kill -9 $$"], "", 5.0).why == "killed by SIGKILL"


def test_environment_is_the_one_given() -> None:
    assert run([SH, "-c", 'echo "$A$HOME"'], "", 5.0, {"A": "1"}).output == "1\n"


def test_secrets_in_our_environment_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    assert run([SH, "-c", 'echo "$CONSUL_HTTP_TOKEN${PATH:+path}"'], "", 5.0).output == "path\n"


def test_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CommandError, match="cannot start /nonexistent"):
        run(["/nonexistent"], "", 5.0)
    assert command.find("no-such-program-anywhere") is None


def test_child_that_does_not_end_is_killed_with_its_children_and_others_go_on_meanwhile(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    ticks = gevent.spawn(gevent.sleep, 0.1)
    started = time.monotonic()
    with pytest.raises(CommandError, match="did not end within 0 s"):
        run([SH, "-c", f"sleep 60 & echo $! >{mark}; wait"], "", 0.3)
    assert time.monotonic() - started < 1.0
    assert ticks.dead
    sleeper = int(mark.read_text())
    with gevent.Timeout(2.0):
        while _runs(sleeper):
            gevent.sleep(0.01)


FIRST_CHILD = """
import os
from consulcast import spawn as by
from consulcast.executor.nat import command
spawn = by._posix_spawn
def slow(*arguments, **more):
    pid = spawn(*arguments, **more)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended before we are back
    return pid
by._posix_spawn = slow
print(command.run(["/bin/echo", "heard"], "", 2.0).output)
"""


def test_end_of_a_quick_first_child_is_not_overheard() -> None:
    assert run([sys.executable, "-c", FIRST_CHILD], "", 10.0).output.strip() == "heard"


def test_no_file_and_no_child_is_left() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(["/bin/true"], "", 5.0)
    assert set(os.listdir("/proc/self/fd")) == before


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
