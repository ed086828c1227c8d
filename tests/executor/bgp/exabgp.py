"""A stand-in for ExaBGP's side of the pipe: reads commands in order, keeps a table, answers each."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterable
from ipaddress import ip_network

from consulcast.executor.bgp import commands
from consulcast.executor.bgp.drift import part_of
from consulcast.executor.bgp.peer import Peer


class Fake:
    """Knows what a real one would. ``refuse`` is how many commands it answers `error` from now on.

    ``file`` is the configuration that it reads when it is told to, ``peers`` the one that it has read.
    """

    def __init__(self, *peers: Peer) -> None:
        self.file = peers
        self.peers = {str(peer.address): peer for peer in peers}
        self.unread: deque[str] = deque()
        self.table: dict[tuple[str, str], str] = {}
        self.read: list[str] = []
        self.refuse = 0
        self.up: set[str] = set()  # peers with a session
        self.sums_told = self.parts_told = 0
        self.ended_ribs: list[tuple[str, str]] = []  # peers and families that were told End-of-RIB

    def receive(self, lines: Iterable[str]) -> int:
        """Take commands in. Returns how many nudges were among them: these are answered at once, before all else."""
        lines = list(lines)
        self.unread.extend(line for line in lines if line != commands.NUDGE)
        return lines.count(commands.NUDGE)

    def step(self) -> bool:
        """Read one command, act on it, and return the acknowledgement."""
        line = self.unread.popleft()
        self.read.append(line)
        words = line.split()
        if line == commands.SHOW_NEIGHBORS or words[0] == commands.TABLE:
            return True
        if words[2:4] == ["announce", "eor"]:
            self.ended_ribs.append((words[1], words[4]))
            return words[1] in self.up
        if self.refuse:
            self.refuse -= 1
            return False
        if line == commands.RELOAD:
            self.reload()
            return True
        key = words[1], words[4]
        peer = self.peers.get(words[1])
        if peer is None:
            return False
        if words[2] == "withdraw":
            self.table.pop(key, None)
        elif ip_network(words[4]).version in peer.versions:
            self.table[key] = line
        return True

    def reload(self) -> None:
        """Read the file. A table is kept by the name of a neighbour, and of its families only."""
        before, self.peers = self.peers, {str(peer.address): peer for peer in self.file}
        for address, prefix in list(self.table):
            old, new = before[address], self.peers.get(address)
            if new is None or _name(old) != _name(new) or ip_network(prefix).version not in new.versions:
                del self.table[address, prefix]

    def part(self, question: str) -> bytes:
        """The answer to the question for a table's sum, or a part of it."""
        _, peer, *which = question.split()
        table = {p: line.removeprefix(f"neighbor {peer} ") for (known, p), line in self.table.items() if known == peer}
        if not which:
            self.sums_told += 1
            checksums = sum(zlib.crc32(line.encode()) for line in table.values())
            return json.dumps({"table": peer, "count": len(table), "sum": checksums}).encode()
        part, parts = which
        self.parts_told += 1
        routes = {p: line for p, line in table.items() if part_of(ip_network(p), int(parts)) == int(part)}
        return json.dumps({"table": peer, "part": int(part), "parts": int(parts), "routes": routes}).encode()

    def end(self) -> None:
        """End, and begin as another that has read the file as it is."""
        self.unread.clear()
        self.table.clear()
        self.peers = {str(peer.address): peer for peer in self.file}

    def snapshot(self) -> bytes:
        """The answer to the question for the neighbours."""
        return json.dumps([_shown(peer, address in self.up) for address, peer in self.peers.items()]).encode()


def _name(peer: Peer) -> tuple[object, ...]:
    return peer.address, peer.local_address, peer.local_as, peer.peer_as, peer.router_id


def _shown(peer: Peer, up: bool) -> dict[str, object]:
    local = {"address": str(peer.local_address), "as": peer.local_as, "id": str(peer.router_id), "hold": peer.hold_time}
    families = {f"ipv{version} unicast": True for version in peer.versions}
    return {
        "state": "up" if up else "down",
        "fsm": "ESTABLISHED" if up else "IDLE",
        "duration": 1,
        "families": list(families) if up else [],
        "local": {**local, "families": families},
        "peer": {"address": str(peer.address), "as": peer.peer_as, "id": None, "hold": None, "families": {}},
    }
