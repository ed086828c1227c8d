"""python-consul2 made safe: the one file that touches the library.

From it come the HTTP layer, its session and its response type. Left aside is what a daemon cannot use (0.1.5): no
time-out by default, string indexes, headers dropped, a constructor that lets the environment override its arguments,
names quoted with ``/`` kept, a 404 as ``None``.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import gevent
import requests
import urllib3
from consul import base, std

from consulcast.consul.errors import ConsulError, Denied, Garbage, Rejected, TimedOut, Unreachable
from consulcast.consul.settings import ConsulSettings, usable_token
from consulcast.consul.transport import CONNECT_TIMEOUT, LONGEST, TooLong, session_for

_TOKEN = "X-Consul-Token"
_SHOWN = 200  # characters of what went wrong, which may quote the other side
SLACK = 10.0  # seconds: an agent whose servers have no leader says so after 7 (rpc_hold_timeout)


def segment(name: str) -> str:
    """A node's name as one path segment; with the library's own quoting ``/`` would name another endpoint."""
    if not name.strip("."):
        raise Rejected(f"{name!r} is no node's name: set CONSUL_NODE to the one that `consul members` shows")
    return quote(name, safe="")


class Http(std.HTTPClient):  # type: ignore[misc]  # python-consul2 has no types
    """The library's HTTP layer with time-outs, our own session and typed transport errors.

    ``uri``, ``get``, ``post`` and ``put`` are the library's own methods, overridden; paths are taken as quoted already.
    """

    session: requests.Session

    def __init__(self, settings: ConsulSettings, connections: int, restarts: bool = False) -> None:
        super().__init__()
        self.base_uri = settings.url
        self.session = session_for(settings, connections, restarts)
        self._settings = settings
        self._common = [("ns", settings.namespace), ("partition", settings.partition)]
        self._common = [(name, value) for name, value in self._common if value]
        self._token: str | None = None  # not read yet

    def uri(self, path: str, params: Sequence[tuple[str, str]] | None = None) -> str:
        """The URL of a path with its parameters, namespace and partition among them."""
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
        """GET, given up after the connect time-out and ``patience`` seconds, however slowly bytes drip in."""
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

    def _send(self, method: str, uri: str, body: bytes | None, patience: float) -> Any:
        """Send a request; once more, if it was denied and the token's file holds another token by now."""
        response = self._answer(method, uri, body, patience)
        if response.status_code in (401, 403):
            self._token = None
            denied = response.request.headers.get(_TOKEN)  # another greenlet may have read the file meanwhile
            if self._settings.token_file and self._headers().get(_TOKEN) != denied:
                response = self._answer(method, uri, body, patience)
        return base.Response(response.status_code, response.headers, "", response.content)

    def _answer(self, method: str, uri: str, body: bytes | None, patience: float) -> requests.Response:
        request = requests.Request(method, uri, headers=self._headers(), data=body).prepare()
        deadline = gevent.Timeout(CONNECT_TIMEOUT + patience)  # requests' own counts anew with every byte
        deadline.start()
        try:
            timeout = (CONNECT_TIMEOUT, patience)
            return self.session.send(request, timeout=timeout, proxies={}, allow_redirects=False)
        except gevent.Timeout as expired:
            if expired is not deadline:
                raise
            raise TimedOut(self._silent()) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:  # requests' own errors are OSErrors
            raise self._transport_error(error) from None
        except (OverflowError, MemoryError, ValueError):  # the length of a chunk, a redirect that is not UTF-8
            raise Garbage(f"what answers at {self._place} does not speak HTTP as Consul does: is it Consul?") from None
        except TooLong:
            raise Garbage(
                f"Consul at {self._place} answers with more than {LONGEST >> 20} MiB: whose services have such tags?"
            ) from None
        finally:
            deadline.close()

    def _headers(self) -> dict[str, str]:
        if self._token is None:
            self._token = self._read_token()
        headers = {"Accept-Encoding": "identity"}  # gzip costs both sides more than these bodies on loopback
        if self._token:
            headers[_TOKEN] = self._token
        return headers

    def _read_token(self) -> str:
        path = self._settings.token_file
        try:
            return (path and usable_token(path, Path(path).read_text().strip())) or self._settings.token
        except (OSError, ValueError) as error:
            raise Denied(f"Consul's token cannot be read from {path}: {error}") from None

    def _transport_error(self, error: Exception) -> ConsulError:
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return TimedOut(self._silent())
        if type(error) is urllib3.exceptions.ConnectTimeoutError:  # its subclasses are refusals, not time-outs
            return Unreachable(f"Consul at {self._place} does not accept connections: is a firewall in the way?")
        for path in (self._settings.verify, self._settings.client_cert, self._settings.client_key):
            if isinstance(path, str) and path and not os.access(path, os.R_OK):
                return Unreachable(f"TLS with Consul needs {path}, which cannot be read")
        root = list(_causes(error))[-1]
        said = (getattr(root, "strerror", None) or str(root) or type(root).__name__)[:_SHOWN]
        hint = "check the CA and our certificate" if isinstance(root, ssl.SSLError) else "is the agent running?"
        return Unreachable(f"Consul cannot be reached at {self._place} ({said}): {hint}")

    def _silent(self) -> str:
        return f"Consul at {self._place} takes requests and does not answer: agent frozen, or its server gone"

    @property
    def _place(self) -> str:
        return self._settings.unix_socket or self._settings.url


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The chain from an error down to the socket's own; requests and urllib3 wrap it several times."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
