"""The same with other routers' BGP."""

from __future__ import annotations

import pytest

from integration.bgp_speaker import Speaker, route
from integration.lab import Frr, Gobgp, Lab, Peer
from integration.test_bgp_sessions import HOST4, HOST6, VIP4, VIP6, peer, two


@pytest.mark.parametrize("kind", [Frr, Gobgp])
def test_routes_with_communities_arrive_and_go(lab: Lab, kind: type[Frr] | type[Gobgp]) -> None:
    host, tor = two(lab)
    router = kind(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.set([route(VIP4, "65000:1", "4200000001:1:2", "target:65000:7"), route(VIP6, "65000:2")])
    found = router.wait_routes({VIP4, VIP6}, deadline=30)
    assert (found[VIP4].next_hop, found[VIP6].next_hop) == (HOST4, HOST6)
    assert (found[VIP4].communities, found[VIP6].communities) == (("65000:1",), ("65000:2",))
    assert found[VIP4].large == ("4200000001:1:2",)
    assert found[VIP4].extended == ("target:65000:7",)
    assert found[VIP4].as_path == (65001,)
    speaker.set([route(VIP6, "65000:2")])
    router.wait_routes({VIP6})
    speaker.set([])
    router.wait_routes(set())
