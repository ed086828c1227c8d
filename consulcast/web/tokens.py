"""The file of bearer tokens: one a line, ``NAME SCOPE,SCOPE sha256:HEX``, or the token itself in the last place."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable

from msgspec import Struct

_LARGEST = 1 << 18  # bytes
_SHORTEST = 20  # characters of a token that stands there in plain
_SCOPES = ("read", "register", "drain")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")


class BadTokens(Exception):
    """The file cannot be used; the message says why and what to do, and never shows a token."""


class Token(Struct, frozen=True):
    """Somebody's token, known by its SHA-256."""

    name: str
    scopes: frozenset[str]
    digest: bytes

    def __repr__(self) -> str:
        return f"Token({self.name!r}, {self.scopes!r})"  # what it is found by is nobody's business


def find(tokens: Iterable[Token], presented: str) -> Token | None:
    """Return the token that was presented. How long it takes tells nothing of how near a guess came."""
    digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
    found = None
    for token in tokens:  # to the end, always
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found if presented else None


def load(path: str) -> tuple[Token, ...]:
    """Read the file, which must be root's or our own and private. Raises ``BadTokens``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block for ever
        with open(descriptor, "rb") as file:
            _check(path, os.fstat(descriptor))
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadTokens(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise BadTokens(f"{path} is larger than {_LARGEST} bytes")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise BadTokens(f"{path}: write names, scopes and tokens in ASCII") from None
    return parse(path, text)


def _check(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadTokens(f"{path} is not a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise BadTokens(f"{path} belongs to user {found.st_uid}, who could write himself a token: chown root {path}")
    # A daemon that is not root reads what root shares with its group.
    shared = 0o040 if os.geteuid() != 0 and found.st_gid == os.getegid() else 0
    if found.st_mode & 0o077 & ~shared:
        raise BadTokens(f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 {path}")


def parse(name: str, text: str) -> tuple[Token, ...]:
    """Read the file's text; ``name`` is for messages. Raises ``BadTokens``."""
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{name}:{number}"
        if len(words) != 3:
            raise BadTokens(f"{where}: write NAME SCOPE,SCOPE TOKEN: deploy register,read sha256:…")
        if not _NAME.fullmatch(words[0]):
            raise BadTokens(f"{where}: the name: use at most 64 letters, digits, and any of . _ @ -")
        token = Token(words[0], _scopes(where, words[1]), _digest(where, words[2]))
        if token.name in tokens:
            raise BadTokens(f"{where}: {token.name!r} stands twice: give each token a name of its own")
        if any(token.digest == other.digest for other in tokens.values()):
            raise BadTokens(f"{where}: this token stands there twice: make another")
        tokens[token.name] = token
    return tuple(tokens.values())


def _scopes(where: str, text: str) -> frozenset[str]:
    scopes = frozenset(text.split(","))
    if not scopes <= set(_SCOPES):
        raise BadTokens(f"{where}: scopes: write one or more of {', '.join(_SCOPES)}, with a comma between")
    return scopes


def _digest(where: str, text: str) -> bytes:
    hashed = _DIGEST.fullmatch(text)
    if hashed:
        return bytes.fromhex(hashed[1])
    if text.startswith("sha256:"):
        raise BadTokens(f"{where}: sha256: is followed by 64 hex digits: printf %s TOKEN | sha256sum")
    if len(text) < _SHORTEST or not _TOKEN.fullmatch(text):
        raise BadTokens(f"{where}: a token has {_SHORTEST} or more of A-Z a-z 0-9 . _ ~ + / -: openssl rand -hex 32")
    return hashlib.sha256(text.encode()).digest()
