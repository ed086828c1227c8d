"""GoBGP as a router of the lab."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from integration.lab.host import Host
from integration.lab.process import Process
from integration.lab.router import Peer, RouteInfo, Router
from integration.lab.wait import until

_ORIGIN, _AS_PATH, _NEXT_HOP, _MED, _LOCAL_PREF, _COMMUNITY, _MP_REACH, _EXTENDED, _LARGE = 1, 2, 3, 4, 5, 8, 14, 16, 32
_KIND = {2: "target", 3: "origin"}


class Gobgp(Router):
    """A router that runs gobgpd. Started at once. All its peers reach it on one port, that of the first."""

    def __init__(self, host: Host, asn: int, peers: Sequence[Peer], *, router_id: str = "198.51.100.2") -> None:
        self.host = host
        self.asn = asn
        self.peers = {peer.session: peer for peer in peers}
        self._config = host.lab.dir / f"gobgp-{host.name}.json"
        self._config.write_text(json.dumps(self._render(router_id)))
        self._process: Process | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ("-t", "json", "-p", "--api-hosts", "127.0.0.1:50051", "--pprof-disable")
        self._process = self.host.spawn("gobgpd", "-f", str(self._config), *options)
        until(lambda: self._ask("global", check=False), 10.0, f"gobgpd on {self.host.name} answers", every=0.05)

    def stop(self) -> None:
        """End it in order."""
        assert self._process is not None
        self._process.stop()

    def established(self, session: str = "") -> bool:
        """Tell whether the session (the only one, if not named) is up."""
        address = self.peer(session).address
        states = [neighbor["state"] for neighbor in _dashed(json.loads(self._ask("neighbor")))]
        return any(s["neighbor-address"] == address and s.get("session-state") == 6 for s in states)

    def routes(self) -> dict[str, RouteInfo]:
        """Return the best route of every prefix learned over BGP."""
        found = {}
        for family in ("ipv4", "ipv6"):
            answer = json.loads(self._ask("global", "rib", "-a", family))
            for prefix, paths in (answer if isinstance(answer, dict) else {}).items():
                best = next((path for path in paths if path.get("best")), None)
                if best is not None:
                    found[prefix] = _route(prefix, best)
        return found

    def _ask(self, *words: str, check: bool = True) -> str:
        return self.host.run("gobgp", "-j", *words, check=check)

    def _render(self, router_id: str) -> dict[str, Any]:
        neighbors = []
        for peer in self.peers.values():
            settings: dict[str, Any] = {
                "config": {"neighbor-address": peer.address, "peer-as": peer.asn, "auth-password": peer.password},
                "timers": {
                    "config": {"connect-retry": 2, "idle-hold-time-after-reset": 1, "hold-time": peer.hold_time}
                },
                "afi-safis": [{"config": {"afi-safi-name": f"{family}-unicast"}} for family in peer.families],
            }
            if peer.local:
                settings["transport"] = {"config": {"local-address": peer.local}}
            if peer.ttl_security:
                settings["ttl-security"] = {"config": {"enabled": True, "ttl-min": 255}}
            elif peer.multihop:
                settings["ebgp-multihop"] = {"config": {"enabled": True, "multihop-ttl": peer.multihop}}
            neighbors.append(settings)
        port = next(iter(self.peers.values())).port
        return {"global": {"config": {"as": self.asn, "router-id": router_id, "port": port}}, "neighbors": neighbors}


def _dashed(value: Any) -> Any:
    """Spell every key with dashes: gobgp's JSON has both spellings, by version."""
    if isinstance(value, dict):
        return {key.replace("_", "-"): _dashed(item) for key, item in value.items()}
    return [_dashed(item) for item in value] if isinstance(value, list) else value


def _route(prefix: str, path: dict[str, Any]) -> RouteInfo:
    attributes = {attribute["type"]: attribute for attribute in path["attrs"]}
    reach = attributes.get(_NEXT_HOP) or attributes.get(_MP_REACH) or {}
    segments = attributes.get(_AS_PATH, {}).get("as_paths", ())
    communities = attributes.get(_COMMUNITY, {}).get("communities", ())
    large = attributes.get(_LARGE, {}).get("value", ())
    extended = attributes.get(_EXTENDED, {}).get("value", ())
    return RouteInfo(
        prefix=prefix,
        next_hop=reach.get("nexthop", ""),
        as_path=tuple(asn for segment in segments for asn in segment["asns"]),
        origin=("igp", "egp", "incomplete")[attributes.get(_ORIGIN, {}).get("value", 2)],
        communities=tuple(sorted(f"{c >> 16}:{c & 0xFFFF}" for c in communities)),
        large=tuple(sorted(f"{c['ASN']}:{c['LocalData1']}:{c['LocalData2']}" for c in large)),
        extended=tuple(sorted(f"{_KIND.get(c.get('subtype', 0), '?')}:{c.get('value')}" for c in extended)),
        med=attributes.get(_MED, {}).get("metric"),
        local_pref=attributes.get(_LOCAL_PREF, {}).get("value"),
    )
