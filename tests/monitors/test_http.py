"""What an http monitor says of itself."""

from __future__ import annotations

import socket
from typing import Any

from gevent.server import StreamServer

from consulcast import notation
from consulcast.monitors.http import HttpProbe
from consulcast.monitors.lanes import Lanes


def test_request_says_that_it_is_made_for_somebody_else() -> None:
    heard: list[bytes] = []

    def answer(connection: socket.socket, _: Any) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    try:
        spec = notation.monitor(f"http:http://127.0.0.1:{server.server_port}/register?name=a")
        look = HttpProbe(spec, Lanes(1, 1)).look(5.0)
    finally:
        server.stop()
    assert look.passed
    assert b"\r\nVia: 1.1 consulcast-monitor\r\n" in heard[0]
