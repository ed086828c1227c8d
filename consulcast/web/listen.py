"""Where the endpoint listens: ``:8080``, ``host:port``, ``[::1]:8080``, each also as ``https://…``; ``unix:///path``."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from contextlib import suppress

from msgspec import Struct

BACKLOG = 128
_UNIX = "unix:"
_FORMS = "write :port, host:port, [IPv6 address]:port, https:// before any of them, or unix:///path"


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to write."""


class Address(Struct, frozen=True):
    """An address to listen on; ``path`` for a unix socket, else ``host`` and ``port``."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    @classmethod
    def read(cls, text: str) -> Address:
        """Read an address. Raises ``ValueError``."""
        if text.startswith(_UNIX):
            path = text.removeprefix(_UNIX).removeprefix("//")
            if not os.path.isabs(path):
                raise ValueError("write an absolute path: unix:///run/consulcast/api.sock")
            return cls(text, path=path)
        plain = text.removeprefix("https://")
        host, port = _split(plain.removeprefix("http://") if plain == text else plain)
        return cls(text, host, port, tls=plain != text)

    @property
    def local(self) -> bool:
        """Whether only this host can connect. A name counts as reachable from elsewhere, except ``localhost``."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def listen(address: str | Address, group: int | None = None) -> socket.socket:
    """Open the listening socket; ``group`` may connect to a unix socket too. Raises ``ListenError``."""
    try:
        where = Address.read(address) if isinstance(address, str) else address
        if where.path:
            return _listen_unix(where.path, group)
        return _listen_tcp(where.host, where.port)
    except OSError as error:
        raise ListenError(f"cannot listen on {_text(address)!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise ListenError(f"cannot listen on {_text(address)!r}: {error}") from None


class Place(Struct, frozen=True):
    """Where a unix socket stands: its path and inode; or nowhere."""

    path: str = ""
    inode: int = 0

    @classmethod
    def of(cls, listener: socket.socket) -> Place:
        """Tell where it stands, right after it began to listen: later the path may be another's."""
        if listener.family != socket.AF_UNIX:
            return cls()
        path = str(listener.getsockname())
        return cls(path, os.stat(path).st_ino)

    def clear(self) -> None:
        """Take the path away, if it is ours still."""
        if self.path:
            with suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == self.inode:
                    os.unlink(self.path)


def _text(address: str | Address) -> str:
    return address if isinstance(address, str) else address.text


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise ValueError(_FORMS)
    return host, int(port)


def _listen_tcp(host: str, port: int) -> socket.socket:
    """Without a host, listen on every address of both families, as Go does."""
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = min(found, key=lambda item: item[0] is not socket.AF_INET)  # of a name's, IPv4 first
    return socket.create_server((str(where[0]), port), family=family, backlog=BACKLOG)


def _listen_unix(path: str, group: int | None) -> socket.socket:
    """Listen on a path that only our own user may connect to, and ``group``.

    What a killed daemon left there is taken away.
    """
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
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, 0o660)
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
