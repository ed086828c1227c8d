"""The HTTP endpoint: one application behind all the addresses that it listens on."""

from __future__ import annotations

import logging

from consulcast import loading
from consulcast.web.door import Door, Settings
from consulcast.web.listen import Address, listen
from consulcast.web.server import Server
from consulcast.web.view import View

log = logging.getLogger(__name__)


class Endpoint:
    """Serves the daemon's view. Raises ``ListenError`` when made, if it cannot listen.

    It takes connections from ``start`` on, which loads what answers them; who comes before waits in the kernel.
    ``own``: the path of a unix socket beside the configured addresses, for root and the daemon's own user.
    """

    def __init__(self, view: View, settings: Settings, own: str = "") -> None:
        self._view, self._door = view, Door(settings)
        self._servers: list[Server] = []
        self.open = False  # whether connections are taken
        addresses = settings.listen
        try:
            if own and all(address.path != own for address in addresses):
                self._servers.append(Server(listen(Address(f"unix://{own}", path=own)), None, self._door))
            for address in addresses:
                listener = listen(address, settings.socket_group)
                self._servers.append(Server(listener, None, self._door, secure=address.tls))
        except BaseException:
            self.stop()
            raise

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

            app = make_app(self._view, self._door)
        for server in self._servers:
            server.application = app
            server.start()
        self.open = True

    def configure(self, settings: Settings) -> None:
        """Replace what is not read at the start alone: tokens, certificates, names, limits."""
        self._door.settings = settings

    def stop(self) -> None:
        """Take no more connections, and cut what is open."""
        for server in self._servers:
            server.stop(timeout=0.2)
