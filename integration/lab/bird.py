"""BIRD 2 as a router of the lab, asked through its control socket (birdc's, but without starting birdc)."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from integration.lab.host import Host
from integration.lab.process import Process
from integration.lab.router import Peer, RouteInfo, Router
from integration.lab.wait import until

_ORIGIN = {"IGP": "igp", "EGP": "egp", "Incomplete": "incomplete"}
_EXTENDED = {"rt": "target", "ro": "origin"}


@dataclass(frozen=True)
class Counters:
    """Routes that a session has brought since it was established. Counted per prefix, not per UPDATE message."""

    updates: int
    withdraws: int

    def __sub__(self, earlier: Counters) -> Counters:
        return Counters(self.updates - earlier.updates, self.withdraws - earlier.withdraws)


class Bird(Router):
    """A router that runs BIRD. Started at once; its peers may come later.

    ``kernel`` puts what it learns into the host's routing table, so that traffic to a VIP really flows.
    ``announces`` are prefixes that it announces itself.
    """

    def __init__(
        self,
        host: Host,
        asn: int,
        peers: Sequence[Peer],
        *,
        router_id: str = "198.51.100.2",
        kernel: bool = False,
        announces: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.asn = asn
        self.peers = {peer.session: peer for peer in peers}
        self._files = host.lab.dir / f"bird-{host.name}"
        self._files.mkdir()
        self._socket = self._files / "ctl"
        self._config = self._files / "bird.conf"
        self._router_id, self._kernel, self._announces = router_id, kernel, announces
        self._config.write_text(self._render(router_id, kernel))
        self._process: Process | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._socket.unlink(missing_ok=True)
        files = ["-c", str(self._config), "-s", str(self._socket), "-P", str(self._files / "pid")]
        self._process = self.host.spawn("bird", "-f", *files)
        until(self._answers, 10.0, f"BIRD on {self.host.name} answers; its log: {self._process.text()}")

    @property
    def process(self) -> Process:
        """The running daemon."""
        assert self._process is not None
        return self._process

    def stop(self) -> None:
        """End it in order: sessions get a NOTIFICATION."""
        self.process.stop()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()

    def command(self, line: str) -> list[str]:
        """Send a command such as ``show status`` and return its answer, line by line, without BIRD's reply codes."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self._socket))
            with control.makefile("rwb") as stream:
                stream.readline()  # the greeting
                stream.write(line.encode() + b"\n")
                stream.flush()
                answer = []
                while True:
                    raw = stream.readline().decode()
                    if not raw:
                        raise ConnectionResetError("BIRD closed its control socket")
                    coded = raw[:4].isdigit()
                    answer.append(raw[5:].rstrip("\n") if coded else raw[1:].rstrip("\n"))
                    if coded and raw[4] == " ":
                        if raw[0] in "89":
                            raise RuntimeError(f"BIRD: {line}: {answer[-1]}")
                        return answer

    def routes(self) -> dict[str, RouteInfo]:
        """Return the best route of every prefix learned over BGP."""
        best: dict[str, RouteInfo] = {}
        for route in self.all_routes():
            best.setdefault(route.prefix, route)
        return best

    def all_routes(self) -> list[RouteInfo]:
        """Return every route learned over BGP; of one prefix the best comes first."""
        return _parse_routes(self.command("show route all where source = RTS_BGP"))

    def counters(self, session: str = "") -> Counters:
        """Return what the session (the only one, if not named) has brought, over all its families."""
        text = "\n".join(self.command(f"show protocols all {self.peer(session).session}"))
        updates = sum(int(n) for n in re.findall(r"Import updates:\s+(\d+)", text))
        withdraws = sum(int(n) for n in re.findall(r"Import withdraws:\s+(\d+)", text))
        return Counters(updates, withdraws)

    def established(self, session: str = "") -> bool:
        """Tell whether the session is up."""
        return any("Established" in line for line in self.command(f"show protocols {self.peer(session).session}"))

    def configure(self, peers: Sequence[Peer]) -> None:
        """Replace its peers while it runs. Sessions of those that stay as they are stay up."""
        self.peers = {peer.session: peer for peer in peers}
        self._config.write_text(self._render(self._router_id, self._kernel))
        self.command("configure")

    def disable(self, session: str = "") -> None:
        """Close the session (NOTIFICATION, Administrative Shutdown) and refuse it from then on."""
        self.command(f"disable {self.peer(session).session}")

    def enable(self, session: str = "") -> None:
        """Allow the session again."""
        self.command(f"enable {self.peer(session).session}")

    def _answers(self) -> bool:
        if not self.process.alive:
            raise RuntimeError(f"BIRD on {self.host.name} has ended: {self.process.text()}")
        with contextlib.suppress(FileNotFoundError, ConnectionError):
            return any("Daemon is up and running" in line for line in self.command("show status"))
        return False

    def _render(self, router_id: str, kernel: bool) -> str:
        parts = [
            f"router id {router_id};",
            "log stderr all;",
            "debug protocols { states, events };",
            "protocol device { scan time 60; }",
        ]
        parts.append("protocol direct { ipv4; ipv6; }")  # resolves the next hops of multihop sessions
        if kernel:
            for family in ("ipv4", "ipv6"):
                parts.append(f"protocol kernel {{ {family} {{ import none; export where source = RTS_BGP; }}; }}")
        for family, mark in (("ipv4", "."), ("ipv6", ":")):
            routes = [f"route {prefix} blackhole;" for prefix in self._announces if mark in prefix]
            if routes:
                parts.append(f"protocol static {{ {family}; {' '.join(routes)} }}")
        parts += [self._render_peer(peer) for peer in self.peers.values()]
        return "\n".join(parts) + "\n"

    def _render_peer(self, peer: Peer) -> str:
        lines = [
            f"local {peer.local} port {peer.port} as {self.asn};",
            f"neighbor {peer.address} as {peer.asn};",
            f"hold time {peer.hold_time};",
            # BIRD's own pauses (5 s, 120 s, 60 s and more) would make every restart in a test last a minute
            "connect delay time 1; connect retry time 2; error wait time 1, 4;",
        ]
        if peer.local:
            lines.append("strict bind yes;")
        if peer.password:
            lines.append(f'password "{peer.password}";')
        if peer.multihop:
            lines.append(f"multihop {peer.multihop};")
        if peer.ttl_security:
            lines.append("ttl security on;")
        for family in peer.families:
            over_ipv6 = " extended next hop on;" if family == "ipv4" and ":" in peer.address else ""
            export = "where source = RTS_STATIC" if self._announces else "none"
            lines.append(f"{family} {{ import all; export {export};{over_ipv6} }};")
        return f"protocol bgp {peer.session} {{\n    " + "\n    ".join(lines) + "\n}"


def _parse_routes(lines: list[str]) -> list[RouteInfo]:
    found: list[dict[str, Any]] = []
    prefix = ""
    for line in lines:
        head = re.match(r"(\S*)\s+(?:unicast|unreachable|blackhole|prohibit) \[(\S+) ", line)
        if head:
            prefix = head[1] or prefix
            found.append({"prefix": prefix, "session": head[2], "next_hop": "", "as_path": (), "origin": ""})
            continue
        attribute = re.match(r"\s+BGP\.(\w+):\s*(.*)", line)
        if attribute and found:
            found[-1].update(_attribute(attribute[1], attribute[2]))
    return [RouteInfo(**fields) for fields in found]


def _attribute(name: str, value: str) -> dict[str, Any]:
    match name:
        case "next_hop":
            return {"next_hop": value.split()[0]}
        case "as_path":
            return {"as_path": tuple(int(n) for n in re.findall(r"\d+", value))}
        case "origin":
            return {"origin": _ORIGIN.get(value, value)}
        case "med" | "local_pref":
            return {name: int(value)}
        case "community":
            return {"communities": tuple(sorted(f"{a}:{b}" for a, b in re.findall(r"\((\d+),\s*(\d+)\)", value)))}
        case "large_community":
            return {"large": tuple(sorted(":".join(c) for c in re.findall(r"\((\d+),\s*(\d+),\s*(\d+)\)", value)))}
        case "ext_community":
            triples = re.findall(r"\((\w+),\s*([\w.]+),\s*(\d+)\)", value)
            return {"extended": tuple(sorted(f"{_EXTENDED.get(kind, kind)}:{a}:{b}" for kind, a, b in triples))}
    return {}
