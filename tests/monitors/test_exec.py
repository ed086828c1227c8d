"""Commands: run as in GoCast, and nothing is left of them."""

from __future__ import annotations

import fcntl
import os
import pwd
import resource
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from consulcast import capabilities
from consulcast.capabilities import Capability
from consulcast.model import MonitorSpec
from consulcast.monitors.command import Command, Commands, Limits, Programs, User
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

    monkeypatch.setattr("consulcast.spawn._posix_spawn", refuse)
    assert run("true") == Look(None, "the command could not be started: Resource temporarily unavailable")


# -- limits, users, named commands -----------------------------------------------------------------------------------

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
NOBODY = User("nobody", *pwd.getpwnam("nobody")[2:4], "/nonexistent")


def raw(**limits: int) -> Commands:
    return Commands(limits=Limits(**limits))


def test_every_command_runs_under_limits_and_without_core_files() -> None:
    asked = "ulimit -c; ulimit -v; ulimit -t; ulimit -n; echo $(ulimit -c) $(ulimit -v) $(ulimit -t) $(ulimit -n)"
    assert run(asked).detail == "exit status 0: 0 4194304 300 1024"
    limited = raw(memory=1 << 30, cpu=7, files=99)
    assert run(asked, commands=limited).detail == "exit status 0: 0 1048576 7 99"
    hard = "echo $(ulimit -Hc) $(ulimit -Hv) $(ulimit -Ht) $(ulimit -Hn)"
    assert run(hard, commands=limited).detail == "exit status 0: 0 1048576 7 99"
    assert run("ulimit -Hu", commands=raw(processes=77)).detail == "exit status 0: 77"


def test_limit_of_zero_is_the_daemons_own() -> None:
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    unlimited = raw(memory=0, cpu=0, files=0, processes=0)
    assert run("echo $(ulimit -c) $(ulimit -n)", commands=unlimited).detail == f"exit status 0: 0 {own}"


def test_command_that_eats_memory_or_time_is_ended_by_the_kernel() -> None:
    hungry = "exec python3 -c 'bytearray(1 << 30)'"
    assert run(hungry, commands=raw(memory=256 << 20)).detail == "exit status 1: MemoryError"
    assert run("while :; do :; done", commands=raw(cpu=1)).detail.startswith("killed by signal")


def test_limit_above_the_daemons_own_hard_one_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (50, 50))
    assert run("ulimit -n", commands=raw(memory=0, files=4096, processes=0)).detail == "exit status 0: 50"


def test_descriptor_that_somebody_left_open_for_children_is_not_handed_on() -> None:
    with open(os.devnull) as held:
        high = fcntl.fcntl(held, fcntl.F_DUPFD, 200)
    assert os.get_inheritable(high)
    assert run(f"test ! -e /proc/$$/fd/{high}").passed
    assert run("exec ls -m /proc/self/fd").detail == "exit status 0: 0, 1, 2, 3"  # the last one is the folder itself
    os.close(high)


def test_no_command_has_capabilities_that_it_could_hand_on() -> None:
    assert (
        run("grep -E '^Cap(Inh|Amb)' /proc/self/status | tr -d '[:alpha:]:\\n\\t'").detail
        == f"exit status 0: {'0' * 32}"
    )


@AS_ROOT
def test_command_of_another_user_is_that_user_for_good() -> None:
    commands = Commands({"who": Command(("/bin/sh", "-c", f"{WHO}; echo $HOME $USER $LOGNAME"), user=NOBODY)}, NOBODY)
    assert run(WHO, commands=commands).detail == "exit status 0: nobody nogroup 1 0000000000000000"
    assert run("@who", commands=commands).detail == "exit status 0: /nonexistent nobody nobody"
    assert not run("id -u >/root/consulcast-was-here", commands=commands).passed
    assert not run("exec setpriv --reuid=0 true", commands=commands).passed


WHO = "echo $(id -un) $(id -Gn) $(grep -E '^(NoNewPrivs|CapEff)' /proc/self/status | sort -r | cut -f2)"


@AS_ROOT
def test_command_of_another_user_ends_with_its_look(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o001)
    look = run(f"echo $$ >{tmp_path}/pid; sleep 61; true", timeout=0.5, commands=Commands(user=NOBODY))
    assert look.passed is False
    until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_user_that_the_daemon_cannot_become_says_nothing_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65533)
    monkeypatch.setattr(capabilities, "has", lambda one: one is Capability.KILL)
    look = run("true", commands=Commands(user=NOBODY))
    assert look.passed is None
    assert "to run it as user 'nobody' the daemon needs CAP_SETGID, CAP_SETUID (deploy/drop-ins/" in look.detail


def test_named_command_gets_its_arguments_as_they_are_and_no_shell() -> None:
    commands = Commands({"say": Command(("/bin/echo", "-n", "$HOME;"), (".*", "[^ ]+"))})
    assert run("@say $(id) `id`;id|id>x", commands=commands).detail == "exit status 0: $HOME; $(id) `id`;id|id>x"
    assert run("@say  'a \tb'  ", commands=commands).detail == "exit status 0: $HOME; 'a b'"


def test_reload_replaces_what_a_name_stands_for() -> None:
    programs = Programs(Commands({"one": Command(("/bin/true",))}))
    probe = ExecProbe(MonitorSpec("exec", "@one"), Lanes(4, 4), programs)
    assert probe.look(5.0).passed is True
    programs.current = Commands({"one": Command(("/bin/false",))})
    assert probe.look(5.0).passed is False
    programs.current = Commands()
    assert probe.look(5.0) == Look(None, "commands has no 'one'; it has none at all")


def test_without_the_tools_of_util_linux_no_command_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consulcast.monitors.launch._TOOLS_PATH", "/nonexistent")
    assert run("true") == Look(None, "there is no program prlimit: install util-linux")
