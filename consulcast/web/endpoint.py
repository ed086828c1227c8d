"""The HTTP endpoint: one application behind all the addresses that it listens on."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from consulcast import loading
from consulcast.web.door import Door, Settings
from consulcast.web.listen import Address, Place, listen
from consulcast.web.view import View

if TYPE_CHECKING:
    from consulcast.web.server import Server

log = logging.getLogger(__name__)


class _Waiting(Struct, frozen=True):
    """A socket that listens, and takes no connections yet."""

    listener: socket.socket
    place: Place
    tls: bool


class Endpoint:
    """Serves the daemon's view. Raises ``ListenError`` when made, if it cannot listen.

    It takes connections from ``start`` on, which loads what answers them; who comes before waits in the kernel.
    ``own``: the path of a unix socket beside the configured addresses, for root and the daemon's own user.
    """

    def __init__(self, view: View, settings: Settings, own: str = "") -> None:
        self._view, self._door = view, Door(settings)
        self._waiting: list[_Waiting] = []
        self._servers: list[Server] = []
        self.open = False  # whether connections are taken
        try:
            if own and all(address.path != own for address in settings.listen):
                self._listen(Address(f"unix://{own}", path=own), None)
            for address in settings.listen:
                self._listen(address, settings.socket_group)
        except BaseException:
            self.stop()
            raise

    def _listen(self, address: Address, group: int | None) -> None:
        listener = listen(address, group)
        self._waiting.append(_Waiting(listener, Place.of(listener), address.tls))

    def start(self) -> None:
        """Take connections. Others have their turn meanwhile."""
        open_to = [address.text for address in self._door.settings.listen if not address.local]
        if open_to and not self._door.settings.access.authenticates:
            log.warning(
                "HTTP on %s can be reached from elsewhere: for reading; changes are taken from this host alone "
                "(loopback) until api.tokens_file is set",
                ", ".join(open_to),
                extra={"reason": "http-without-tokens"},
            )
        with loading.in_turns():
            from consulcast.web.app import make_app
            from consulcast.web.server import Server

            app = make_app(self._view, self._door)
        while self._waiting:
            one = self._waiting.pop(0)
            self._servers.append(Server(one.listener, app, self._door, secure=one.tls, place=one.place))
        for server in self._servers:
            server.start()
        self.open = True

    def configure(self, settings: Settings) -> None:
        """Replace what is not read at the start alone: tokens, certificates, names, limits."""
        self._door.settings = settings

    def stop(self) -> None:
        """Take no more connections, and cut what is open."""
        for one in self._waiting:
            one.listener.close()
            one.place.clear()
        self._waiting.clear()
        for server in self._servers:
            server.stop(timeout=0.2)
