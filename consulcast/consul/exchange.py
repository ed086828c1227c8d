"""One answer over HTTP/1.1, read from a connection (RFC 9112).

Our own, because this is how long a failure takes to be known: Python's reads headers as if they were a mail's, which
costs 0.3 ms of an answer whose code is not in the processor's cache, more than all else about it; urllib3 0.5, and
requests over it 1.2. What is not as the RFC has it is refused, and nothing is believed about lengths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LONGEST = 256 << 20  # bytes of an answer; a tag may have a megabyte, and there may be any number of services
_PIECE = 1 << 18
_HEAD = 1 << 16  # bytes of a status line and its headers
_LINE = 1 << 12  # bytes of a line that says how long a chunk is
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?", re.DOTALL)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}")
_BODILESS = (204, 304)

Receive = Callable[[int], bytes]  # of a socket: up to so many bytes, none at the end


class TooLong(Exception):
    """The answer is longer than this host's memory should be given for."""


class Malformed(ValueError):
    """It began as HTTP and is none."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``reusable``: the connection takes another request."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    reusable: bool


def read(receive: Receive) -> Reply:
    """Read an answer to anything but HEAD. Raises ``OSError`` where it ends too soon, ``TooLong``, ``Malformed``."""
    stream = _Stream(receive)
    lasting, status, lines = _head(stream)
    while status < 200:  # no answer yet
        lasting, status, lines = _head(stream)
    headers = _headers(lines)
    reusable = lasting and "close" not in headers.get("connection", "").lower()
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if status in _BODILESS:
        body = b""
    elif coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Malformed("neither chunked nor of one length")
        body = _chunked(stream)
    elif length is not None:
        if _LENGTH.fullmatch(length) is None:
            raise Malformed("a length that is no number")
        body = b"".join(stream.take(_bounded(int(length))))
    else:
        body, reusable = stream.rest(), False
    return Reply(status, headers, body, reusable and stream.empty)


def _head(stream: _Stream) -> tuple[bool, int, list[bytes]]:
    """Read whether a connection is one that lasts, the status, and the lines of the headers."""
    first, *lines = stream.until(b"\r\n\r\n", _HEAD).split(b"\r\n")
    if (found := _STATUS_LINE.fullmatch(first)) is None:
        raise ConnectionError(f"not HTTP: {first[:60]!r}")
    return found[1] == b"1", int(found[2]), lines


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not colon or not name or name != name.strip():
            raise Malformed("a header without a name")
        if headers.setdefault(name, value) != value and name in ("content-length", "transfer-encoding"):
            raise Malformed("two lengths")
    return headers


def _chunked(stream: _Stream) -> bytes:
    pieces: list[bytes] = []
    length = 0
    while True:
        found = _CHUNK_SIZE.fullmatch(stream.until(b"\r\n", _LINE))
        if found is None:
            raise Malformed("a chunk without a length")
        size = int(found[1], 16)
        if not size:
            break
        length = _bounded(length + size)
        pieces += stream.take(size)
        if stream.until(b"\r\n", _LINE):
            raise Malformed("a chunk of another length")
    while stream.until(b"\r\n", _HEAD):
        pass  # trailers, of which we expect none
    return b"".join(pieces)


def _bounded(length: int) -> int:
    if length > LONGEST:
        raise TooLong
    return length


class _Stream:
    """What comes in, in the parts that are asked for. Nothing is copied twice."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._held, self._at = b"", 0  # what came in and from where on it has not been asked for

    @property
    def empty(self) -> bool:
        """Whether nothing came in that has not been asked for."""
        return self._at == len(self._held)

    def until(self, mark: bytes, most: int) -> bytes:
        """All before the next ``mark``, which is passed over."""
        while (end := self._held.find(mark, self._at)) < 0:
            if len(self._held) - self._at > most:
                raise Malformed("a line without an end")
            self._held, self._at = self._held[self._at :] + self._more(), 0
        found, self._at = self._held[self._at : end], end + len(mark)
        return found

    def take(self, count: int) -> list[bytes]:
        """So many bytes."""
        pieces = [self._held[self._at : self._at + count]]
        self._at += len(pieces[0])
        count -= len(pieces[0])
        while count > 0:
            self._held = self._more()
            self._at = min(count, len(self._held))
            pieces.append(self._held[:count])
            count -= self._at
        return pieces

    def rest(self) -> bytes:
        """All that comes."""
        pieces = [self._held[self._at :]]
        length = _bounded(len(pieces[0]))
        while piece := self._receive(_PIECE):
            length = _bounded(length + len(piece))
            pieces.append(piece)
        self._held, self._at = b"", 0
        return b"".join(pieces)

    def _more(self) -> bytes:
        if not (piece := self._receive(_PIECE)):
            raise ConnectionError("closed before the end of an answer" if self._held else "closed without an answer")
        return piece
