"""What is around the daemon: the peers that it can speak to, the host's own addresses and Consul's, over time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from gevent.event import Event

from consulcast import last_words
from consulcast.config import Config
from consulcast.consul import location
from consulcast.consul.settings import ConsulSettings
from consulcast.executor.bgp.errors import BgpError
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.kernel import Kernel
from consulcast.executor.network import Network, filled, look, own
from consulcast.executor.protocols import KernelError
from consulcast.model import IPAddress
from consulcast.values import replace

log = logging.getLogger(__name__)

PEER_PATIENCE = 30.0  # seconds that the start waits for a route toward a peer
PEER_PAUSE = 5.0  # seconds between two looks
LOOK_AGAIN = 30.0  # seconds between two looks for peers and next hops that could not be found


class Surroundings:
    """Keeps books on what was found. What was found once stands until the file says otherwise."""

    def __init__(self, kernel: Kernel, vip_device: str) -> None:
        self._kernel, self._vip_device = kernel, vip_device
        self.network: Network
        self.of_consul: frozenset[IPAddress] = frozenset()  # as last resolved
        self._told: tuple[str, ...] = ()  # what could not be found, as last logged
        self._trouble = ""  # why the last look failed

    def wait(self, config: Config, stop: Event, state_dir: str) -> None:
        """Find the peers; with none to speak to, wait a while: at boot the network may be later than we are.

        Raises ``KernelError``.
        """
        deadline = time.monotonic() + PEER_PATIENCE
        while True:
            self.network = self._look(config)
            self._tell(self.network)
            if self.network.peers or time.monotonic() >= deadline or stop.is_set():
                return
            last_words.say(state_dir, f"waiting for a way to a peer: {'; '.join(self.network.gaps)}")
            stop.wait(PEER_PAUSE)

    def locate_consul(self, settings: ConsulSettings | None) -> bool:
        """Find Consul's addresses; those that are known stand while its name cannot be resolved. Returns a change."""
        former = self.of_consul
        found = location.addresses(settings) if settings is not None else frozenset()
        self.of_consul = former if found is None else found
        return self.of_consul != former

    def look_again(self, config: Config, elsewhere: bool, set_peers: Callable[[Sequence[Peer]], None]) -> bool:
        """Find what could not be found, a peer without a route or a next hop whose address came later; and what is new.

        New is an address that the host has got: it is no VIP any more. One that is gone may be back in a moment, and
        stays the host's own until a reload. ``elsewhere``: whether addresses may have changed. Returns a change.
        """
        former = network = self.network
        if elsewhere:
            network = replace(former, own=former.own | self._own(former))
        try:
            if former.gaps:
                later = filled(former, self._look(config))
                network = replace(later, own=network.own | later.own)
            if network.peers != former.peers:
                set_peers(network.peers)
        except (KernelError, BgpError) as error:
            level = logging.DEBUG if str(error) == self._trouble else logging.ERROR
            self._trouble, extra = str(error), {"reason": "network-unread", "detail": str(error)}
            log.log(level, "looking for peers, again in %.0f s: %s", LOOK_AGAIN, error, extra=extra)
            network = replace(former, own=network.own)
        else:
            self._trouble = ""
        self._tell(network)
        self.network = network
        return network != former

    def of_file(self, former: Config, config: Config) -> Network:
        """Look for the peers of a new file; those that stand there unchanged are as they were found before.

        Raises ``KernelError``.
        """
        if (config.peers, config.router_id) == (former.peers, former.router_id):
            return self.network
        network = self._look(config)
        before = {peer.where: peer for peer in former.peers}
        same = {peer.where for peer in config.peers if before.get(peer.where) == peer}
        if config.router_id != former.router_id:
            same -= network.found.keys()  # they get the new one; a peer whose route is away for a moment stays
        kept = {where: peer for where, peer in self.network.found.items() if where in same}
        return filled(replace(self.network, found=kept), network)

    def take(self, network: Network) -> None:
        """Go on with this network, and with the addresses that are the host's own now."""
        self.network = replace(network, own=self._own(network, gateways=True))
        self._tell(network)

    def news(self, network: Network) -> list[str]:
        """List what could not be found, and has not been told yet."""
        return [gap for gap in network.gaps if gap not in self._told]

    def _tell(self, network: Network) -> None:
        for gap in self.news(network):
            log.info("%s", gap, extra={"reason": "peer-incomplete", "detail": gap})
        self._told = network.gaps

    def _look(self, config: Config) -> Network:
        return look(config.peers, config.router_id, self._kernel, self._vip_device)

    def _own(self, former: Network, gateways: bool = False) -> frozenset[IPAddress]:
        """Look for the host's own addresses; as before where that cannot be, as without the VIPs' device."""
        try:
            found = own(self._kernel, self._vip_device)
            return found | self._kernel.gateways() if gateways else found
        except KernelError:
            return former.own
