"""One HTTP connection: what is read from it is bounded in size and time, and strictly HTTP/1.1 (RFC 9112)."""

from __future__ import annotations

import io
import logging
import re
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import gevent
from gevent.pywsgi import WSGIHandler

from consulcast.hub import breathe
from consulcast.web.limits import Limits
from consulcast.web.problem import of_status
from consulcast.web.rights import Peer

if TYPE_CHECKING:
    from consulcast.web.server import Server

log = logging.getLogger(__name__)

LINGER_TIME = 0.5  # seconds to take what a refused client still sends: closing at once would lose it the answer
_FRAMING = 4096  # bytes that the framing of an empty body may have
_AT_ONCE = 256  # bytes that are taken without a look at the time

_HEADERS = "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n"
_PHRASES = {
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}
# RFC 9112 section 5: no folding, no blank before the colon, no control character in the value. What a proxy before us
# reads in another way than we do is a request that it did not see.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_REQUEST_LINE = re.compile(r"[A-Z]{1,32} [\x21-\x7e\x80-\xff]+ HTTP/1\.[01]\r\n")


class Refuse(Exception):
    """Ends a connection with an answer of the given status."""

    def __init__(self, code: int, message: str = "", wait: float = 0.0) -> None:
        super().__init__(code)
        self.code, self.message, self.wait = code, message, wait


def _message(code: int, limits: Limits) -> str:
    """Say what the client may do instead."""
    return {
        400: "not a request of HTTP/1.1 that can be understood",
        408: f"the request was not complete within {limits.request_time:g} s",
        413: f"a body may have {limits.body} bytes",
        414: f"a URL may have {limits.url} bytes",
        431: f"the headers may have {limits.headers} bytes",
    }[code]


class _HeaderLines(io.BufferedIOBase):
    """The header lines of one request, as long as they are sound and not too many."""

    def __init__(self, lines: io.BufferedIOBase, most: int) -> None:
        self._lines, self._left = lines, most
        self.fields: list[tuple[str, str]] = []  # as they came: pywsgi takes some out of its own list

    def readline(self, limit: int | None = None, /) -> bytes:
        line = self._lines.readline(min(limit or self._left + 1, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise Refuse(431)
        if line == b"\r\n":
            return line
        if not _FIELD.fullmatch(line):
            raise Refuse(400, "a header line is not NAME: VALUE, or does not end with CR LF")
        name, _, value = line.decode("latin-1").partition(":")
        self.fields.append((name.lower(), value.strip()))
        return line


class _BodyBytes:
    """The bytes that a body is read from.

    A chunked body may have any number of extensions and trailers, and pywsgi takes them byte by byte: without a bound,
    and without a pause, a client that sends fast enough would have the whole daemon to itself.
    """

    def __init__(self, source: io.BufferedIOBase, most: int) -> None:
        self._source, self._left, self._pause = source, most, _AT_ONCE

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        self._pause -= len(data)
        if self._left < 0:
            raise Refuse(413)
        if self._pause < 0:
            self._pause = _AT_ONCE
            breathe()
        return data


class Handler(WSGIHandler):
    """One connection. The whole request is read, within its time and size, before the application sees it."""

    server: Server
    peer: Peer

    def handle_one_request(self) -> Any:
        """Serve one request; returns ``True`` where another may follow."""
        self._limits = limits = self.server.door.settings.limits
        breathe()  # a client that sends one request on the heels of the other must not be alone with the hub
        try:
            first = gevent.with_timeout(limits.idle_time, self.rfile.peek, 1, timeout_value=b"")
        except OSError:
            return None
        if not first:
            return None
        wait = self.server.door.gate.ask(self.peer, limits, time.monotonic())
        if wait:
            return self._refuse(Refuse(429, f"ask at most {limits.requests_per_second:g} times a second", wait))
        deadline = self._deadline = gevent.Timeout.start_new(limits.request_time)
        try:
            answered = super().handle_one_request()
            if not isinstance(answered, tuple):
                return answered
            return self._refuse(self._why or Refuse(int(answered[0])))
        except gevent.Timeout as expired:
            if expired is not deadline:
                raise
            return self._refuse(Refuse(408))
        except Refuse as refusal:
            return self._refuse(refusal)
        except OSError:  # the body ended early, or its chunks made no sense
            return self._refuse(Refuse(400))
        finally:
            deadline.close()

    _why: Refuse | None = None
    _deadline: gevent.Timeout | None = None  # of the request that is read

    @property
    def _url(self) -> str:
        return self.path or ""

    def MessageClass(self, lines: Any, *_: object) -> Any:
        """Read the headers."""
        self._lines = _HeaderLines(lines, self._limits.headers)
        return super().MessageClass(self._lines)

    def read_request(self, raw_requestline: str) -> Any:
        """Read the headers and check how the body is told. Raises ``ValueError``, ``Refuse``."""
        if not _REQUEST_LINE.fullmatch(raw_requestline):
            raise Refuse(400, "the request line is not METHOD URL HTTP/1.1, with one blank between")
        super().read_request(raw_requestline)
        if len(self._url) > self._limits.url:
            raise Refuse(414)
        self._check_host()
        self._check_body()
        return True

    def _check_host(self) -> None:
        """RFC 9112 section 3.2: one Host, except in HTTP/1.0; what a whole URL in the first line says counts more."""
        hosts = self._fields("host")
        if len(hosts) > 1 or (not hosts and self.request_version != "HTTP/1.0"):
            raise Refuse(400, "there must be one Host header")
        if self._url.startswith("/"):
            return
        try:
            url = urlsplit(self._url)
        except ValueError:
            raise Refuse(400) from None
        if url.scheme.lower() not in ("http", "https") or not url.netloc:
            raise Refuse(400, "the URL must begin with a slash")
        del self.headers["host"]
        self.headers["Host"] = url.netloc
        rest = self._url[len(url.scheme) + len("://") + len(url.netloc) :].partition("#")[0]
        self.path = rest if rest.startswith("/") else f"/{rest}"

    def _check_body(self) -> None:
        """RFC 9112 section 6.3: a length that can be read in two ways is a request smuggled past a proxy."""
        lengths = self._fields("content-length")
        codings = self._fields("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise Refuse(400, "the body's length is told more than once")
        if codings and (codings[0].lower() != "chunked" or self.request_version == "HTTP/1.0"):
            raise Refuse(400, "the one Transfer-Encoding is chunked, of HTTP/1.1")
        if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Refuse(400, "Content-Length is not a number")
        if self.content_length and self.content_length > self._limits.body:
            raise Refuse(413)

    def _fields(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self._lines.fields if key == name]

    def get_environ(self) -> dict[str, Any]:
        """Read the body too; the time for the request is over then."""
        environ: dict[str, Any] = super().get_environ()
        most = self._limits.body
        body = b""
        if self.wsgi_input is not None:
            # A chunked body's framing may take as much again.
            self.wsgi_input.rfile = cast(Any, _BodyBytes(self.rfile, 2 * most + _FRAMING))
            try:
                body = self.wsgi_input.read(most + 1)
            except ValueError:  # a chunk without a size
                raise Refuse(400) from None
        if len(body) > most:
            raise Refuse(413)
        if self._deadline is not None:
            self._deadline.close()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["wsgi.input_terminated"] = True
        environ["consulcast.peer"] = self.peer
        return environ

    def _refuse(self, why: Refuse) -> None:
        if self._deadline is not None:
            self._deadline.close()  # it is answered in time; to part has a time of its own
        self._why = None
        message = why.message or _message(why.code, self._limits)
        body = of_status(why.code, message).encode()
        more = f"Retry-After: {int(why.wait) + 1}\r\n" if why.wait else ""
        answer = _HEADERS.format(why.code, _PHRASES.get(why.code, "Bad Request"), len(body), more).encode() + body
        gevent.with_timeout(LINGER_TIME, self._part_with, answer, timeout_value=None)

    def _part_with(self, answer: bytes) -> None:
        with suppress(OSError):
            self.socket.sendall(answer)
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(65536):
                breathe()

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        self._why = ex if isinstance(ex, Refuse) else Refuse(400)
        return str(self._why.code), b""

    def handle_error(self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None) -> None:
        """Cut a client that does not take its answer; what else fails is an error of ours."""
        if isinstance(v, OSError):
            self.close_connection = True
        else:
            super().handle_error(t, v, tb)

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        if not issubclass(t, gevent.GreenletExit):
            # Without the query: what stands there may be somebody's secret.
            path, extra = self._url.partition("?")[0], {"reason": "request-failed"}
            log.error("request %s %r failed", self.command, path, exc_info=(t, v, tb), extra=extra)
