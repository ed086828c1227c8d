"""Where the endpoint listens: ``:8080``, ``host:port``, ``[::1]:8080`` or ``unix:///path``."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

BACKLOG = 128
_UNIX = "unix:"


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to write."""


def listen(address: str) -> socket.socket:
    """Open the listening socket. Raises ``ListenError``."""
    try:
        if address.startswith(_UNIX):
            return _listen_unix(address.removeprefix(_UNIX).removeprefix("//"))
        return _listen_tcp(*_split(address))
    except OSError as error:
        raise ListenError(f"agent.listen_addr {address!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise ListenError(f"agent.listen_addr {address!r}: {error}") from None


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("write :port, host:port, [IPv6 address]:port or unix:///path")
    return host, int(port)


def _listen_tcp(host: str, port: int) -> socket.socket:
    """Without a host, listen on every address of both families, as Go does."""
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = min(found, key=lambda item: item[0] is not socket.AF_INET)  # of a name's, IPv4 first
    return socket.create_server((str(where[0]), port), family=family, backlog=BACKLOG)


def _listen_unix(path: str) -> socket.socket:
    """Listen on a path that only our own user may connect to; what a killed daemon left there is taken away."""
    if not os.path.isabs(path):
        raise ValueError("write an absolute path: unix:///run/consulcast/api.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise ValueError("there is a file of this name that is no socket: remove it, or write another path")
            if _answers(path):
                raise ValueError("another process listens there")
            os.unlink(path)
        former = os.umask(0o177)  # so that the socket is private from its first moment on
        try:
            listener.bind(path)
        finally:
            os.umask(former)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True
