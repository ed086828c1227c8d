"""What happens to the daemon itself."""

from __future__ import annotations

import signal
import time

from integration.chaos.account import Allowed
from integration.chaos.fault import DAEMON, Fault
from integration.chaos.world import LEASE, World

_START = 25.0  # seconds in which a daemon that is started again has to have everything right


class DaemonFault(Fault):
    """The daemon is gone, or does not act, for a while."""

    touches = DAEMON
    back = _START


class DaemonKilled(DaemonFault):
    """SIGKILL, and started again: the routes go with the session, what is on the host stays and is adopted."""

    allowed = Allowed(sessions=1)
    ends_daemon = True

    def inject(self, world: World) -> None:
        world.daemon.kill9()

    def heal(self, world: World) -> None:
        world.daemon.start()


class DaemonStopped(DaemonFault):
    """SIGTERM, and started again: everything is withdrawn in order."""

    allowed = Allowed(sessions=1, withdrawals=1)
    ends_daemon = True

    def inject(self, world: World) -> None:
        assert world.daemon.stop() == 0

    def heal(self, world: World) -> None:
        world.daemon.start()


class DaemonFrozen(DaemonFault):
    """SIGSTOP for less than the lease."""

    hold = 1.0

    def inject(self, world: World) -> None:
        world.daemon.process.pause()

    def heal(self, world: World) -> None:
        world.daemon.process.resume()


class DaemonHung(DaemonFrozen):
    """SIGSTOP for longer than the lease: the routes go with the session, and come back."""

    allowed = Allowed(sessions=1)
    hold = LEASE + 1.5


class DaemonReloaded(DaemonFault):
    """SIGHUP, with nothing changed in the file."""

    def inject(self, world: World) -> None:
        world.daemon.process.signal(signal.SIGHUP)

    def heal(self, world: World) -> None:
        pass


class DaemonBusy(DaemonFault):
    """The daemon gets a tenth of the time only."""

    hold = 0.0

    def inject(self, world: World) -> None:
        for _ in range(15):
            world.daemon.process.pause()
            time.sleep(0.09)
            world.daemon.process.resume()
            time.sleep(0.01)

    def heal(self, world: World) -> None:
        pass
