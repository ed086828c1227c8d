"""The connections to one Consul: TCP with keepalive, TLS, or a unix socket. No proxy, no redirect, no second try."""

from __future__ import annotations

import os
import socket
import ssl
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import gevent
from gevent.monkey import get_original

from consulcast.consul.exchange import Reply, read
from consulcast.consul.settings import ConsulSettings

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
_poll = get_original("select", "poll")  # asks the kernel and returns; gevent's would let others go first


class Silent(Exception):
    """There was no whole answer in time, however slowly bytes drip in."""


class Unconnected(Silent):
    """There was no connection in time: its name is not resolved, no address answers, or it says nothing to TLS."""


class Connections:
    """Sends requests, each over a connection of its own while it is under way, and keeps up to ``most`` for the next.

    ``restarts``: a kept connection that was closed without a word is an error. An agent does so when it ends, so that
    its restart shows even if it happens while nothing is asked.
    """

    def __init__(self, settings: ConsulSettings, most: int, restarts: bool = False) -> None:
        self._connect = _connecting(settings)
        self._most, self._restarts = most, restarts
        self._kept: list[socket.socket] = []
        weakref.finalize(self, _close, self._kept)

    def ask(self, request: bytes, connecting: float, patience: float) -> Reply:
        """Send a request and read its whole answer.

        The first two may take ``connecting`` seconds where there is no connection yet, the rest ``patience``.
        Raises ``OSError`` (a ``TimeoutError`` where nobody takes connections), ``Unconnected``, ``Silent``,
        ``Malformed``, ``TooLong``.
        """
        connection = self._usable()
        if connection is None:
            with gevent.Timeout(connecting, Unconnected):
                connection = self._connect()
        try:
            with gevent.Timeout(patience, Silent):
                connection.sendall(request)
                reply = read(connection.recv)
        except BaseException:  # killed as well: an answer that is not awaited must not be the next one's
            connection.close()
            raise
        if reply.reusable and len(self._kept) < self._most:
            self._kept.append(connection)
        else:
            connection.close()
        return reply

    def close(self) -> None:
        """Drop the kept connections, and keep none from now on."""
        self._most = 0
        _close(self._kept)

    def _usable(self) -> socket.socket | None:
        """A kept connection on which nothing has come since; one that was closed, if that would show a restart."""
        while self._kept:
            connection = self._kept.pop()
            if not _has_something(connection) or (self._restarts and _is_over(connection)):
                return connection
            connection.close()
        return None


def _close(connections: list[socket.socket]) -> None:
    while connections:
        connections.pop().close()


def _has_something(connection: socket.socket) -> bool:
    """Whether there is something to read where nothing was asked: the end, as a rule."""
    poll = _poll()
    poll.register(connection.fileno(), 1)  # POLLIN
    return bool(poll.poll(0))


def _is_over(connection: socket.socket) -> bool:
    """Whether that is the end, and no answer to something else, which would be taken for the next one.

    Of TLS this is not known; nobody but Consul can have written it.
    """
    try:
        return isinstance(connection, ssl.SSLSocket) or not connection.recv(1, socket.MSG_PEEK)
    except OSError:  # the end of another kind
        return True


def _connecting(settings: ConsulSettings) -> Callable[[], socket.socket]:
    if settings.unix_socket:
        return partial(_unix, settings.unix_socket)
    url = urlsplit(settings.url)
    host, port = url.hostname or "", url.port or 0
    return partial(_tcp, host, port) if url.scheme == "http" else partial(_tls, settings, host, port)


def _unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_TIMEOUT)
        connection.connect(path)
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection


def _tcp(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), CONNECT_TIMEOUT)
    try:
        for option in _SOCKET_OPTIONS:
            connection.setsockopt(*option)
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection


def _tls(settings: ConsulSettings, host: str, port: int) -> socket.socket:
    """Connect, with what the certificates' files hold now."""
    connection: Any = _tcp(host, port)
    try:
        # the handshake later: a wrapper that is never returned could not be closed
        connection = _context(settings).wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
        connection.do_handshake()
    except BaseException:
        connection.close()
        raise
    return cast(socket.socket, connection)


def _context(settings: ConsulSettings) -> ssl.SSLContext:
    verify = settings.verify
    if verify:
        path = verify if isinstance(verify, str) else None
        is_directory = path is not None and os.path.isdir(path)
        context = ssl.create_default_context(capath=path) if is_directory else ssl.create_default_context(cafile=path)
        context.hostname_checks_common_name = False
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    if settings.client_cert:
        context.load_cert_chain(settings.client_cert, settings.client_key or None, _no_password)
    return context


def _no_password() -> str:
    raise ssl.SSLError("our private key is encrypted, and there is nobody to ask for its password")
