"""Where the daemon may be: what the call says, or its file, or the places where it is by default."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from msgspec import Struct

from consulcast import schema
from consulcast.cli.exits import UNUSABLE, Stop
from consulcast.document import ConfigError, Document
from consulcast.notation import BadValue
from consulcast.rundir import SOCKET
from consulcast.web.listen import Address

DEFAULT_PORT = 8080
_FORMS = "write unix:///run/consulcast/api.sock, http://host:8080 or https://host:8443"
_PORTS = {"http": 80, "https": 443}
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class Place(Struct, frozen=True):
    """Somewhere to connect to; ``path`` for a unix socket, else ``host`` and ``port``."""

    path: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False

    @classmethod
    def read(cls, url: str) -> Place:
        """Read a URL. Raises ``Stop``."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Stop(UNUSABLE, f"{url!r} is no URL: {_FORMS}") from None
        if parts.username is not None or parts.password is not None:
            raise Stop(UNUSABLE, "no user or password in the URL: give a token by --token-file")
        if parts.scheme == "unix" and not parts.netloc and os.path.isabs(parts.path):
            return cls(path=parts.path)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise Stop(UNUSABLE, f"{url!r}: {_FORMS}")
        return cls(host=parts.hostname, port=port or _PORTS[parts.scheme], tls=parts.scheme == "https")

    @classmethod
    def of(cls, address: Address) -> Place:
        """Tell where to connect to reach who listens there; of all addresses, loopback."""
        if address.path:
            return cls(path=address.path)
        return cls(host=_ANY.get(address.host, address.host), port=address.port, tls=address.tls)

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def default() -> tuple[Place, ...]:
    """The places of a daemon whose file says nothing else."""
    agent = schema.Agent()
    return Place(path=os.path.join(agent.run_dir, SOCKET)), Place(host="127.0.0.1", port=DEFAULT_PORT)


def of_file(path: str) -> tuple[Place, ...]:
    """The places where a daemon with that file listens, its own socket first. Raises ``Stop``.

    Only the places are read: the rest of the file, and what it names, may be the daemon's alone to read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            read = Document(path, file.read()).decode(schema.File, schema.decode)
        texts = [text for text in (read.agent.listen_addr, *read.api.listen) if text]
        places = [Place.of(Address.read(text)) for text in texts]
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(UNUSABLE, f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (ConfigError, BadValue, ValueError) as error:
        raise Stop(UNUSABLE, f"{error}") from None
    own = Place(path=os.path.join(read.agent.run_dir, SOCKET))
    return tuple(dict.fromkeys((own, *sorted(places, key=lambda place: (not place.path, place.tls)))))
