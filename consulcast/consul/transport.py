"""The connections under python-consul2's requests session: TCP with keepalive, TLS, or a unix socket.

An adapter of our own over one urllib3 pool: requests' own adds 0.25 ms of work to every answer, obeys proxies and CA
variables of the environment, and knows no unix sockets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from consulcast.consul.settings import ConsulSettings
from consulcast.unix_connection import UnixPool

LONGEST = 256 << 20  # bytes of an answer; a tag may have a megabyte, and there may be any number of services
_PIECE = 1 << 20
CONNECT_TIMEOUT = 3.05  # seconds: just over the kernel's first SYN retransmissions (1 s + 2 s)

# A peer that vanished without a word (host frozen, path cut) is noticed after 10 + 3 x 5 s, not after hours.
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),  # milliseconds
]


def session_for(settings: ConsulSettings, connections: int, restarts: bool = False) -> requests.Session:
    """A requests session for this Consul alone, with as many kept connections as there are requests at once.

    ``restarts``: a kept connection that was closed without a word is an error. An agent does so when it ends, so that
    its restart shows even if it happens while nothing is asked.
    """
    session = requests.Session()
    session.trust_env = False  # no ~/.netrc either
    adapter = Adapter(settings, connections, restarts)
    for scheme in list(session.adapters):
        session.mount(scheme, adapter)
    return session


class Adapter(BaseAdapter):
    """Sends every request to one Consul, whatever host its URL names. No proxy, no redirect, no retry.

    ``send`` raises urllib3's exceptions as they are, and ``TooLong``.
    """

    def __init__(self, settings: ConsulSettings, connections: int, restarts: bool = False) -> None:
        super().__init__()
        self._pool = _pool(settings, connections)
        if restarts:
            self._pool.ConnectionCls = _telling(self._pool.ConnectionCls)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send, and read the whole answer. ``timeout`` is (connect, read); TLS is as the settings say."""
        connect, read = timeout
        raw = self._pool.urlopen(
            request.method or "GET",
            request.path_url,
            body=request.body,
            headers=request.headers,
            timeout=urllib3.Timeout(connect=connect, read=read),
            retries=False,
            redirect=False,
            decode_content=False,
            preload_content=False,
        )
        response = requests.Response()
        response.status_code, response.url, response.request = raw.status, request.url or "", request
        response.headers = CaseInsensitiveDict(raw.headers)
        response.raw = raw
        response._content = _body(raw)
        return response

    def close(self) -> None:
        """Drop the kept connections."""
        self._pool.close()


class TooLong(Exception):
    """The answer is longer than this host's memory should be given for."""


def _body(raw: urllib3.BaseHTTPResponse) -> bytes:
    """Read it all, and give the connection back. Raises ``TooLong``, and urllib3's exceptions."""
    pieces, left = [], LONGEST
    try:
        while piece := raw.read(_PIECE):  # to the end: only there it shows that an answer was cut short
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise TooLong
    except BaseException:
        raw.close()
        raise
    raw.release_conn()
    return b"".join(pieces)


def _pool(settings: ConsulSettings, connections: int) -> urllib3.HTTPConnectionPool:
    if settings.unix_socket:
        return UnixPool(settings.unix_socket, "consul", connections)
    url = urlsplit(settings.url)
    host, port = url.hostname or "", url.port
    if url.scheme == "http":
        return urllib3.HTTPConnectionPool(host, port, maxsize=connections, socket_options=_SOCKET_OPTIONS)
    tls: dict[str, Any] = {"cert_file": settings.client_cert or None, "key_file": settings.client_key or None}
    tls["cert_reqs"] = "CERT_REQUIRED" if settings.verify else "CERT_NONE"
    if isinstance(settings.verify, str):
        tls["ca_cert_dir" if os.path.isdir(settings.verify) else "ca_certs"] = settings.verify
    if not settings.verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # asked for; not once per poll
    return urllib3.HTTPSConnectionPool(host, port, maxsize=connections, socket_options=_SOCKET_OPTIONS, **tls)


def _telling(kind: Any) -> Any:
    """A kind of connection that lets the next request fail when the other side has closed it, as urllib3's do not."""

    class Telling(kind):  # type: ignore[misc]  # a class that is a value
        @property
        def is_connected(self) -> bool:
            return self.sock is not None

    return Telling
