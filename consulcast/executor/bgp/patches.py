"""The changes to ExaBGP 5.0.15 that run in its process. Each stands alone, and says what happens without it.

Every one first checks that the code it changes is the code it was written for, and refuses otherwise: a patch that
silently misses would cost more than a daemon that does not start. ``tests/executor/bgp/test_patches.py`` fails
without each of them.
"""

from __future__ import annotations

import functools
import inspect
import os
import socket
import zlib
from collections.abc import Callable
from typing import Any


class DoesNotFit(Exception):
    """The installed ExaBGP is not the one that a patch was written for."""


def apply(after_privileges: Callable[[], None]) -> None:
    """Apply all. ``after_privileges`` is called when ExaBGP has changed its user, or has decided not to."""
    no_getfqdn()
    last_change_wins()
    no_delay()
    short_back_off()
    group_root()
    call_after_privileges(after_privileges)


def no_getfqdn() -> None:
    """ExaBGP looks its own full name up at import. With a dead DNS server that is 5-10 s in which it announces nothing.

    Must run before anything else of ExaBGP is imported.
    """
    from exabgp.util import dns

    _check(dns.domain, 0x90414375)
    setattr(dns, "__domain_name", dns.host())  # the module's own cache of the name


def last_change_wins() -> None:
    """Keep only the last of several changes of one prefix that wait to be sent.

    ExaBGP sorts what waits by attributes, not by time: announce, withdraw, announce again before it is sent (or
    while the peer is down) leaves the peer without the route, or with one that was withdrawn, until the next reset.
    """
    from exabgp.rib.outgoing import OutgoingRIB

    queue = OutgoingRIB._update_rib
    _check(queue, 0x6C6E6C3C)
    _check(OutgoingRIB.updates, 0xDD43B8B0)

    @functools.wraps(queue)
    def _update_rib(self: Any, change: Any) -> None:
        earlier = self._new_nlri.get(change.index())
        if earlier is not None:
            families = self._new_attr_af_nlri.get(earlier.attributes.index(), {})
            families.get(earlier.nlri.family().afi_safi(), {}).pop(earlier.index(), None)
        queue(self, change)

    OutgoingRIB._update_rib = _update_rib


def no_delay() -> None:
    """Send every UPDATE at once, also on the sessions that we open: else one in a hundred waits 40 ms for an ACK."""
    from exabgp.reactor.network.outgoing import Outgoing

    setup = Outgoing._setup
    _check(setup, 0x4E621030)

    @functools.wraps(setup)
    def _setup(self: Any) -> Exception | None:
        fault: Exception | None = setup(self)
        if fault is None:
            self.io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return fault

    Outgoing._setup = _setup


LONGEST_BACK_OFF = 5  # seconds between two attempts to connect


def short_back_off() -> None:
    """Try a peer that is down every 5 s, where ExaBGP's delay grows to a minute: routes are back that much sooner."""
    from exabgp.reactor.delay import Delay

    increase = Delay.increase
    _check(increase, 0xAC348226)

    @functools.wraps(increase)
    def _increase(self: Any) -> None:
        increase(self)
        self._next = min(self._next, LONGEST_BACK_OFF)

    Delay.increase = _increase


def group_root() -> None:
    """Run as a user in group 0 that is not root, which is what containers often are; ExaBGP refuses it as "root"."""
    from exabgp.reactor.daemon import Daemon

    drop = Daemon.drop_privileges
    _check(drop, 0x0A5CD7A6)

    @functools.wraps(drop)
    def drop_privileges(self: Any) -> bool:
        return os.getuid() != 0 or bool(drop(self))

    Daemon.drop_privileges = drop_privileges


def call_after_privileges(action: Callable[[], None]) -> None:
    """Call ``action`` after ExaBGP's change of user, which makes the kernel forget whose death we die with."""
    from exabgp.reactor.daemon import Daemon

    drop = Daemon.drop_privileges
    _check(drop, 0x0A5CD7A6)

    @functools.wraps(drop)
    def drop_privileges(self: Any) -> bool:
        dropped = bool(drop(self))
        action()
        return dropped

    Daemon.drop_privileges = drop_privileges


def _check(function: Callable[..., Any], fingerprint: int) -> None:
    """Raise ``DoesNotFit`` unless ``function`` has the source that ``fingerprint`` was taken of."""
    from exabgp.version import version

    name = f"{function.__module__}.{function.__qualname__}"
    try:
        source = inspect.getsource(function)
    except OSError as error:
        raise DoesNotFit(f"no source of {name} of ExaBGP {version}: install exabgp==5.0.15 with its sources") from error
    found = zlib.crc32(source.encode())
    if found != fingerprint:
        raise DoesNotFit(f"{name} of ExaBGP {version} is not the known one ({found:#010x}): install exabgp==5.0.15")
