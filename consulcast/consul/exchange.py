"""One answer over HTTP/1.1, read from a connection (RFC 9112).

Parsed by httptools, the parser of Node.js: this is how long a failure takes to be known. Python's own reads headers as
if they were a mail's, which costs 0.3 ms of an answer whose code is not in the processor's cache, more than all else
about it; urllib3 0.5, and requests over it 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from httptools import HttpParserError, HttpResponseParser
from msgspec import Struct

# Bytes of an answer, its headers among them; a tag may have a megabyte, and there may be any number of services.
LONGEST = 256 << 20
_PIECE = 1 << 18
_HEAD = 1 << 16  # bytes that may come without an end of the headers
_BODILESS = (204, 304)

Receive = Callable[[int], bytes]  # of a socket: up to so many bytes, none at the end


class TooLong(Exception):
    """The answer is longer than this host's memory should be given for."""


class Malformed(ValueError):
    """It began as HTTP and is none."""


class Reply(Struct, frozen=True):
    """An answer. ``reusable``: the connection takes another request."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    reusable: bool


def read(receive: Receive) -> Reply:
    """Read an answer to anything but HEAD. Raises ``OSError`` where it ends too soon, ``TooLong``, ``Malformed``."""
    answer = _Answer()
    begin = b""
    try:
        while not answer.complete:
            piece = receive(_PIECE)
            if not piece:
                if answer.ends_with_the_connection:
                    break
                raise ConnectionError("closed before the end of an answer" if begin else "closed without an answer")
            begin = begin or piece
            answer.feed(piece, begin)
    finally:
        answer.parser = None  # the two know each other, and would wait for the garbage collector
    return Reply(answer.status, answer.headers, b"".join(answer.pieces), answer.lasting and not answer.more)


class _Answer:
    """What the parser calls, which swallows what these raise: trouble is kept, and raised when it is back."""

    def __init__(self) -> None:
        self.parser: Any = HttpResponseParser(self)
        self._trouble: Exception | None = None
        self._came = 0  # bytes
        self.complete = self.more = False  # `more`: there came more than the answer
        self.on_message_begin()

    def feed(self, piece: bytes, begin: bytes) -> None:
        """Take in what has come. ``begin``: how it began."""
        self._came += len(piece)
        try:
            self.parser.feed_data(piece)
        except HttpParserError as error:
            if not self.complete:  # what follows is not ours
                self._trouble = self._trouble or _refusal(error, begin)
            self.more = True
        if self._trouble is not None:
            raise self._trouble
        if self._came > LONGEST:
            raise TooLong
        if not self._headed and self._came > _HEAD:
            raise Malformed("headers without an end")

    @property
    def ends_with_the_connection(self) -> bool:
        """Whether the end of the connection is the end of its body: nothing else says where it is."""
        return self._headed and not {"content-length", "transfer-encoding"} & self.headers.keys()

    def on_message_begin(self) -> None:
        if self.complete:
            self.more = True
            return
        self.status, self.lasting, self._headed = 0, False, False
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # what comes later are trailers, or another answer's
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self._headed = True
        self.status, self.lasting = self.parser.get_status_code(), self.parser.should_keep_alive()
        if self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            self._trouble = Malformed("neither chunked nor of one length")
        elif self.status not in _BODILESS and int(self.headers.get("content-length") or 0) > LONGEST:
            self._trouble = TooLong()

    def on_body(self, piece: bytes) -> None:
        if not self.complete:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.complete = self.complete or self.status >= 200  # before that it is no answer yet


def _refusal(error: HttpParserError, begin: bytes) -> Exception:
    if not begin.startswith(b"HTTP/1."):
        return ConnectionError(f"not HTTP: {begin[:60]!r}")
    return Malformed(str(error))
