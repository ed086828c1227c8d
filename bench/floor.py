"""The floor: the thinnest program that could do consulcast's job for one service.

Two raw long polls, one BGP session, one listening socket, one netlink socket that tells of closed sockets, one
``select``. No registry, no address on the host, no care of any kind: it
believes every answer, and looks in it for its own service's bytes alone, however much else it holds. What consulcast
takes longer than this is the price of its care.

Run as ``python -m bench.floor CONSUL_PORT NODE SERVICE PREFIX ROUTER LOCAL ASN``; it prints ``ready`` when the session
is up.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import struct
import sys
import urllib.parse

from bench import bgp


class Poll:
    """One blocking query, for ever."""

    def __init__(self, port: int, path: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.path = path
        self.index = "0"
        self.ask()

    def ask(self) -> None:
        """Send the query."""
        wait = "" if self.index == "0" else f"?index={self.index}&wait=30s"
        self.connection.request("GET", self.path + wait)

    def answer(self) -> bytes:
        """Read the answer, ask again, and return it as it came."""
        response = self.connection.getresponse()
        body = response.read()
        self.index = response.headers["X-Consul-Index"]
        self.ask()
        return body


def has_tag(catalog: bytes, service: str) -> bool:
    """Tell whether a service is there with our tag. Consul writes each one's fields in one order; in -dev, indented."""
    own = re.search(rb'"%s":\s*\{\s*"ID":' % re.escape(service.encode()), catalog)
    return own is not None and catalog.find(b'"enable_gocast"', own.end(), catalog.find(b'"Meta":', own.end())) >= 0


def has_failed(health: bytes, service: str) -> bool:
    """Tell whether one of a service's checks does not pass. A check's status stands before its service."""
    for own in re.finditer(rb'"ServiceID":\s*"%s"' % re.escape(service.encode()), health):
        status = health.rfind(b'"Status":', 0, own.start()) + len(b'"Status":')
        if not health[status : status + 12].lstrip().startswith(b'"passing"'):
            return True
    return False


HTTP_PORT = 8080


class Registrations:
    """GoCast's ``/register`` and ``/unregister``, one request at a time, on connections that stay open."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", HTTP_PORT))
        self.connections: list[socket.socket] = []
        self.ports: dict[int, str] = {}  # monitored ports, each with its prefix

    def request(self, connection: socket.socket) -> tuple[str, bool] | None:
        """Read a request and answer it; returns a prefix and whether to announce it."""
        asked = connection.recv(65536)
        if not asked:
            self.connections.remove(connection)
            connection.close()
            return None
        url = urllib.parse.urlsplit(asked.split(b" ", 2)[1].decode())
        query = dict(urllib.parse.parse_qsl(url.query))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if "monitor" in query:
            self.ports[int(query["monitor"].rpartition(":")[2])] = query["vip"]
        return query["vip"], url.path == "/register"


def closed_sockets() -> socket.socket:
    """Return a socket that tells of every TCP socket that is closed (linux/sock_diag.h, SKNLGRP_INET_TCP_DESTROY)."""
    told = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)  # NETLINK_SOCK_DIAG
    told.bind((0, 0))
    told.setsockopt(270, 1, 1)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
    return told


def main() -> None:
    """Announce the prefix while the service is tagged and none of its checks fails, and what is asked for over HTTP."""
    port, node, service, prefix, router, local, asn = sys.argv[1:]
    session = bgp.connect(router, int(asn), local)
    announce = bgp.announcement(prefix, int(asn), local)
    withdraw = bgp.withdrawal(prefix)
    catalog = Poll(int(port), f"/v1/catalog/node/{node}")
    health = Poll(int(port), f"/v1/health/node/{node}")
    registrations, closed = Registrations(), closed_sockets()
    tagged = failing = announced = False
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select(
            [
                session,
                catalog.connection.sock,
                health.connection.sock,
                closed,
                registrations.listener,
                *registrations.connections,
            ],
            [],
            [],
            bgp.HOLD_TIME / 3,
        )
        if closed in readable:
            port, peer_port = struct.unpack_from("!HH", closed.recv(4096), 20)  # after nlmsghdr and the state
            if not peer_port and port in registrations.ports:
                session.sendall(bgp.withdrawal(registrations.ports[port]))
        if registrations.listener in readable:
            registrations.connections.append(registrations.listener.accept()[0])
        for connection in [item for item in registrations.connections if item in readable]:
            asked = registrations.request(connection)
            if asked is not None:
                wanted, up = asked
                session.sendall(bgp.announcement(wanted, int(asn), local) if up else bgp.withdrawal(wanted))
        if catalog.connection.sock in readable:
            tagged = has_tag(catalog.answer(), service)
        if health.connection.sock in readable:
            failing = has_failed(health.answer(), service)
        if (tagged and not failing) is not announced:
            announced = not announced
            session.sendall(announce if announced else withdraw)
        if session in readable and not session.recv(65536):
            sys.exit("the router closed the session")
        if not readable or session in readable:
            session.sendall(bgp.message(bgp.KEEPALIVE))


if __name__ == "__main__":
    main()
