"""The thinnest BGP speaker: one session, IPv4 unicast, every message made by hand.

The floor announces with it, and so do the tests of the lab.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
HOLD_TIME = 90


def message(kind: int, body: bytes = b"") -> bytes:
    """Return a BGP message, RFC 4271 section 4.1."""
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body


def open_message(asn: int, router_id: str) -> bytes:
    """Return an OPEN that offers IPv4 unicast and 4-byte AS numbers."""
    capabilities = struct.pack("!BBHBB", 1, 4, 1, 0, 1) + struct.pack("!BBI", 65, 4, asn)
    parameters = struct.pack("!BB", 2, len(capabilities)) + capabilities
    head = struct.pack("!BHH", 4, asn if asn < 65536 else 23456, HOLD_TIME)
    return message(OPEN, head + socket.inet_aton(router_id) + bytes([len(parameters)]) + parameters)


def nlri(prefix: str) -> bytes:
    """Return a prefix as an UPDATE holds it."""
    network = ipaddress.IPv4Network(prefix)
    return bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]


def announcement(prefix: str, asn: int, next_hop: str) -> bytes:
    """Return the UPDATE that announces ``prefix`` over eBGP."""
    attributes = b"\x40\x01\x01\x00"  # ORIGIN IGP
    attributes += b"\x40\x02\x06\x02\x01" + struct.pack("!I", asn)  # AS_PATH: one sequence of one AS
    attributes += b"\x40\x03\x04" + socket.inet_aton(next_hop)
    return message(UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes + nlri(prefix))


def withdrawal(prefix: str) -> bytes:
    """Return the UPDATE that withdraws ``prefix``."""
    routes = nlri(prefix)
    return message(UPDATE, struct.pack("!H", len(routes)) + routes + b"\0\0")


def connect(router: str, asn: int, local: str, port: int = 179) -> socket.socket:
    """Return the socket of an established session.

    What the router sends from then on must be read and may be ignored.
    """
    session = socket.create_connection((router, port), timeout=10, source_address=(local, 0))
    session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    session.sendall(open_message(asn, local))
    with session.makefile("rb") as stream:
        while True:
            length, kind = struct.unpack("!16xHB", stream.read(19))
            stream.read(length - 19)
            if kind == OPEN:
                session.sendall(message(KEEPALIVE))
            elif kind == KEEPALIVE:
                return session
            elif kind == NOTIFICATION:
                raise ConnectionRefusedError("the router refused the session")
