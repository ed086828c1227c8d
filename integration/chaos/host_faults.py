"""What somebody else does on the host: to our addresses and rules, and to the device under them."""

from __future__ import annotations

import time
from typing import ClassVar

from integration.chaos.account import Allowed
from integration.chaos.fault import HOST, Fault
from integration.chaos.fleet import translations
from integration.chaos.world import GRACE, World


class HostFault(Fault):
    """Repaired by event: in milliseconds, where it is not done again and again."""

    touches = HOST
    hold = 0.2
    back = 8.0


class AddressDeleted(HostFault):
    """The addresses of one VIP, or of all, are deleted by hand."""

    def inject(self, world: World) -> None:
        up = [vip for vip, is_up in world.truth().items() if is_up]
        self.vips = up if self.rng.random() < 0.2 else [self.rng.choice(up)]
        for vip in self.vips:
            world.host.run("ip", "addr", "del", vip, "dev", "lo")

    def heal(self, world: World) -> None:
        pass  # that is the daemon's

    @property
    def what(self) -> str:
        vips: list[str] = getattr(self, "vips", [])
        return vips[0] if len(vips) == 1 else "all"


class RulesFlushed(HostFault):
    """Our NAT table is emptied, or deleted, by somebody else."""

    commands: ClassVar = (
        ("delete", "table", "inet", "consulcast"),
        ("flush", "table", "inet", "consulcast"),
        ("flush", "map", "inet", "consulcast", "dnat4"),
    )

    def possible(self, world: World) -> bool:
        return bool(translations(world.services.values()))

    def inject(self, world: World) -> None:
        self.command = self.rng.choice(self.commands)
        world.host.run("nft", *self.command)

    def heal(self, world: World) -> None:
        pass  # that is the daemon's

    @property
    def what(self) -> str:
        return " ".join(getattr(self, "command", ()))


class LoopbackDown(HostFault):
    """The VIPs' device is set down and up: nothing on it works meanwhile, and IPv6 loses its addresses."""

    allowed = Allowed(withdrawals=2)  # of a service whose probe, on that device too, failed meanwhile
    alone = True
    hold = 1.0
    back = GRACE + 15.0  # Consul, too, was on that device

    def inject(self, world: World) -> None:
        world.host.run("ip", "link", "set", "lo", "down")

    def heal(self, world: World) -> None:
        world.host.run("ip", "link", "set", "lo", "up")
        world.consul.wait_ready()
        time.sleep(2.5)  # a probe that began meanwhile waits a second in vain; the next one passes


class ForeignBeside(HostFault):
    """Somebody adds addresses and rules of their own, one to our VIP itself in another width: all that stays."""

    _ADDRESSES = ("203.0.113.97/32", "203.0.113.10/24")

    def inject(self, world: World) -> None:
        for address in self._ADDRESSES:
            world.host.run("ip", "addr", "add", address, "dev", "lo")
        world.host.run("nft", "add", "table", "ip", "beside")

    def heal(self, world: World) -> None:
        there = world.host.addresses("lo")
        missing = [address for address in self._ADDRESSES if address not in there]
        assert not missing, f"somebody else's addresses are gone: {missing}"
        for address in self._ADDRESSES:
            world.host.run("ip", "addr", "del", address, "dev", "lo")
        world.host.run("nft", "delete", "table", "ip", "beside")
