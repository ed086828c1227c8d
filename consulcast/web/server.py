"""gevent's WSGI server, bounded in every direction: nobody's connection costs more than it may."""

from __future__ import annotations

import io
import logging
import os
import socket
from contextlib import suppress
from types import TracebackType
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from consulcast.web.errors import of_status

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 128  # of one listener; more wait in its backlog
MAX_HEADERS = 16 << 10  # bytes of all headers; the request line may have 8 KiB (pywsgi.MAX_REQUEST_LINE)
MAX_BODY = 64 << 10  # bytes
IDLE_TIME = 15.0  # seconds that a connection may wait for its next request
REQUEST_TIME = 5.0  # seconds from the first byte of a request to its last
SEND_TIME = 15.0  # seconds in which the client must take each part of an answer
LINGER_TIME = 0.5  # seconds to take what a refused client still sends: closing at once would lose it the answer

_HEADERS = "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"
_WORDS = {
    400: ("Bad Request", "not a request of HTTP/1.1 that can be understood"),
    408: ("Request Timeout", f"the request was not complete within {REQUEST_TIME:g} s"),
    413: ("Content Too Large", f"a body may have {MAX_BODY} bytes"),
    414: ("URI Too Long", "the request line may have 8192 bytes"),
    431: ("Request Header Fields Too Large", f"the headers may have {MAX_HEADERS} bytes"),
}


class _Refuse(Exception):
    """Ends a connection with an answer of the given status."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _HeaderLines(io.BufferedIOBase):
    """The header lines of one request, as long as they are not too many."""

    def __init__(self, lines: io.BufferedIOBase) -> None:
        self._lines, self._left = lines, MAX_HEADERS

    def readline(self, limit: int | None = None, /) -> bytes:
        line = self._lines.readline(min(limit or MAX_HEADERS, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise _Refuse(431)
        return line


class _Handler(WSGIHandler):
    """One connection. The whole request is read, within its time and size, before the application sees it."""

    def handle_one_request(self) -> Any:
        """Serve one request; returns ``True`` where another may follow."""
        try:
            first = gevent.with_timeout(IDLE_TIME, self.rfile.peek, 1, timeout_value=b"")
        except OSError:
            return None
        if not first:
            return None
        self._deadline = gevent.Timeout.start_new(REQUEST_TIME)
        try:
            answered = super().handle_one_request()
            if not isinstance(answered, tuple):
                return answered
            return self._refuse(int(answered[0]))
        except gevent.Timeout as expired:
            if expired is not self._deadline:
                raise
            return self._refuse(408)
        except _Refuse as refusal:
            return self._refuse(refusal.code)
        except OSError:  # the body ended early, or its chunks made no sense
            return self._refuse(400)
        finally:
            self._deadline.close()

    def MessageClass(self, lines: Any, *_: object) -> Any:
        """Read the headers."""
        return super().MessageClass(_HeaderLines(lines))

    def read_request(self, raw_requestline: str) -> Any:
        """Read the headers and check how the body is told. Raises ``ValueError``, ``_Refuse``."""
        super().read_request(raw_requestline)
        lengths = self.headers.get_all("content-length", [])
        coding = self.headers.get("transfer-encoding", "chunked").lower()
        if self.request_version == "HTTP/0.9" or coding != "chunked" or len(lengths) > 1:
            raise ValueError
        if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
            raise ValueError
        if self.content_length and self.content_length > MAX_BODY:
            raise _Refuse(413)
        return True

    def get_environ(self) -> dict[str, Any]:
        """Read the body too; the time for the request is over then."""
        environ: dict[str, Any] = super().get_environ()
        body = self.wsgi_input.read(MAX_BODY + 1) if self.wsgi_input is not None else b""
        if len(body) > MAX_BODY:
            raise _Refuse(413)
        self._deadline.close()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["wsgi.input_terminated"] = True
        return environ

    def _refuse(self, code: int) -> None:
        phrase, message = _WORDS.get(code, _WORDS[400])
        body = of_status(code, message).encode()
        answer = _HEADERS.format(code, phrase, len(body)).encode() + body
        gevent.with_timeout(LINGER_TIME, self._part_with, answer, timeout_value=None)

    def _part_with(self, answer: bytes) -> None:
        with suppress(OSError):
            self.socket.sendall(answer)
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(65536):
                pass

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        return (str(ex.code) if isinstance(ex, _Refuse) else "400"), b""

    def handle_error(self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None) -> None:
        """Cut a client that does not take its answer; what else fails is an error of ours."""
        if isinstance(v, OSError):
            self.close_connection = True
        else:
            super().handle_error(t, v, tb)

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        if not issubclass(t, gevent.GreenletExit):
            log.error("request %r failed", self.requestline, exc_info=(t, v, tb))


class Server(WSGIServer):
    """Serves a WSGI application on one listening socket."""

    handler_class = _Handler

    def __init__(self, listener: socket.socket, application: Any) -> None:
        # pywsgi would ask the resolver for its own name
        environ = {"SERVER_NAME": "localhost", "wsgi.multithread": False}
        super().__init__(listener, application, log=None, error_log=log, spawn=Pool(MAX_CONNECTIONS), environ=environ)
        self._path = listener.getsockname() if listener.family == socket.AF_UNIX else ""
        self._inode = os.stat(self._path).st_ino if self._path else 0

    def handle(self, sock: socket.socket, address: Any) -> None:
        """Serve one connection."""
        sock.settimeout(SEND_TIME)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer waits 40 ms for an ACK
        super().handle(sock, address)

    def close(self) -> None:
        """Stop to listen, and take the path away that is ours."""
        super().close()
        if self._path:
            with suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)
