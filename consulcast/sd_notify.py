"""What a service manager is told over its notification socket: sd_notify(3), without libsystemd.

A message is one datagram. None is waited for: what the socket does not take now is sent again a little later, where
it must not be lost. Where no service manager listens, every call does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, MutableMapping

import gevent
from gevent import socket

log = logging.getLogger(__name__)

_AGAIN = 0.2  # seconds until what was not taken is sent again
_NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Speaks to the service manager that ``environment`` names, and takes that out of it: it is not for our children.

    ``watchdog``: seconds within which it wants a sign of life, if it does.
    """

    def __init__(self, environment: MutableMapping[str, str], monotonic: Callable[[], float] = time.monotonic) -> None:
        name, seconds, pid = (environment.pop(name, "") for name in _NAMES)
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._unsent: list[str] = []
        self._greenlet: gevent.Greenlet[..., None] | None = None
        if name and name[0] not in "@/":
            text = "NOTIFY_SOCKET=%s is neither a path nor an abstract socket: nobody is told anything"
            log.warning(text, name, extra={"reason": "no-service-manager"})
        elif name:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        for_us = not pid or pid == str(os.getpid())
        self.watchdog = int(seconds) / 1e6 if self._socket and for_us and seconds.isdigit() and int(seconds) else None

    def ready(self) -> None:
        """Tell that the start, or a reload, is over."""
        self._must("READY=1")

    def reloading(self) -> None:
        """Tell that the configuration is read again; ``ready`` ends it."""
        self._must(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic() * 1e6:.0f}")

    def stopping(self, seconds: float) -> None:
        """Tell that the end has begun, and how long it may take."""
        self._must(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def starting(self, seconds: float) -> None:
        """Ask for some more seconds, from now, before the start counts as failed."""
        self._must(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def status(self, text: str) -> None:
        """Tell in one line how things are."""
        self._must("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        """Give a sign of life. It is worth something now or not at all."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Say no more; what was not taken is tried once more."""
        if self._greenlet is not None:
            self._greenlet.kill()
        while self._unsent and self._send(self._unsent[0]):
            del self._unsent[0]
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _must(self, message: str) -> None:
        if message.startswith("STATUS="):  # the last one counts
            self._unsent = [item for item in self._unsent if not item.startswith("STATUS=")]
        self._unsent.append(message)
        if len(self._unsent) == 1 and self._send(message):
            self._unsent.clear()
        elif self._greenlet is None or self._greenlet.dead:
            self._greenlet = gevent.spawn(self._send_again)

    def _send_again(self) -> None:
        while self._unsent:
            gevent.sleep(_AGAIN)
            while self._unsent and self._send(self._unsent[0]):
                del self._unsent[0]

    def _send(self, message: str) -> bool:
        """Send one datagram. Returns whether it is done with: nobody there is no reason to try again."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto(message.encode(), socket.MSG_DONTWAIT, self._address)
        except BlockingIOError:
            return False
        except OSError as error:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
            extra = {"reason": "no-service-manager"}
            log.warning("the service manager cannot be told anything any more: %s", error, extra=extra)
        return True
