"""python-consul2 made safe: the one file that touches the library.

From it come the HTTP layer and its response type. Left aside is what a daemon cannot use (0.1.5): no time-out by
default, string indexes, headers dropped, a constructor that lets the environment override its arguments, names quoted
with ``/`` kept, a 404 as ``None``; and requests, which it sends with: a question took it a millisecond of the processor
that goes with one of ours in a fifth of that, and its import more of the start than all the rest of this package.
"""

from __future__ import annotations

import importlib
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from consulcast.bare import import_bare
from consulcast.consul.errors import ConsulError, Denied, Garbage, Rejected, TimedOut, Unreachable
from consulcast.consul.exchange import LONGEST, Reply, TooLong
from consulcast.consul.settings import ConsulSettings, usable_token
from consulcast.consul.transport import Connections, Silent, Unconnected

_SHOWN = 200  # characters of what went wrong, which may quote the other side
_TARGET = re.compile(r"[!-~]+")
SLACK = 10.0  # seconds: an agent whose servers have no leader says so after 7 (rpc_hold_timeout)


# The package imports ``consul.std``, and with it requests.
base: Any = import_bare("consul.base", ("consul",), "HTTPClient") or importlib.import_module("consul.base")


def segment(name: str) -> str:
    """A node's name as one path segment; with the library's own quoting ``/`` would name another endpoint."""
    if not name.strip("."):
        raise Rejected(f"{name!r} is no node's name: set CONSUL_NODE to the one that `consul members` shows")
    return quote(name, safe="")


class Http(base.HTTPClient):  # type: ignore[misc]  # a class that is a value: python-consul2 has no types
    """The library's HTTP layer over connections of our own, with time-outs and typed errors.

    ``uri``, ``get``, ``post``, ``put`` and ``delete`` are the library's own methods; paths are taken as quoted already.
    """

    def __init__(self, settings: ConsulSettings, connections: int, restarts: bool = False) -> None:
        super().__init__()
        url = urlsplit(settings.url)
        self.base_uri = url.path
        self._connections = Connections(settings, connections, restarts)
        self._settings = settings
        self._common = [("ns", settings.namespace), ("partition", settings.partition)]
        self._common = [(name, value) for name, value in self._common if value]
        host = (url.hostname or "").encode("idna").decode("ascii")
        host = f"[{host}]" if ":" in host else host
        host = host if url.port is None else f"{host}:{url.port}"
        # gzip would cost both sides more than these bodies on loopback
        self._headers = f"Host: {host}\r\nAccept-Encoding: identity\r\nUser-Agent: consulcast\r\n"
        self._token: str | None = None  # not read yet

    def uri(self, path: str, params: Sequence[tuple[str, str]] | None = None) -> str:
        """What a request asks for: a path with its parameters, namespace and partition among them."""
        query = urlencode([*(params or ()), *self._common])
        return f"{self.base_uri}{path}?{query}" if query else f"{self.base_uri}{path}"

    def get(
        self,
        callback: Any,
        path: str,
        params: Sequence[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        patience: float = SLACK,
    ) -> Any:
        """GET, given up after ``patience`` seconds, and before that ``SLACK`` to connect, however bytes drip in."""
        return callback(self._send("GET", self.uri(path, params), None, patience))

    def post(
        self,
        callback: Any,
        path: str,
        params: Sequence[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> Any:
        """POST, for answers that come at once."""
        return callback(self._send("POST", self.uri(path, params), data, SLACK))

    def put(
        self,
        callback: Any,
        path: str,
        params: Sequence[tuple[str, str]] | None = None,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """PUT, for answers that come at once."""
        return callback(self._send("PUT", self.uri(path, params), data, SLACK))

    def delete(
        self,
        callback: Any,
        path: str,
        params: Sequence[tuple[str, str]] | None = None,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """DELETE, for answers that come at once."""
        return callback(self._send("DELETE", self.uri(path, params), data, SLACK))

    def close(self) -> None:
        """Drop the kept connections."""
        self._connections.close()

    def _send(self, method: str, target: str, body: bytes | None, patience: float) -> Any:
        """Send a request; once more, if it was denied and the token's file holds another token by now."""
        token = self._current_token()
        reply = self._answer(method, target, token, body, patience)
        if reply.status in (401, 403):
            self._token = None
            if self._settings.token_file and self._current_token() != token:
                reply = self._answer(method, target, self._current_token(), body, patience)
        return base.Response(reply.status, reply.headers, "", reply.body)

    def _answer(self, method: str, target: str, token: str, body: bytes | None, patience: float) -> Reply:
        if _TARGET.fullmatch(target) is None:
            raise Garbage(f"Consul at {self._place} gave us a name that cannot be asked for")
        credential = f"X-Consul-Token: {token}\r\n" if token else ""
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {target} HTTP/1.1\r\n{self._headers}{credential}{length}\r\n".encode("ascii")
        try:
            return self._connections.ask(head + (body or b""), SLACK, patience)
        except Unconnected:
            raise TimedOut(
                f"no connection to Consul at {self._place} in {SLACK:g} s: does its name resolve, does it speak TLS?"
            ) from None
        except Silent:
            raise TimedOut(
                f"Consul at {self._place} takes requests and does not answer: agent frozen, or its server gone"
            ) from None
        except OSError as error:
            raise self._transport_error(error) from None
        except (ValueError, MemoryError):
            raise Garbage(f"what answers at {self._place} does not speak HTTP as Consul does: is it Consul?") from None
        except TooLong:
            raise Garbage(
                f"Consul at {self._place} answers with more than {LONGEST >> 20} MiB: whose services have such tags?"
            ) from None

    def _current_token(self) -> str:
        """The token; of a file as it was read last."""
        if self._token is None:
            self._token = self._read_token()
        return self._token

    def _read_token(self) -> str:
        path = self._settings.token_file
        try:
            return (path and usable_token(path, Path(path).read_text().strip())) or self._settings.token
        except (OSError, ValueError) as error:
            raise Denied(f"Consul's token cannot be read from {path}: {error}") from None

    def _transport_error(self, error: OSError) -> ConsulError:
        if isinstance(error, TimeoutError) and error.errno is None:  # our own time-out for connecting
            return Unreachable(f"Consul at {self._place} does not accept connections: is a firewall in the way?")
        for path in (self._settings.verify, self._settings.client_cert, self._settings.client_key):
            if isinstance(path, str) and path and not os.access(path, os.R_OK):
                return Unreachable(f"TLS with Consul needs {path}, which cannot be read")
        root = list(_causes(error))[-1]
        said = (getattr(root, "strerror", None) or str(root) or type(root).__name__)[:_SHOWN]
        hint = "check the CA and our certificate" if isinstance(root, ssl.SSLError) else "is the agent running?"
        return Unreachable(f"Consul cannot be reached at {self._place} ({said}): {hint}")

    @property
    def _place(self) -> str:
        return self._settings.unix_socket or self._settings.url


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The chain from an error down to the first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
