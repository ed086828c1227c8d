"""What becomes of each peer when the peers are replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from msgspec import Struct

from consulcast.executor.bgp.peer import Peer
from consulcast.model import IPAddress

log = logging.getLogger(__name__)


class PeerChange(Struct, frozen=True):
    """The difference between two sets of peers. A peer is known by its address; each is a pair of before and after.

    ``reset`` need a new session, ``rerouted`` only other next hops.
    """

    peers: tuple[Peer, ...]
    added: tuple[Peer, ...]
    removed: tuple[Peer, ...]
    reset: tuple[tuple[Peer, Peer], ...]
    rerouted: tuple[tuple[Peer, Peer], ...]

    @classmethod
    def between(cls, before: Iterable[Peer], after: Iterable[Peer]) -> PeerChange:
        """Compare. No address stands twice on either side."""
        peers = tuple(after)
        old, new = ({peer.address: peer for peer in each} for each in (before, peers))
        changed = [(old[address], peer) for address, peer in new.items() if old.get(address, peer) != peer]
        return cls(
            peers,
            tuple(peer for address, peer in new.items() if address not in old),
            tuple(peer for address, peer in old.items() if address not in new),
            tuple(pair for pair in changed if not pair[0].same_session(pair[1])),
            tuple(pair for pair in changed if pair[0].same_session(pair[1])),
        )

    @property
    def of_sessions(self) -> bool:
        """Whether there is anything to tell ExaBGP but routes."""
        return bool(self.added or self.removed or self.reset)

    @property
    def renewed(self) -> frozenset[IPAddress]:
        """The peers whose session will be another."""
        return frozenset(peer.address for peer in (*self.added, *(after for _, after in self.reset)))

    def log(self) -> None:
        """Log a line for each."""
        for peer in self.removed:
            log.info("peer %s AS%d: removed", peer.address, peer.peer_as, extra=_extra(peer, "peer-removed"))
        for peer in self.added:
            log.info("peer %s AS%d: added", peer.address, peer.peer_as, extra=_extra(peer, "peer-added"))
        for before, after in self.reset:
            words = ", ".join(before.differing(after))  # names only: one of them is the password
            text, extra = "peer %s AS%d: changed (%s), its session is reset", _extra(after, "peer-changed", words)
            log.info(text, after.address, after.peer_as, words, extra=extra)
        for before, after in self.rerouted:
            words = ", ".join(f"{name} {getattr(after, name)}" for name in before.differing(after))
            text, extra = "peer %s AS%d: changed (%s), its session stays", _extra(after, "peer-changed", words)
            log.info(text, after.address, after.peer_as, words, extra=extra)


def _extra(peer: Peer, reason: str, detail: str = "") -> dict[str, str]:
    return {"peer": str(peer.address), "reason": reason, "detail": detail}
