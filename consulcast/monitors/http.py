"""Monitor ``http``: passing while a URL answers with a status that was asked for. Redirects are not followed."""

from __future__ import annotations

import functools
from http.client import HTTPConnection, HTTPException

from gevent import socket, ssl

from consulcast import __version__
from consulcast.model import MonitorSpec
from consulcast.monitors import targets
from consulcast.monitors.lanes import Lanes, Turn
from consulcast.monitors.network import connect, within
from consulcast.monitors.probe import Look

_MOST = 1 << 16  # bytes of the body that are waited for


# The URL is that of whoever wrote the tag: this daemon's own endpoint, for one, must not take it for its host's word.
_VIA = "1.1 consulcast-monitor"  # RFC 9110 section 7.6.3


class HttpProbe:
    """Asks for a URL over a connection of its own."""

    def __init__(self, spec: MonitorSpec, lanes: Lanes) -> None:
        self._url = targets.url(spec)
        self._tls = _tls(self._url.verify) if self._url.tls else None
        self._turn = Turn(lanes)

    def look(self, timeout: float) -> Look:
        """Ask once."""
        with self._turn:
            return within(timeout, self._ask)

    def _ask(self) -> Look:
        url = self._url
        with connect(url.endpoint) as plain:
            if self._tls is None:
                return self._over(plain)
            with self._tls.wrap_socket(plain, server_hostname=url.server_name, do_handshake_on_connect=False) as tls:
                tls.do_handshake()  # not before, so that the socket is closed whatever happens meanwhile
                return self._over(tls)

    def _over(self, stream: socket.socket) -> Look:
        url = self._url
        connection = HTTPConnection(url.endpoint.host, url.endpoint.port)
        connection.sock = stream  # so that it connects to nothing itself
        headers = {"Host": url.host, "User-Agent": f"consulcast/{__version__}", "Connection": "close", "Via": _VIA}
        try:
            connection.request("GET", url.path, headers=headers)
            with connection.getresponse() as response:
                cut = len(response.read(_MOST)) < _MOST and bool(response.length)
        except HTTPException as error:
            return Look(False, f"no HTTP answer: {type(error).__name__} {error}"[:200])
        if cut:
            return Look(False, f"status {response.status}, and the body ends too early")
        where = response.getheader("Location")
        answer = f"status {response.status}" + (f", to {where[:100]!r}" if where else "")
        return Look(any(first <= response.status <= last for first, last in url.statuses), answer)


@functools.cache
def _tls(verify: bool) -> ssl.SSLContext:
    """One context for all: loading the system's certificates takes 25 ms."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
