"""The shell's completion, as the shell asks for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

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


def test_names_that_would_be_more_than_a_word_are_not_offered(site: Site) -> None:
    for name in ("x y", "x\ny", "x\x1by"):
        site.daemon.others.append(
            AppView(AppKey(Source.CONSUL, name), Registration(name), AppState.PASSING, Reason.PASSING)
        )
    assert offered(["drain", "--url", site.url], "") == []


def test_without_a_daemon_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert offered(["drain", "--url", f"unix://{tmp_path}/none"], "") == []
    assert offered(["undrain", "--url", f"unix://{tmp_path}/none"], "") == []


def test_the_program_answers_the_shell() -> None:
    env = {"_CONSULCAST_COMPLETE": "bash_complete", "COMP_WORDS": "consulcast ev", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "consulcast"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "plain,events"
