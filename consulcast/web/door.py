"""What the servers and the application share: the settings of now, and the counts of every client."""

from __future__ import annotations

from gevent import ssl
from msgspec import Struct, field

from consulcast.values import replace
from consulcast.web.limits import Gate, Limits
from consulcast.web.listen import Address
from consulcast.web.rights import Access


class Settings(Struct, frozen=True):
    """The endpoint as configured, checked and read."""

    listen: tuple[Address, ...] = ()
    socket_group: int | None = None  # gid that may connect to the unix sockets too
    access: Access = field(default_factory=Access)
    hosts: frozenset[str] = frozenset()  # names of this host beside its own, in lower case
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None

    def keeping(self, former: Settings) -> Settings:
        """Return these settings with what is read at the start alone as it was."""
        same = replace(self.limits, connections=former.limits.connections)
        return replace(
            self, listen=former.listen, socket_group=former.socket_group, limits=same, tls=self.tls or former.tls
        )

    def waits(self, former: Settings) -> bool:
        """Whether any of these settings counts from the next start only. Certificates are read again at once."""
        kept = self.keeping(former)
        return kept != replace(self, tls=kept.tls)


class Door:
    """Holds the settings; a reload replaces them, and the next request sees the new ones."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.gate = Gate()
