"""gevent's WSGI server on one listening socket: nobody's connection costs more than it may."""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from contextlib import suppress
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from consulcast.values import replace
from consulcast.web import tls
from consulcast.web.door import Door
from consulcast.web.handler import Handler
from consulcast.web.listen import Place
from consulcast.web.rights import Peer

log = logging.getLogger(__name__)

_BUSY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


class Server(WSGIServer):
    """Serves a WSGI application on one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        application: Any,
        door: Door | None = None,
        *,
        secure: bool = False,
        place: Place | None = None,
    ) -> None:
        """``secure``: over TLS, with the certificate of the door's settings at the time of each connection.

        ``place``: the listener's, if it has had one for a while.
        """
        self.door = door or Door()
        self._secure = secure
        # pywsgi would ask the resolver for its own name
        environ = {"SERVER_NAME": "localhost", "wsgi.multithread": False}
        environ |= {"wsgi.url_scheme": "https" if secure else "http"}
        pool = Pool(self.door.settings.limits.connections)
        super().__init__(listener, application, log=None, error_log=log, spawn=pool, environ=environ)
        self._place = place or Place.of(listener)

    def handle(self, sock: socket.socket, address: Any) -> None:
        """Serve one connection."""
        limits, gate = self.door.settings.limits, self.door.gate
        sock.settimeout(limits.send_time)
        try:
            peer = self._peer(sock, address)
        except OSError:  # it is gone already
            return
        if not gate.enter(peer, limits):
            if not self._secure:
                with suppress(OSError):
                    sock.sendall(_BUSY)
            return
        try:
            if self._secure:
                if not gate.ask(peer, limits, time.monotonic()):  # a handshake costs more than a request
                    self._handle_tls(sock, address, peer)
            else:
                self._serve(sock, address, peer)
        finally:
            gate.leave(peer)

    def _serve(self, sock: socket.socket, address: Any, peer: Peer) -> None:
        handler = Handler(sock, address, self)
        handler.peer = peer
        handler.handle()

    def _handle_tls(self, sock: socket.socket, address: Any, peer: Peer) -> None:
        context = self.door.settings.tls
        if context is None:
            return
        secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        try:
            try:
                gevent.with_timeout(self.door.settings.limits.handshake_time, secured.do_handshake)
                names = tls.names(secured.getpeercert())
            except (OSError, ValueError, gevent.Timeout) as error:  # no TLS, somebody else's certificate, too slow
                log.debug("TLS with %s: %s", peer.client, error)
                return
            self._serve(secured, address, replace(peer, certificate=names))
        finally:
            with suppress(OSError):
                secured.close()

    @staticmethod
    def _peer(sock: socket.socket, address: Any) -> Peer:
        """Find out who connected. Raises ``OSError``."""
        if sock.family == socket.AF_UNIX:
            # unix(7): as they were when it connected; nobody can give false ones but root
            _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return Peer(f"uid {uid}", here=True, owner=uid in (0, os.geteuid()))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer waits 40 ms for an ACK
        return Peer.at(address[0], sock.getsockname()[0])

    def close(self) -> None:
        """Stop to listen, and take the path away that is ours."""
        super().close()
        self._place.clear()
