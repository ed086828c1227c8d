"""FRR (zebra and bgpd) as a router of the lab."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from integration.lab.host import Host
from integration.lab.process import Process
from integration.lab.router import Peer, RouteInfo, Router
from integration.lab.wait import until

_PROGRAMS = "/usr/lib/frr"


class Frr(Router):
    """A router that runs FRR with its sockets and files in the lab's folder. Started at once.

    All its peers reach it on one port, that of the first.
    """

    def __init__(self, host: Host, asn: int, peers: Sequence[Peer], *, router_id: str = "198.51.100.2") -> None:
        self.host = host
        self.asn = asn
        self.peers = {peer.session: peer for peer in peers}
        self._files = host.lab.dir / f"frr-{host.name}"
        self._files.mkdir()
        shutil.chown(self._files, "frr", "frr")  # it gives root up, and insists on its own user
        (self._files / "zebra.conf").write_text("log stdout\n")
        (self._files / "bgpd.conf").write_text(self._render(router_id))
        self._processes: list[Process] = []
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        port = next(iter(self.peers.values())).port
        for program, more in (("zebra", ()), ("bgpd", ("-p", str(port)))):
            files = self._files / program
            own = ["-f", f"{files}.conf", "-i", f"{files}.pid", "--vty_socket", str(self._files), "-P", "0"]
            zebra = ["-z", str(self._files / "zserv.api"), "--log", "stdout"]
            process = self.host.spawn(f"{_PROGRAMS}/{program}", *own, *zebra, *more)
            self._processes.append(process)
            until((self._files / f"{program}.vty").exists, 10.0, f"{program} on {self.host.name} answers")

    def stop(self) -> None:
        """End it in order."""
        while self._processes:
            self._processes.pop().stop()

    def command(self, line: str) -> str:
        """Run a command of bgpd and return what it prints."""
        return self.host.run("vtysh", "--vty_socket", str(self._files), "-d", "bgpd", "-c", line)

    def established(self, session: str = "") -> bool:
        """Tell whether the session (the only one, if not named) is up."""
        neighbor = self.peer(session).address
        answer = json.loads(self.command(f"show bgp neighbors {neighbor} json"))
        return bool(answer.get(neighbor, {}).get("bgpState") == "Established")

    def routes(self) -> dict[str, RouteInfo]:
        """Return the best route of every prefix learned over BGP."""
        found = {}
        for family in ("ipv4", "ipv6"):
            for prefix in json.loads(self.command(f"show bgp {family} unicast json")).get("routes", {}):
                detail = json.loads(self.command(f"show bgp {family} unicast {prefix} json"))
                best = next((path for path in detail.get("paths", ()) if path.get("bestpath")), None)
                if best is not None:
                    found[prefix] = _route(prefix, best)
        return found

    def _render(self, router_id: str) -> str:
        lines = ["log stdout", f"router bgp {self.asn}", f" bgp router-id {router_id}"]
        lines += [" no bgp ebgp-requires-policy", " no bgp default ipv4-unicast", " no bgp network import-check"]
        for peer in self.peers.values():
            to = f" neighbor {peer.address}"
            lines += [f"{to} remote-as {peer.asn}", f"{to} timers 3 {peer.hold_time}", f"{to} timers connect 1"]
            if peer.password:
                lines.append(f"{to} password {peer.password}")
            if peer.ttl_security:
                lines.append(f"{to} ttl-security hops 1")
            elif peer.multihop:
                lines.append(f"{to} ebgp-multihop {peer.multihop}")
            if peer.local:
                lines.append(f"{to} update-source {peer.local}")
            if ":" in peer.address and "ipv4" in peer.families:
                lines.append(f"{to} capability extended-nexthop")
        for family in ("ipv4", "ipv6"):
            lines.append(f" address-family {family} unicast")
            lines += [f"  neighbor {peer.address} activate" for peer in self.peers.values() if family in peer.families]
            lines.append(" exit-address-family")
        return "\n".join(lines) + "\n"


def _route(prefix: str, path: dict[str, Any]) -> RouteInfo:
    hops = [hop for hop in path["nexthops"] if hop.get("scope") != "link-local"]
    words = path.get("aspath", {}).get("string", "").split()
    extended = path.get("extendedCommunity", {}).get("string", "").split()
    return RouteInfo(
        prefix=prefix,
        next_hop=hops[0]["ip"] if hops else "",
        as_path=tuple(int(word) for word in words if word.isdigit()),
        origin=path.get("origin", "").lower(),
        communities=tuple(sorted(path.get("community", {}).get("list", ()))),
        large=tuple(sorted(path.get("largeCommunity", {}).get("list", ()))),
        extended=tuple(sorted(text.replace("RT:", "target:").replace("SoO:", "origin:") for text in extended)),
        med=path.get("metric"),
        local_pref=path.get("locPrf"),
    )
