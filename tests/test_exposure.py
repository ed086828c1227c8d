"""Who else may write or read what decides, or is secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consulcast import config
from consulcast.exposure import who_else

BGP = "bgp: {local_as: 65001, peer_as: 65010, peer_ip: 198.51.100.2}\n"


@pytest.mark.parametrize(
    ("mode", "secret", "word"),
    [
        (0o600, True, ""),
        (0o640, True, ""),
        (0o644, False, ""),
        (0o644, True, "read by everybody"),
        (0o666, False, "written by everybody"),
    ],
)
def test_file_that_is_open_to_all_is_told(tmp_path: Path, mode: int, secret: bool, word: str) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert word in (found := who_else(str(path), secret=secret))
    assert bool(found) is bool(word)
    assert who_else(str(tmp_path / "none"), secret=True) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_file_of_somebody_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    os.chown(path, 65534, 65534)
    assert "belongs to user 65534" in who_else(str(path), secret=False)


@pytest.mark.parametrize(
    ("more", "files"),
    [
        ("", set()),
        ("consul: {token: a-secret}\n", {"file.yaml"}),
        ("agent: {consul_token: a-secret}\n", {"file.yaml"}),
        ("consul: {token_file: SECRET}\n", {"secret"}),
        (BGP.replace("peer_ip: 198.51.100.2", "peers: [{address: 198.51.100.2, password: a-secret}]"), {"file.yaml"}),
        (BGP.replace("peer_ip: 198.51.100.2", "peers: [{address: 198.51.100.2, password_file: SECRET}]"), {"secret"}),
    ],
)
def test_start_warns_of_each_file_with_a_secret(tmp_path: Path, more: str, files: set[str]) -> None:
    secret, path = tmp_path / "secret", tmp_path / "file.yaml"
    secret.write_text("a-secret\n")
    path.write_text((more if more.startswith("bgp") else BGP + more).replace("SECRET", str(secret)))
    for each in (secret, path):
        each.chmod(0o644)
    warned = [line for line in config.load(str(path)).warnings if "holds a secret" in line]
    assert {Path(line.split()[0]).name for line in warned} == files
    assert "a-secret" not in "".join(warned)
    for each in (secret, path):
        each.chmod(0o640)
    assert config.load(str(path)).warnings == ()
