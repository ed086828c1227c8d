"""What others may read of this host's announcements in Consul: as keys, and as tags of a service. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from consulcast import __version__, jsontext
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.model import Reason, Vip
from consulcast.web.view import VipState, VipView

# A name that DNS can ask for. No underscore: no name of an app may pass for a tag that announces something.
_LABELS = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


class Publication(Struct, frozen=True):
    """All that is published at a moment."""

    keys: Mapping[str, bytes]  # below this node's place in the key-value store: ``node``, and ``vips/`` each
    tags: tuple[str, ...]  # addresses of the announced VIPs, and names of the apps that have them
    summary: str


class Since:
    """Remembers when each VIP came to be as it is. Times are of the wall clock."""

    def __init__(self) -> None:
        self._since: dict[Vip, tuple[Reason, float]] = {}

    def update(self, vips: Iterable[VipView], now: float) -> Mapping[Vip, float]:
        """Take how the VIPs are, and tell since when."""
        before = self._since
        self._since = {
            view.vip: before[view.vip]
            if view.vip in before and before[view.vip][0] is view.reason
            else (view.reason, now)
            for view in vips
        }
        return {vip: since for vip, (_, since) in self._since.items()}


def publication(
    node: str,
    vips: Sequence[VipView],
    peers: Sequence[PeerStatus],
    since: Mapping[Vip, float],
    names: Mapping[Vip, Sequence[str]],
) -> Publication:
    """Write how the VIPs and the sessions are. ``names``: those of the apps of each VIP."""
    keys = {"node": jsontext.encode(_node(node, vips, peers))}
    tags: set[str] = set()
    for view in vips:
        keys[key(view.vip)] = jsontext.encode(
            {
                "node": node,
                "vip": str(view.vip),
                "prefix": str(view.vip.prefix),
                "state": view.state,
                "reason": view.reason,
                "since": _moment(since[view.vip]),
                "apps": [str(app) for app in view.apps],
            }
        )
        if view.state is VipState.ANNOUNCED:
            tags.add(_tag(view.vip))
            tags.update(name for name in names.get(view.vip, ()) if _LABELS.fullmatch(name))
    up, announced = _up(peers), sum(view.state is VipState.ANNOUNCED for view in vips)
    summary = f"{announced} of {len(vips)} VIPs announced, {len(up)} of {len(peers)} peers up"
    return Publication(keys, tuple(sorted(tags)), summary)


def key(vip: Vip) -> str:
    """Name a VIP's key. Its slash would make a folder of each address."""
    return f"vips/{str(vip).replace('/', '_')}"


def _node(node: str, vips: Sequence[VipView], peers: Sequence[PeerStatus]) -> dict[str, object]:
    return {
        "node": node,
        "version": __version__,
        "vips": {state.value: sum(view.state is state for view in vips) for state in VipState},
        "peers_up": len(_up(peers)),
        "peers": [{"address": str(peer.address), "as": peer.peer_as, "state": peer.state} for peer in peers],
    }


def _up(peers: Sequence[PeerStatus]) -> Sequence[PeerStatus]:
    return [peer for peer in peers if peer.state is SessionState.UP]


def _tag(vip: Vip) -> str:
    """Write it as one asks for it: an address, or a prefix of several."""
    prefix = vip.prefix
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
