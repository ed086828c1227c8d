"""The speaker alone as a program on a host of the lab, and the calls that tests make to it.

Tests wait with blocking calls, and ExaBGP must die with the program that started it: so the speaker has a process of
its own, which answers one JSON line with another on a unix socket.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from consulcast.executor.bgp.peer import Peer
from consulcast.model import Community, CommunityKind, Origin, Prefix, Route
from integration.lab import Host, Process, until


def route(prefix: str, *communities: str, origin: Origin = Origin.IGP) -> dict[str, Any]:
    """One route in the form that goes over the socket."""
    return {"prefix": prefix, "communities": communities, "origin": origin}


class Speaker:
    """A speaker on ``host``.

    ``peers`` are keyword arguments of ``Peer``, with addresses as text; ``life`` those of ``Life``.
    """

    def __init__(
        self,
        host: Host,
        *peers: Mapping[str, Any],
        name: str = "speaker",
        env: Mapping[str, str] | None = None,
        life: Mapping[str, float] | None = None,
    ) -> None:
        self.host = host
        files = host.lab.dir / name
        files.mkdir(exist_ok=True)
        self.run_dir = files / "run"
        self._socket = files / "control.sock"
        self._socket.unlink(missing_ok=True)
        arguments = [str(self._socket), str(self.run_dir), json.dumps(peers), json.dumps(life or {})]
        self.process: Process = host.spawn(sys.executable, "-m", __name__, *arguments, name=name, env=env)
        until(self._socket.exists, 10.0, f"the speaker answers; it says: {self.process.text()}")

    def call(self, name: str, argument: object = None, timeout: float = 60.0) -> Any:
        """Make one call and return its answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(timeout)
            control.connect(str(self._socket))
            control.sendall(json.dumps([name, argument]).encode() + b"\n")
            control.shutdown(socket.SHUT_WR)
            with control.makefile() as answer:
                return json.loads(answer.read())

    def set(self, routes: Iterable[Mapping[str, Any]]) -> None:
        """Replace the table."""
        self.call("set", list(routes))

    def set_peers(self, *peers: Mapping[str, Any]) -> None:
        """Replace the peers."""
        self.call("set-peers", peers)

    def burst(self, tables: Sequence[Sequence[Mapping[str, Any]]], pauses: Sequence[float]) -> None:
        """Replace the table several times, pausing (seconds) after each."""
        self.call("burst", [list(zip(tables, pauses, strict=True))])

    def state(self, prefix: str) -> str:
        """How far a prefix is."""
        return str(self.call("state", prefix))

    def peers(self) -> list[dict[str, Any]]:
        """The sessions."""
        return list(self.call("peers"))

    def settled(self) -> bool:
        """Whether all is acknowledged."""
        return bool(self.call("settled"))

    def exabgp(self) -> int | None:
        """ExaBGP's process id."""
        pid = self.call("pid")
        return None if pid is None else int(pid)

    def relay(self) -> int | None:
        """The relay's process id."""
        exabgp = self.exabgp()
        if exabgp is None:
            return None
        try:
            children = Path(f"/proc/{exabgp}/task/{exabgp}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None  # it has just ended
        return int(children[0]) if children else None

    def say(self, command: str) -> None:
        """Have ExaBGP told something that the speaker's books know nothing of."""
        self.call("say", command)

    def leave(self) -> None:
        """End it without a word, as if to be started again."""
        self.process.signal(signal.SIGUSR2)
        until(lambda: not self.process.alive, 10.0, "the speaker has ended")

    def wait_up(self, count: int = 1, deadline: float = 20.0) -> None:
        """Wait until that many sessions are up."""
        until(lambda: sum(peer["state"] == "up" for peer in self.peers()) == count, deadline, f"{count} sessions up")

    def wait_settled(self, deadline: float = 20.0) -> None:
        """Wait until all is acknowledged."""
        until(self.settled, deadline, "all commands acknowledged")


def _route(told: Mapping[str, Any]) -> Route:
    return Route(
        ipaddress.ip_network(told["prefix"]), tuple(map(_community, told["communities"])), Origin(told["origin"])
    )


def _table(told: Iterable[Mapping[str, Any]]) -> dict[Prefix, Route]:
    return {route.prefix: route for route in map(_route, told)}


def _community(text: str) -> Community:
    if not text[0].isdigit():
        return Community(CommunityKind.EXTENDED, text)
    return Community(CommunityKind.LARGE if text.count(":") == 2 else CommunityKind.STANDARD, text)


def _peer(told: Mapping[str, Any]) -> Peer:
    values = dict(told)
    for name in ("address", "local_address", "router_id", "next_hop4", "next_hop6"):
        if values.get(name) is not None:
            values[name] = ipaddress.ip_address(values[name])
    return Peer(**values)


def main() -> None:
    """Serve until SIGTERM, which ends ExaBGP in order, or SIGUSR2, which does so without a word."""
    import gevent
    from gevent import socket as gevent_socket

    from consulcast.executor.bgp.life import Life
    from consulcast.executor.bgp.speaker import ExaBgpSpeaker
    from consulcast.repairs import Repairs

    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s", datefmt="%T")
    control, run_dir, peers, life = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
    repairs = Repairs()
    changes = [0]

    def changed() -> None:
        changes[0] += 1

    speaker = ExaBgpSpeaker(map(_peer, peers), run_dir, changed, life=Life(**life), repairs=repairs)

    def answer(name: str, argument: Any) -> object:
        match name:
            case "set":
                speaker.set(_table(argument))
            case "set-peers":
                speaker.set_peers(map(_peer, argument))
            case "timed":  # returns when: nanoseconds, as the tap tells them
                at = time.time_ns()
                speaker.set(_table(argument))
                return at
            case "burst":
                for table, pause in argument[0]:
                    speaker.set(_table(table))
                    if pause:
                        gevent.sleep(pause)
            case "state":
                return str(speaker.route_state(ipaddress.ip_network(argument)))
            case "peers":
                return [{name: str(value) for name, value in asdict(peer).items()} for peer in speaker.peers()]
            case "settled":
                return speaker.settled
            case "pid":
                return speaker._child.pid
            case "changes":
                return changes[0]
            case "last-child-error":
                return speaker.last_child_error
            case "repairs":
                return repairs.counts
            case "complete":
                speaker.complete()
            case "say":
                speaker._dialogue._ledger.ask(argument, lambda ok: None)
                speaker._dialogue._advance()
            case "sweep":  # at once, not in half a minute
                speaker._dialogue._sweep_at = 0.0
            case "hang":
                time.sleep(argument)
            case "hang-up":
                connection = speaker._dialogue._connection
                assert connection is not None
                connection.shutdown(socket.SHUT_RDWR)
        return None

    def serve(connection: gevent_socket.socket) -> None:
        with connection, connection.makefile("rw") as stream:
            stream.write(json.dumps(answer(*json.loads(stream.readline()))))

    speaker.start()
    listener = gevent_socket.socket(gevent_socket.AF_UNIX)
    listener.bind(control + ".new")
    listener.listen()
    os.rename(control + ".new", control)
    accepting = gevent.spawn(lambda: [gevent.spawn(serve, listener.accept()[0]) for _ in iter(int, 1)])
    ended = gevent.event.Event()
    restarted: list[bool] = []

    def leave() -> None:
        restarted.append(True)
        ended.set()

    gevent.signal_handler(signal.SIGTERM, ended.set)
    gevent.signal_handler(signal.SIGUSR2, leave)
    ended.wait()
    if restarted:
        speaker.leave(5)
    else:
        speaker.set({})
        while not speaker.settled and speaker.peers():
            gevent.sleep(0.005)
        speaker.stop(5)
    accepting.kill()


if __name__ == "__main__":
    main()
