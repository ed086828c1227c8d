"""What a client may cost: sizes, times, connections, and how often it may ask."""

from __future__ import annotations

from collections import Counter, OrderedDict

from msgspec import Struct

from consulcast.web.rights import Peer

MOST_CLIENTS = 4096  # whose rates are remembered; beyond, the one that was longest away is forgotten
HERE = 64  # times as often may a client on this host ask
BURST = 5.0  # seconds of the allowed rate that may come at once
FAILURES, FAILURE_PAUSE = 10, 6.0  # wrong tokens at once; seconds until the next one is looked at


class Limits(Struct, frozen=True):
    """The limits. Sizes are bytes, times are seconds."""

    connections: int = 128  # of one listener; more wait in its backlog
    connections_per_client: int = 32
    requests_per_second: float = 20.0  # of one client
    url: int = 8000
    parameters: int = 300  # of one query: GoCast's /register may repeat four of them 64 times
    headers: int = 16 << 10  # all of a request together
    body: int = 64 << 10
    handshake_time: float = 5.0  # for TLS
    request_time: float = 5.0  # from the first byte of a request to its last
    idle_time: float = 15.0  # that a connection may wait for its next request
    send_time: float = 15.0  # in which the client must take each part of an answer


class Buckets:
    """A token bucket for each client; each fills at the same rate. Time is passed in."""

    def __init__(self) -> None:
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how much was taken, and when

    def wait(self, client: str, rate: float, burst: float, now: float, cost: float = 1.0) -> float:
        """Return in how many seconds ``cost`` can be taken: 0: at once. Takes nothing."""
        taken, at = self._levels.get(client, (0.0, now))
        taken = max(0.0, taken - (now - at) * rate)
        return max(0.0, (taken + cost - max(burst, cost)) / rate)

    def take(self, client: str, rate: float, burst: float, now: float, cost: float = 1.0) -> float:
        """Take ``cost`` if it is there. Returns as ``wait`` does."""
        wait = self.wait(client, rate, burst, now, cost)
        if not wait:
            taken, at = self._levels.get(client, (0.0, now))
            self._levels[client] = (max(0.0, taken - (now - at) * rate) + cost, now)
            self._levels.move_to_end(client)
            while len(self._levels) > MOST_CLIENTS:
                self._levels.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._levels)


class Gate:
    """Counts what each client has open, asks and gets wrong, over all listeners."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._requests, self._failures = Buckets(), Buckets()

    def enter(self, peer: Peer, limits: Limits) -> bool:
        """Count a connection; ``False``: the client has too many. To be left again if ``True``."""
        most = limits.connections * 3 // 4 if peer.here else limits.connections_per_client
        if self._open[peer.client] >= max(1, most):
            return False
        self._open[peer.client] += 1
        return True

    def leave(self, peer: Peer) -> None:
        """Count a connection out."""
        self._open[peer.client] -= 1
        if not self._open[peer.client]:
            del self._open[peer.client]

    def ask(self, peer: Peer, limits: Limits, now: float) -> float:
        """Count a request. Returns in how many seconds the client may ask again; 0: this one is within its rate."""
        rate = limits.requests_per_second
        return self._requests.take(peer.client, rate, rate * BURST, now, 1 / HERE if peer.here else 1.0)

    def locked(self, peer: Peer, now: float) -> float:
        """Return for how many seconds no token of this client is looked at, after too many wrong ones."""
        return self._failures.wait(peer.client, 1 / FAILURE_PAUSE, FAILURES, now)

    def failed(self, peer: Peer, now: float) -> bool:
        """Count a wrong token. Returns whether it was the last one for a while."""
        self._failures.take(peer.client, 1 / FAILURE_PAUSE, FAILURES, now)
        return self.locked(peer, now) > 0

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._open.total()
