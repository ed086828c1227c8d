"""HTTP over a unix socket, for urllib3."""

from __future__ import annotations

import socket
from typing import Any

import urllib3


class UnixConnection(urllib3.connection.HTTPConnection):
    """An HTTP connection whose socket is a unix socket."""

    def __init__(self, path: str, host: str) -> None:
        super().__init__(host)
        self._path = path

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)  # the request's own for connecting, in seconds
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        return connection


class UnixPool(urllib3.HTTPConnectionPool):
    """Up to ``maxsize`` kept connections to the unix socket at ``path``; ``host`` is only what requests name."""

    ConnectionCls: Any = UnixConnection

    def __init__(self, path: str, host: str = "localhost", maxsize: int = 1) -> None:
        super().__init__(host, maxsize=maxsize)
        self._path = path

    def _new_conn(self) -> Any:
        self.num_connections += 1
        return self.ConnectionCls(self._path, self.host)
