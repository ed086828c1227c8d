"""What goes wrong between the daemon and the router: ExaBGP, its relay, the router, the cable."""

from __future__ import annotations

import os
import signal

from integration.chaos.account import Allowed
from integration.chaos.fault import BGP, DAEMON, Fault
from integration.chaos.world import HOLD_TIME, World

# ExaBGP is started again after up to 10 s where it has ended often, and it and BIRD try again every few seconds.
_SESSION = 30.0


class BgpFault(Fault):
    """The session is lost and made anew, and with it all routes; not one is withdrawn."""

    touches = BGP
    needs = frozenset({DAEMON})
    allowed = Allowed(sessions=1)
    back = _SESSION


class ExabgpKilled(BgpFault):
    """ExaBGP is killed."""

    def inject(self, world: World) -> None:
        os.kill(world.exabgp(), signal.SIGKILL)

    def heal(self, world: World) -> None:
        pass  # that is the daemon's


class ExabgpFrozen(BgpFault):
    """ExaBGP stands still for less than the hold time."""

    allowed = Allowed()
    hold = 1.0

    def inject(self, world: World) -> None:
        self.pid = world.exabgp()
        os.kill(self.pid, signal.SIGSTOP)

    def heal(self, world: World) -> None:
        os.kill(self.pid, signal.SIGCONT)


class RelayKilled(BgpFault):
    """The relay between the daemon and ExaBGP is killed: ExaBGP starts another, no route is lost."""

    allowed = Allowed(sessions=1)  # the sixth within 64 s by the wall clock ends ExaBGP

    def inject(self, world: World) -> None:
        os.kill(world.exabgps_relay(), signal.SIGKILL)

    def heal(self, world: World) -> None:
        pass  # that is ExaBGP's


class RelayFrozen(BgpFault):
    """The relay stands still for a moment."""

    allowed = Allowed()
    hold = 1.0

    def inject(self, world: World) -> None:
        self.pid = world.exabgps_relay()
        os.kill(self.pid, signal.SIGSTOP)

    def heal(self, world: World) -> None:
        os.kill(self.pid, signal.SIGCONT)


class RouterRestarted(BgpFault):
    """The router is stopped and started."""

    needs = frozenset()

    def inject(self, world: World) -> None:
        world.bird.stop()

    def heal(self, world: World) -> None:
        world.bird.start()


class RouterKilled(RouterRestarted):
    """The router crashes."""

    def inject(self, world: World) -> None:
        world.bird.kill()


class SessionDisabled(BgpFault):
    """The router's operator disables the session, and enables it again."""

    needs = frozenset()

    def inject(self, world: World) -> None:
        world.bird.disable()

    def heal(self, world: World) -> None:
        world.bird.enable()


class CablePulled(BgpFault):
    """The link goes down and comes back."""

    needs = frozenset()
    hold = 1.0

    def inject(self, world: World) -> None:
        world.link.down()

    def heal(self, world: World) -> None:
        world.link.up()


class PathSilent(BgpFault):
    """Packets are lost, both ways, for longer than the hold time: both ends give the session up."""

    needs = frozenset()
    hold = HOLD_TIME + 2.0

    def inject(self, world: World) -> None:
        world.tor.run("nft", "add", "table", "inet", "silent")
        for hook in ("input", "output"):
            chain = f"{{ type filter hook {hook} priority 0; policy drop; }}"
            world.tor.run("nft", "add", "chain", "inet", "silent", hook, chain)

    def heal(self, world: World) -> None:
        world.tor.run("nft", "delete", "table", "inet", "silent")
