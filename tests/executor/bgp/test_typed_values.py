"""Whatever the types allow, ExaBGP's configuration and commands keep their form: no value can become another word."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consulcast.executor.bgp import commands
from consulcast.executor.bgp.configuration import render
from consulcast.executor.bgp.errors import CommandError, PeerError
from consulcast.executor.bgp.peer import Peer
from consulcast.model import Community, CommunityKind, Origin, Route

RELAY = ("/usr/bin/python3", "/run/x.sock")
HEX = r"[0-9a-f.:]+"
# Each line of a neighbour, and nothing beside them. A quoted password ends at its line's only closing quote.
FORMS = re.compile(
    rf"neighbor {HEX} \{{|\}}| {{4,8}}(?:"
    rf"(?:router-id|local-address) {HEX};|(?:local-as|peer-as|connect|hold-time|incoming-ttl|outgoing-ttl) [0-9]+;"
    r"|md5-password \"[ -!#-&(-~]+\";|md5-base64 false;|adj-rib-in false;|adj-rib-out true;"
    r"|capability \{ asn4 enable; route-refresh enable; (?:nexthop enable; )?\}"
    r"|family \{(?: ipv[46] unicast;)+ \}|nexthop \{ ipv4 unicast ipv6; \}|api \{|processes \[ consulcast \];"
    r"|neighbor-changes true;|negotiated true;|receive \{ packets true; notification true; \}"
    r"|send \{ packets true; notification true; \}|\}|)"
)
COMMAND = re.compile(
    rf"neighbor {HEX} announce route {HEX}/[0-9]+ next-hop {HEX} origin (?:igp|egp|incomplete)"
    r"(?: local-preference 100)?"
    r"(?: community \[(?: [0-9]+:[0-9]+)+ \])?(?: large-community \[(?: [0-9]+:[0-9]+:[0-9]+)+ \])?"
    r"(?: extended-community \[(?: (?:target|origin):[0-9.]+:[0-9]+)+ \])?"
)

numbers = st.integers(-1, 2**33)
addresses = st.ip_addresses()
peers = st.fixed_dictionaries(
    {
        "address": addresses,
        "peer_as": numbers,
        "local_as": numbers,
        "local_address": addresses,
        "router_id": st.ip_addresses(v=4),
        "next_hop4": st.none() | addresses,
        "next_hop6": st.none() | st.ip_addresses(v=6),
        "port": st.integers(-1, 70000),
        "password": st.none() | st.text(max_size=90) | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
        "ttl": st.none() | st.integers(-1, 300),
        "ttl_security": st.integers(-1, 300),
        "hold_time": st.integers(-1, 70000),
        "extended_next_hop": st.booleans(),
    }
)
likely = st.fixed_dictionaries(
    {
        **{"peer_as": st.integers(1, 2**32 - 1), "local_as": st.integers(1, 2**32 - 1), "port": st.integers(1, 65535)},
        **{"ttl": st.none(), "ttl_security": st.integers(0, 255), "hold_time": st.just(9)},
        **{"address": st.ip_addresses(v=4), "local_address": st.ip_addresses(v=4), "extended_next_hop": st.just(True)},
    }
)
routes = st.builds(
    Route,
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: ipaddress.ip_network(pair, strict=False))
    | st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(lambda pair: ipaddress.ip_network(pair, strict=False)),
    st.lists(
        st.builds(
            Community,
            st.sampled_from(CommunityKind),
            st.text(max_size=20)
            | st.from_regex(r"[0-9]{1,5}(:[0-9]{1,5}){1,2}", fullmatch=True)
            | st.from_regex(r"(target|origin):[0-9]{1,5}:[0-9]{1,5}", fullmatch=True),
        ),
        max_size=4,
    ).map(tuple),
    st.sampled_from(Origin),
)


def made(values: dict[str, Any]) -> Peer | None:
    try:
        return Peer(**values)
    except PeerError:
        return None


@given(peers, likely, st.booleans(), routes)
def test_any_peer_and_route_have_the_form_of_ours_and_are_ascii(
    wild: dict[str, Any], tame: dict[str, Any], only_wild: bool, route: Route
) -> None:
    peer = made(wild if only_wild else {**wild, **tame})
    if peer is None:
        return
    text = render([peer], RELAY)
    assert text.isascii()
    body = text[text.index("neighbor ") :]
    assert all(FORMS.fullmatch(line) for line in body.splitlines()), body
    assert body.count('"') == (2 if peer.password is not None else 0)
    try:
        line = commands.announce(peer, route)
    except CommandError:
        return
    assert line is None or COMMAND.fullmatch(line)
    withdrawal = commands.withdraw(peer, route.prefix)
    assert re.fullmatch(rf"neighbor {HEX} withdraw route {HEX}/[0-9]+", withdrawal)
