"""A small HTTP server that answers as it is told to: in this process, on 127.0.0.1."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gevent.server import StreamServer

CONSUL = {"X-Consul-Index": "7", "X-Consul-Knownleader": "true", "X-Consul-Lastcontact": "0"}


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


def reply(body: str | bytes = "{}", status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """An HTTP answer; Consul's usual headers unless others are given."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (CONSUL if headers is None else headers).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Server:
    """Answers each request with what ``answer`` returns; nothing closes the connection without a byte."""

    answer: Callable[[Request], bytes | None]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    listener: Any = ("127.0.0.1", 0)
    kept: set[socket.socket] = field(default_factory=set)
    secure: ssl.SSLContext | None = None

    def __enter__(self) -> Server:
        more: Any = {"ssl_context": self.secure} if self.secure is not None else {}
        self._server = StreamServer(self.listener, self._serve, **more)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(timeout=0)

    @property
    def address(self) -> str:
        """As a setting."""
        return f"127.0.0.1:{self._server.server_port}"

    def drop(self) -> None:
        """Close every connection, as a program does that ends; new ones are taken."""
        for connection in self.kept:
            connection.shutdown(socket.SHUT_RDWR)
        self.kept.clear()

    def _serve(self, connection: socket.socket, _: object) -> None:
        self.connections += 1
        self.kept.add(connection)
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                method, target, _version = line.decode().split()
                headers = {}
                while (header := lines.readline().decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = lines.read(int(headers.get("content-length", "0")))
                url = urlsplit(target)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.requests.append(Request(method, url.path, query, headers, body))
                answer = self.answer(self.requests[-1])
                if connection not in self.kept:
                    return
                if not answer:
                    return
                connection.sendall(answer)
