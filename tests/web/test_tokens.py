"""The file of tokens: what it may say, and who may have it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.web.tokens import BadTokens, find, load, parse

SECRET = "a-secret-of-some-length"
HASHED = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.mark.parametrize("written", [SECRET, f"sha256:{HASHED}", f"sha256:{HASHED.upper()}"])
def test_token_is_found_by_itself_however_it_is_written(written: str) -> None:
    tokens = parse("f", f"# who may what\n\n  first read another-secret-of-length\n deploy\tread,drain   {written}\r\n")
    found = find(tokens, SECRET)
    assert found is not None
    assert (found.name, sorted(found.scopes)) == ("deploy", ["drain", "read"])
    assert find(tokens, HASHED) is None
    assert find(tokens, "") is None


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    (token,) = parse("f", f"deploy read {SECRET}")
    assert SECRET not in repr(token)
    assert HASHED not in repr(token)
    assert str(token.digest) not in repr(token)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("deploy read", "f:1: write NAME SCOPE,SCOPE TOKEN"),
        (f"\n\ndeploy read {SECRET} x", "f:3: write NAME"),
        (f"dep:loy read {SECRET}", "f:1: the name"),
        (f"deploy write {SECRET}", "one or more of read, register, drain"),
        (f"deploy read,,drain {SECRET}", "one or more of"),
        ("deploy read short-secret", "20 or more"),
        ('deploy read a"secret"with"quotes"in', "20 or more"),
        (f"deploy read sha256:{HASHED[:-1]}", "64 hex digits"),
        (f"deploy read sha256:{SECRET}", "64 hex digits"),
        (f"a read {SECRET}\na read another-secret-of-length", "f:2: 'a' stands twice"),
        (f"a read {SECRET}\nb read sha256:{HASHED}", "f:2: this token stands there twice"),
    ],
)
def test_mistakes_are_named_and_no_token_is_shown(text: str, says: str) -> None:
    with pytest.raises(BadTokens) as caught:
        parse("f", text)
    assert says in str(caught.value)
    for secret in (SECRET, HASHED, "short-secret"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_private_file_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"deploy read {SECRET}")
    path.chmod(mode)
    assert [token.name for token in load(str(path))] == ["deploy"]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602, 0o660])
def test_file_that_others_may_touch_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"deploy read {SECRET}")
    path.chmod(mode)
    with pytest.raises(BadTokens, match=f"mode {mode:04o}.*chmod 600 {path}"):
        load(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give a file away")
def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"deploy read {SECRET}")
    path.chmod(0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(BadTokens, match="belongs to user 12345"):
        load(str(path))


def test_root_may_share_the_file_with_the_daemons_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"deploy read {SECRET}")
    path.chmod(0o640)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid or 1234)
    monkeypatch.setattr(os, "getegid", lambda: path.stat().st_gid)
    assert load(str(path))
    path.chmod(0o660)
    with pytest.raises(BadTokens, match="open to others"):
        load(str(path))


def test_what_is_no_file_of_tokens_is_told(tmp_path: Path) -> None:
    fifo, binary, large = tmp_path / "fifo", tmp_path / "binary", tmp_path / "large"
    os.mkfifo(fifo, 0o600)
    binary.write_bytes(b"\xff\xfe")
    large.write_bytes(b"#" * (1 << 19))
    for path in (binary, large):
        path.chmod(0o600)
    for path, says in (
        (tmp_path / "none", "cannot be read"),
        (fifo, "not a regular file"),
        (tmp_path, "cannot be read|not a regular file"),
        (binary, "ASCII"),
        (large, "larger"),
    ):
        with pytest.raises(BadTokens, match=says):
            load(str(path))


@given(st.text(max_size=200))
def test_any_text_is_tokens_or_a_mistake(text: str) -> None:
    try:
        tokens = parse("f", text)
    except BadTokens:
        return
    assert all(token.scopes for token in tokens)
