"""The manual page is that of the commands as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from consulcast.cli import cli
from consulcast.cli.exits import MEANINGS
from consulcast.cli.manual import page

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "deploy" / "consulcast.1"
DOCUMENT = (ROOT / "docs" / "cli.md").read_text()


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == page(), "python -m consulcast.cli.manual >deploy/consulcast.1"


@pytest.mark.parametrize(
    "command",
    [
        ["man", "--warnings=w", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(PAGE)],
        ["groff", "-man", "-ww", "-z", "-K", "utf8", str(PAGE)],
        ["mandoc", "-T", "lint", "-W", "warning", str(PAGE)],
    ],
)
def test_no_reader_of_it_complains(command: list[str]) -> None:
    if shutil.which(command[0]) is None and not os.environ.get("CI"):
        pytest.skip(f"no {command[0]} here (integration/setup.sh lab)")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.stdout == "" or command[0] == "man"  # which shows the page
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_command_stands_in_the_document(name: str) -> None:
    assert f"`consulcast {name}" in DOCUMENT or f"consulcast {name}" in DOCUMENT


@pytest.mark.parametrize("status", MEANINGS)
def test_every_exit_status_stands_in_the_document(status: int) -> None:
    assert f"| {status} | {MEANINGS[status]} |" in DOCUMENT
