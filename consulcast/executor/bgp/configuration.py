"""Renders ExaBGP's configuration file, from typed values only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from consulcast.executor.bgp.errors import BgpError, PeerError
from consulcast.executor.bgp.peer import Peer

_GTSM_TTL = 255  # RFC 5082 section 3
_WORD = re.compile(r"[A-Za-z0-9_./+@:=-]+")  # what ExaBGP's tokeniser passes on unchanged without quotes


def render(peers: Iterable[Peer], relay: Sequence[str], graceful_restart: int = 0) -> str:
    """Render the configuration for ``peers``, with ``relay`` (program and arguments) as the API process.

    ``graceful_restart``: seconds that peers keep our routes over a restart; 0 for not at all.

    Raises ``PeerError`` when two peers have one address, ``BgpError`` when a word of ``relay`` cannot be written.
    """
    peers = tuple(peers)
    seen = set()
    for peer in peers:
        if peer.address in seen:  # commands select a neighbour by its address
            raise PeerError(f"peer {peer.address} is configured twice")
        seen.add(peer.address)
    return "\n".join([_process(relay), *(_neighbor(peer, graceful_restart) for peer in peers)])


def _process(relay: Sequence[str]) -> str:
    for word in relay:
        if not _WORD.fullmatch(word):
            raise BgpError(
                f"ExaBGP cannot run a program with {word!r} in its command line: no blanks or quotes in paths"
            )
    return f"process consulcast {{\n    run {' '.join(relay)};\n    encoder json;\n}}\n"


def _neighbor(peer: Peer, graceful_restart: int) -> str:
    capabilities = ["asn4 enable;", "route-refresh enable;"]
    if peer.extended_next_hop:
        capabilities.append("nexthop enable;")
    if graceful_restart:
        capabilities.append(f"graceful-restart {graceful_restart};")
    statements = [
        f"router-id {peer.router_id};",
        f"local-address {peer.local_address};",
        f"local-as {peer.local_as};",
        f"peer-as {peer.peer_as};",
        f"connect {peer.port};",
        f"hold-time {peer.hold_time};",
        *_security(peer),
        "adj-rib-in false;",  # what peers send is neither stored nor parsed
        "adj-rib-out true;",  # kept, to be sent again after a reconnect
        f"capability {{ {' '.join(capabilities)} }}",
        # End-of-RIB has the peer drop what it still held; ExaBGP would say it before it has been told any route.
        *(["manual-eor true;"] if graceful_restart else []),
        f"family {{ {' '.join(f'ipv{version} unicast;' for version in peer.versions)} }}",
        *(["nexthop { ipv4 unicast ipv6; }"] if peer.extended_next_hop else []),
        # `packets`, not `parsed`: with `parsed` ExaBGP would decode every UPDATE received, and a NOTIFICATION
        # caused by a framing error would raise inside it.
        "api {",
        "    processes [ consulcast ];",
        "    neighbor-changes true;",
        "    negotiated true;",
        "    receive { packets true; notification true; }",
        "    send { packets true; notification true; }",
        "}",
    ]
    body = "\n".join(f"    {statement}" for statement in statements)
    return f"neighbor {peer.address} {{\n{body}\n}}\n"


def _security(peer: Peer) -> list[str]:
    statements = []
    if peer.password is not None:
        quoted = peer.password.replace("\\", "\\\\")
        # Without md5-base64 a password that looks like base64 would be taken for it.
        statements += [f'md5-password "{quoted}";', "md5-base64 false;"]
    if peer.ttl_security:
        statements += [f"incoming-ttl {_GTSM_TTL + 1 - peer.ttl_security};", f"outgoing-ttl {_GTSM_TTL};"]
    elif peer.ttl is not None:
        statements.append(f"outgoing-ttl {peer.ttl};")
    return statements
