"""The NAT table alone as a program on a host of the lab, and the calls that tests make to it.

Its children inherit the host's network namespace from it; one JSON line on a unix socket is answered with another.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Set
from typing import Any

from consulcast.executor.nat import rules
from integration.lab import Host, Process, until


class Table:
    """A ``NatTable`` on ``host``. Translations are texts: ``203.0.113.10/32 udp 53 198.51.100.1 8053``."""

    def __init__(self, host: Host, backend: str, name: str = "nat") -> None:
        self._socket = host.lab.dir / f"{name}.sock"
        self._socket.unlink(missing_ok=True)
        self.process: Process = host.spawn(sys.executable, "-m", __name__, str(self._socket), backend, name=name)
        until(self._socket.exists, 10.0, f"the table answers; it says: {self.process.text()}")

    def call(self, name: str, argument: object = None) -> Any:
        """Make one call and return its answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(60)
            control.connect(str(self._socket))
            control.sendall(json.dumps([name, argument]).encode() + b"\n")
            control.shutdown(socket.SHUT_WR)
            with control.makefile() as answer:
                return json.loads(answer.read())

    def set(self, *translations: str) -> float:
        """Replace the table and wait until it stands. Returns how long that took, in seconds."""
        return float(self.call("set", translations))

    def standing(self) -> Set[str] | None:
        """What it knows to stand."""
        texts = self.call("standing")
        return None if texts is None else set(texts)

    def sweep(self) -> None:
        """Have it look at the kernel again."""
        self.call("sweep")

    def wait(self, *translations: str, deadline: float = 5.0) -> None:
        """Wait until exactly these are known to stand."""
        until(lambda: self.standing() == set(translations), deadline, f"{translations} stand: {self.process.text()}")

    def failures(self) -> Set[str]:
        """Why something desired does not stand."""
        return set(self.call("failures"))


def main() -> None:
    """Serve until SIGTERM, which removes the table."""
    import gevent
    from gevent import socket as gevent_socket

    from consulcast.executor.nat.choice import Backends
    from consulcast.executor.nat.iptables import Iptables
    from consulcast.executor.nat.nft import Nft
    from consulcast.executor.nat.table import NatTable

    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s", datefmt="%T")
    control, backend = sys.argv[1:]
    changed = gevent.event.Event()
    ended = gevent.event.Event()

    table = NatTable(Backends(backend, Nft(), Iptables()), changed.set)

    def answer(name: str, argument: Any) -> object:
        match name:
            case "set":
                started = time.monotonic()
                wanted = frozenset(map(rules.read, argument))
                table.set(wanted)
                while table.standing() != wanted and not table.failures():
                    changed.clear()
                    changed.wait(10)
                return time.monotonic() - started
            case "standing":
                standing = table.standing()
                return None if standing is None else [rules.written(item) for item in standing]
            case "failures":
                return list(table.failures().values())
            case "sweep":
                table.sweep()
        return None

    def serve(connection: gevent_socket.socket) -> None:
        with connection, connection.makefile("rw") as stream:
            stream.write(json.dumps(answer(*json.loads(stream.readline()))))

    table.start()
    listener = gevent_socket.socket(gevent_socket.AF_UNIX)
    listener.bind(control + ".new")
    listener.listen()
    os.rename(control + ".new", control)
    accepting = gevent.spawn(lambda: [gevent.spawn(serve, listener.accept()[0]) for _ in iter(int, 1)])
    gevent.signal_handler(signal.SIGTERM, ended.set)
    ended.wait()
    table.stop()
    accepting.kill()


if __name__ == "__main__":
    main()
