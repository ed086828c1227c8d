"""What is published: keys and tags, from how the VIPs and the sessions are."""

from __future__ import annotations

import ipaddress
import json

from consulcast import __version__, notation
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.model import AppKey, Reason, Source, Vip
from consulcast.publication import Publication, Since, key, publication
from consulcast.web.view import VipView


def vip(text: str, reason: Reason = Reason.ANNOUNCED, app: str = "dns") -> VipView:
    return VipView(notation.vip(text), reason, "", (AppKey(Source.CONSUL, app),))


def peer(address: str, state: SessionState) -> PeerStatus:
    ours = ipaddress.ip_address("198.51.100.1")
    return PeerStatus(ipaddress.ip_address(address), 65010, 65001, ours, state, 0.0)


PEERS = (peer("198.51.100.2", SessionState.UP), peer("198.51.100.3", SessionState.DOWN))
TEN = notation.vip("203.0.113.10/32")


def published(*vips: VipView, names: dict[Vip, list[str]] | None = None) -> Publication:
    return publication("host-1", vips, PEERS, dict.fromkeys((view.vip for view in vips), 0.0), names or {})


def test_a_vips_key_says_who_has_it_how_it_is_why_and_since_when() -> None:
    found = published(vip("203.0.113.10/32", Reason.MONITOR_FAILING))
    assert json.loads(found.keys["vips/203.0.113.10_32"]) == {
        "node": "host-1",
        "vip": "203.0.113.10/32",
        "prefix": "203.0.113.10/32",
        "state": "down",
        "reason": "monitor-failing",
        "since": "1970-01-01T00:00:00Z",
        "apps": ["consul:dns"],
    }


def test_the_nodes_key_has_the_sessions_and_how_many_vips_are_how() -> None:
    vips = (vip("203.0.113.10/32"), vip("203.0.113.11/32", Reason.ANNOUNCING), vip("203.0.113.12/32", Reason.PEER_DOWN))
    found = published(*vips)
    assert json.loads(found.keys["node"]) == {
        "node": "host-1",
        "version": __version__,
        "vips": {"announced": 1, "observed": 0, "pending": 1, "down": 1},
        "peers_up": 1,
        "peers": [
            {"address": "198.51.100.2", "as": 65010, "state": "up"},
            {"address": "198.51.100.3", "as": 65010, "state": "down"},
        ],
    }
    assert found.summary == "1 of 3 VIPs announced, 1 of 2 peers up"


def test_tags_are_of_what_is_announced_alone_written_as_one_asks_for_it() -> None:
    views = (
        vip("203.0.113.10/32"),
        vip("2001:db8::10/128"),
        vip("198.18.0.0/24"),
        vip("203.0.113.11/32", Reason.NO_CHECKS),
    )
    assert published(*views).tags == ("198.18.0.0/24", "2001:db8::10", "203.0.113.10")


def test_no_name_of_an_app_becomes_a_tag_that_announces_something() -> None:
    names = ["dns", "dns.eu-1", "enable_gocast", "gocast_vip=203.0.113.99/32", "a b", "", "ü"]
    found = published(vip("203.0.113.10/32"), names={TEN: names})
    assert found.tags == ("203.0.113.10", "dns", "dns.eu-1")


def test_a_whole_prefix_has_a_key_of_its_own() -> None:
    assert key(notation.vip("10.0.0.5/24")) != key(notation.vip("10.0.0.5/32"))


def test_since_is_when_the_reason_became_that() -> None:
    since = Since()
    assert since.update([vip("203.0.113.10/32")], 10.0) == {TEN: 10.0}
    assert since.update([vip("203.0.113.10/32")], 20.0) == {TEN: 10.0}
    assert since.update([vip("203.0.113.10/32", Reason.PEER_DOWN)], 30.0) == {TEN: 30.0}
    assert since.update([], 40.0) == {}
    assert since.update([vip("203.0.113.10/32", Reason.PEER_DOWN)], 50.0) == {TEN: 50.0}
