"""The shell's completion, as the shell asks for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from gevent import os as gevent_os

from consulcast.cli import cli
from consulcast.model import AppKey, Reason, Source
from consulcast.registration import Registration
from consulcast.web.view import AppState, AppView
from tests.cli.conftest import Site


def offered(words: list[str], start: str) -> list[str]:
    return [item.value for item in ShellComplete(cli, {}, "consulcast", "X").get_completions(words, start)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_one_that_the_shell_reads(shell: str, tmp_path: Path) -> None:
    script = CliRunner().invoke(cli, ["completion", shell]).output
    assert "_CONSULCAST_COMPLETE" in script
    if shutil.which(shell):
        file = tmp_path / "script"
        file.write_text(script)
        subprocess.run([shell, "-n", str(file)], check=True)


def test_commands_and_options_are_offered() -> None:
    assert offered([], "st") == ["status"]
    assert "--token-file" in offered(["status"], "--")


def test_targets_are_those_of_the_running_daemon(site: Site) -> None:
    site.register("dns", "203.0.113.10/32")
    assert offered(["drain", "--url", site.url], "") == ["203.0.113.10/32", "http:dns", "dns"]
    assert offered(["drain", "--url", site.url], "203") == ["203.0.113.10/32"]
    assert offered(["explain", "--url", site.url], "203") == offered(["drain", "--url", site.url], "203") != []


MORE_THAN_A_WORD = ("x y", "x\ny", "x\x1by", "x;reboot", "$(reboot)", "`reboot`", "x|y", "x>y", "-x", "~", "*")


@pytest.mark.parametrize("name", MORE_THAN_A_WORD)
def test_names_that_a_shell_would_take_for_more_than_a_word_are_not_offered(site: Site, name: str) -> None:
    site.daemon.others.append(
        AppView(AppKey(Source.CONSUL, name), Registration(name), AppState.PASSING, Reason.PASSING)
    )
    assert name not in offered(["drain", "--url", site.url], "")


def test_without_a_daemon_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert offered(["drain", "--url", f"unix://{tmp_path}/none"], "") == []
    assert offered(["undrain", "--url", f"unix://{tmp_path}/none"], "") == []


@pytest.mark.parametrize(
    "given",
    [{"COMP_LINE": "consulcast ev"}, {"COMP_WORDS": "consulcast ev", "COMP_CWORD": "1"}],
    ids=["now", "to a script of a former version"],
)
def test_the_program_answers_the_shell(given: dict[str, str]) -> None:
    env = {"_CONSULCAST_COMPLETE": "bash_complete", **given}
    done = subprocess.run([sys.executable, "-m", "consulcast"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "plain,events"


# -- a real bash, at a terminal ------------------------------------------------------------------------------------


class Terminal:
    """An interactive bash with the completion as it is installed."""

    def __init__(self, folder: Path, url: str) -> None:
        script, program = folder / "completion", folder / "consulcast"
        script.write_text(CliRunner().invoke(cli, ["completion", "bash"]).output)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m consulcast "$@"\n')
        program.chmod(0o755)
        self._ours, theirs = os.openpty()
        self._seen = ""
        os.set_blocking(self._ours, False)
        path = f"{folder}:{os.environ['PATH']}"
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={"PATH": path, "TERM": "dumb", "INPUTRC": "/dev/null", "COLUMNS": "500", "CONSULCAST_URL": url},
        )
        os.close(theirs)
        self._type(f"source {script}; echo rea''dy\n")
        self._wait(r"ready\r?\n")

    def words(self, typed: str) -> list[str]:
        """Type a line and a Tab, and return the words that bash makes of it."""
        self._type(f"{typed}\t\1printf '<%s>' \n")  # Ctrl-A: to the line's begin
        return re.findall("<(.*?)>", self._wait(r"(?<!%s)(?<!')(<consulcast>.*>)"))

    def close(self) -> None:
        self._bash.kill()
        self._bash.wait()
        os.close(self._ours)

    def _type(self, keys: str) -> None:
        gevent_os.nb_write(self._ours, keys.encode())

    def _wait(self, pattern: str) -> str:
        with gevent.Timeout(30.0, AssertionError(f"no {pattern!r} in {self._seen!r}")):
            while (found := re.search(pattern, self._seen)) is None:
                self._seen += gevent_os.nb_read(self._ours, 4096).decode()
        self._seen = self._seen[found.end() :]
        return found[0]


@pytest.fixture
def terminal(site: Site, tmp_path: Path) -> Iterator[Terminal]:
    site.register("web", "203.0.113.10/32")
    site.register("v6", "2001:db8::10/128")
    dns = AppView(AppKey(Source.CONSUL, "dns-1"), Registration("dns"), AppState.PASSING, Reason.PASSING)
    site.daemon.others.append(dns)
    made = Terminal(tmp_path, site.url)
    yield made
    made.close()


def test_names_with_colons_are_completed_as_one_word(terminal: Terminal) -> None:
    for typed, completed in (
        ("cons", "consul:dns-1"),
        ("consul:", "consul:dns-1"),
        ("consul:dn", "consul:dns-1"),
        ("2001:db8::", "2001:db8::10/128"),
        ("203", "203.0.113.10/32"),
        ("'consul:dn", "consul:dns-1"),
        ("--for 5m http:w", "http:web"),
    ):
        assert terminal.words(f"consulcast drain {typed}")[-1] == completed


def test_words_before_the_one_that_is_completed_are_taken_as_they_stand(terminal: Terminal, site: Site) -> None:
    for option in (f"--url={site.url}", f"--url {site.url}", "--reason 'a b:c'"):
        assert terminal.words(f"consulcast drain {option} consul:d")[-1] == "consul:dns-1"
    assert terminal.words("consulcast dra") == ["consulcast", "drain"]
    assert terminal.words("consulcast drain consul:dns-1 --rea")[-1] == "--reason"
