"""ExaBGP alone: the pinned ExaBGP, fed with commands as quickly as it takes them, by something that does nothing else.

What consulcast's batches are measured against. It is started by consulcast's own launcher, so it is the same program
with the same patches, and spoken to through the same relay, with the commands that consulcast would write. They go out
in a window of 100 that are not acknowledged, with the nudge that wakes it at the end of a batch: all at once it takes
three times as long. There is no registry, no address, no check, and no lease.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from consulcast.executor.bgp import commands, configuration
from consulcast.executor.bgp.launcher import __name__ as LAUNCHER
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.relay import __file__ as RELAY
from consulcast.model import Route
from integration.lab import Host

WINDOW = 100  # commands that are not acknowledged


class Feeder:
    """An ExaBGP on a host, with a session from each of ``addresses`` to one of ``routers``. ``asn``: its own, theirs.

    Raises ``TimeoutError`` when its relay does not come.
    """

    def __init__(
        self,
        host: Host,
        addresses: Sequence[str],
        routers: Sequence[str],
        asn: tuple[int, int],
        next_hop6: str,
        run_dir: Path,
    ) -> None:
        hop6 = IPv6Address(next_hop6)
        self.peers = [
            Peer(ip_address(router), asn[1], asn[0], local, local, next_hop4=local, next_hop6=hop6)
            for router, local in zip(routers, map(IPv4Address, addresses), strict=True)
        ]
        run_dir.mkdir(mode=0o700)
        file, settings, meeting = run_dir / "exabgp.conf", run_dir / "exabgp.env", run_dir / "api.sock"
        file.write_text(configuration.render(self.peers, (sys.executable, "-IS", RELAY, str(meeting), "0")))
        settings.touch()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(meeting))
            listener.listen()
            listener.settimeout(10)
            arguments = (str(os.getpid()), str(int(signal.SIGKILL)), str(file), str(settings))
            self.process = host.spawn(sys.executable, "-P", "-m", LAUNCHER, *arguments, name="exabgp")
            self._relay, _ = listener.accept()
        host.lab.on_exit(self._relay.close)
        self._relay.settimeout(60)
        self._rest = b""

    def announce(self, prefixes: Iterable[str]) -> None:
        """Have all of them announced to every peer; returns when each command is acknowledged."""
        routes = [Route(ip_network(prefix)) for prefix in prefixes]
        written = (commands.announce(peer, route) for route in routes for peer in self.peers)
        self._feed([line for line in written if line is not None])

    def withdraw(self, prefixes: Iterable[str]) -> None:
        """Have all of them withdrawn from every peer; returns when each command is acknowledged."""
        networks = [ip_network(prefix) for prefix in prefixes]
        self._feed([commands.withdraw(peer, network) for network in networks for peer in self.peers])

    def _feed(self, lines: Sequence[str]) -> None:
        waiting, under_way = deque(lines), 0
        while waiting or under_way:
            sent = [waiting.popleft() for _ in range(min(len(waiting), WINDOW - under_way))]
            under_way += len(sent)
            if sent:
                self._relay.sendall("".join(f"{line}\n" for line in sent).encode())
            under_way -= self._answers()
        self._relay.sendall(f"{commands.NUDGE}\n".encode())  # or the last routes wait for the end of a sleep
        while not self._answers():
            pass

    def _answers(self) -> int:
        """Read what has come; returns how many commands are acknowledged. Raises ``RuntimeError`` for a refusal."""
        chunk = self._relay.recv(65536)
        if not chunk:
            raise RuntimeError(f"ExaBGP has ended: {self.process.text()[-1000:]}")
        *answers, self._rest = (self._rest + chunk).split(b"\n")
        if b"error" in answers:
            raise RuntimeError(f"ExaBGP refuses a command: {answers}")
        return answers.count(b"done")
