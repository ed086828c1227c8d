"""What is known of every peer's session, learned from ExaBGP's events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from consulcast.executor.bgp.events import Down, Negotiated, Notified, Session, Snapshot, Up
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.model import IPAddress, Reason
from consulcast.values import replace

log = logging.getLogger(__name__)

_NO_CONNECTION = "no connection: refused, unreachable, or closed by the peer"
_WITHOUT_CAUSE = "closing connection"  # all that ExaBGP says when there was no NOTIFICATION


class Sessions:
    """The state of every session. Logs one line for each change, and for each new reason why a peer stays down."""

    def __init__(self, peers: Iterable[Peer], clock: Callable[[], float]) -> None:
        self.closing = False  # we end the sessions ourselves: nothing to warn of
        self._clock = clock
        self._status = {peer.address: self._new(peer) for peer in peers}
        self.seen: dict[IPAddress, Session] = {}  # as ExaBGP last told when it was asked
        self._versions: dict[IPAddress, frozenset[int]] = {}
        self._notified: dict[IPAddress, str] = {}  # by a NOTIFICATION whose `down` has not come yet
        self._said: dict[IPAddress, set[str]] = {}  # why a peer that is down stays so, as was logged
        self._changed: set[IPAddress] = set()  # whose session we reset, and whose `down` has not come yet

    def set_peers(self, change: PeerChange) -> None:
        """Replace the peers. One that was changed is up until ExaBGP says that it is down."""
        status = {}
        for peer in change.peers:
            known = self._status.get(peer.address) or self._new(peer)
            status[peer.address] = replace(
                known, peer_as=peer.peer_as, local_as=peer.local_as, local_address=peer.local_address
            )
        self._status = status
        for books in (self._versions, self._notified, self._said):
            for address in books.keys() - status.keys():
                del books[address]
        up = self.up()
        self._changed = (self._changed | {after.address for _, after in change.reset}).intersection(up)

    def _new(self, peer: Peer) -> PeerStatus:
        return PeerStatus(
            peer.address, peer.peer_as, peer.local_as, peer.local_address, SessionState.DOWN, since=self._clock()
        )

    def statuses(self) -> tuple[PeerStatus, ...]:
        """Every peer, in the order of the configuration."""
        return tuple(self._status.values())

    def up(self) -> tuple[IPAddress, ...]:
        """The peers whose session is established."""
        return tuple(address for address, status in self._status.items() if status.state is SessionState.UP)

    def carries(self, peer: IPAddress, version: int) -> bool:
        """Whether the session is established and prefixes of that IP version were agreed upon."""
        status = self._status.get(peer)
        return status is not None and status.state is SessionState.UP and version in self._versions.get(peer, ())

    def versions(self, peer: IPAddress) -> frozenset[int]:
        """The IP versions that were agreed upon in the session, or in the one before."""
        return self._versions.get(peer, frozenset())

    def apply(self, event: Negotiated | Up | Down | Notified | Snapshot) -> bool:
        """Take an event in. Returns whether a state or a last error has changed."""
        if isinstance(event, Snapshot):
            changed = [self._seed(session) for session in event.sessions]
            return any(changed)
        if event.peer not in self._status:
            return False
        if isinstance(event, Negotiated):
            self._versions[event.peer] = event.versions
        elif isinstance(event, Notified):
            self._notified[event.peer] = event.text
        elif isinstance(event, Up):
            return self._up(event.peer, self._clock())
        else:
            reason = _NO_CONNECTION if event.reason == _WITHOUT_CAUSE else event.reason
            return self._down(event.peer, self._notified.pop(event.peer, reason))
        return False

    def ended(self, reason: str) -> bool:
        """Take in that ExaBGP has ended, and all sessions with it. Returns whether one was up."""
        changed = [self._down(peer, reason) for peer in self.up()]
        return any(changed)

    def _seed(self, session: Session) -> bool:
        if session.peer not in self._status:
            return False
        if session.established:
            self._versions[session.peer] = session.versions
            return self._up(session.peer, self._clock() - session.age)
        return session.peer in self.up() and self._down(session.peer, "session lost while nobody listened")

    def _up(self, peer: IPAddress, since: float) -> bool:
        status = self._status[peer]
        if status.state is SessionState.UP:
            return False
        self._notified.pop(peer, None)
        self._said.pop(peer, None)
        self._status[peer] = replace(status, state=SessionState.UP, since=since)
        self._log(logging.INFO, status, "up", "peer-up")
        return True

    def _down(self, peer: IPAddress, reason: str) -> bool:
        status = self._status[peer]
        if status.state is SessionState.UP:
            self._status[peer] = replace(
                status, state=SessionState.DOWN, since=self._clock(), flaps=status.flaps + 1, last_error=reason
            )
            self._said[peer] = {reason}
            meant = self.closing or peer in self._changed
            self._changed.discard(peer)
            level = logging.INFO if meant else logging.WARNING
            self._log(level, status, "down", Reason.PEER_DOWN, reason)
            return True
        if status.last_error == reason or (status.last_error and reason == _NO_CONNECTION):
            return False  # an attempt that failed for no known reason does not hide why the session is down
        self._status[peer] = replace(status, last_error=reason)
        if reason in self._said.setdefault(peer, set()):
            return True  # some reasons take turns
        self._said[peer].add(reason)
        self._log(logging.WARNING, status, "still down", Reason.PEER_DOWN, reason)
        return True

    @staticmethod
    def _log(level: int, status: PeerStatus, word: str, reason: str, detail: str = "") -> None:
        extra = {"peer": str(status.address), "reason": str(reason), "detail": detail}
        log.log(
            level, "peer %s AS%d: %s%s", status.address, status.peer_as, word, detail and f", {detail}", extra=extra
        )
