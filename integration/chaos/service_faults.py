"""What becomes of the services themselves: the only faults that have to withdraw something, in bounded time."""

from __future__ import annotations

import time
from typing import ClassVar

from integration.chaos.fault import CONSUL, DAEMON, SERVICES, Fault
from integration.chaos.fleet import CONSUL as FROM_CONSUL
from integration.chaos.fleet import Service
from integration.chaos.world import GRACE, REMOVAL_HOLD, World

SOON = 3.0  # seconds, generously: it takes milliseconds, a second where Consul asks for it or many changes are read
# After Consul was in trouble, what gets worse is believed when the grace is over.
SETTLED = GRACE + 2 * SOON
SCRIPT = 8.0  # two looks that time out, a second each, half a second apart, while the machine is busy


class ServiceFault(Fault):
    """About one service, chosen among those that it can befall."""

    touches = SERVICES
    service: str = ""

    def fits(self, one: Service) -> bool:
        """Whether it can befall this service."""
        return one.registered and one.healthy

    def possible(self, world: World) -> bool:
        return any(map(self.fits, world.services.values()))

    def choose(self, world: World) -> str:
        """Choose one, unless it was given."""
        if not self.service:
            self.service = self.rng.choice([one.id for one in world.services.values() if self.fits(one)])
        return self.service

    @property
    def what(self) -> str:
        return self.service


class _ByConsul(ServiceFault):
    needs = frozenset({CONSUL})
    bound: ClassVar[float | None] = SETTLED
    back = SETTLED


class CheckCritical(_ByConsul):
    """A check fails, and passes again."""

    status = "critical"

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.ttl

    def inject(self, world: World) -> None:
        world.check(self.choose(world), self.status)

    def heal(self, world: World) -> None:
        world.check(self.service, "passing")


class CheckWarning(CheckCritical):
    """A check warns: as in GoCast that is a failure."""

    status = "warning"


class Maintenance(_ByConsul):
    """A service is put into maintenance mode: believed at once, always."""

    bound = SOON

    def fits(self, one: Service) -> bool:
        return super().fits(one) and (one.ttl or bool(one.probe))

    def inject(self, world: World) -> None:
        world.maintenance(self.choose(world), True)

    def heal(self, world: World) -> None:
        world.maintenance(self.service, False)


class Deregistered(_ByConsul):
    """A service is deregistered where it was registered, and registered again."""

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.source == FROM_CONSUL

    def inject(self, world: World) -> None:
        world.deregister(self.choose(world))

    def heal(self, world: World) -> None:
        world.register(self.service)


class Restarted(_ByConsul):
    """A service deregisters and registers again at once, as many do when they restart."""

    hold = 0.0
    bound = None

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.source == FROM_CONSUL

    def inject(self, world: World) -> None:
        world.deregister(self.choose(world))
        world.register(self.service)

    def heal(self, world: World) -> None:
        pass


class Flapping(_ByConsul):
    """A check goes up and down as fast as it can be set."""

    hold = 0.0
    bound = None

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.ttl

    def inject(self, world: World) -> None:
        self.choose(world)
        for _ in range(5):
            world.check(self.service, "critical")
            world.check(self.service, "passing")

    def heal(self, world: World) -> None:
        time.sleep(2.0)  # until the daemon has heard all of it: after five answers at once it takes one a second


class ListenerKilled(ServiceFault):
    """A service's program is killed, and started again. The kernel tells, Consul is not asked (but by `probed`)."""

    bound = SOON
    back = SETTLED

    def fits(self, one: Service) -> bool:
        return super().fits(one) and bool(one.port)

    def inject(self, world: World) -> None:
        world.close(self.choose(world))

    def heal(self, world: World) -> None:
        world.listen(self.service)


class ProbeFails(_ByConsul):
    """Consul's own check finds a program killed, within its second."""

    def fits(self, one: Service) -> bool:
        return super().fits(one) and bool(one.probe)

    def inject(self, world: World) -> None:
        world.close(self.choose(world))

    def heal(self, world: World) -> None:
        world.listen(self.service)


class ScriptFails(ServiceFault):
    """An `exec` monitor ends with another status than 0."""

    mode = "fail"
    bound = SCRIPT
    back = SCRIPT

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.script

    def inject(self, world: World) -> None:
        self.choose(world)
        world.script(self.mode)

    def heal(self, world: World) -> None:
        world.script("pass")


class ScriptHangs(ScriptFails):
    """An `exec` monitor does not end: it is killed, counts as failed, and holds up no other."""

    mode = "hang"


class HttpUnregistered(ServiceFault):
    """An app is unregistered over HTTP, and registered again."""

    needs = frozenset({DAEMON})
    bound = SOON

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.source == "http"

    def inject(self, world: World) -> None:
        world.deregister(self.choose(world))

    def heal(self, world: World) -> None:
        world.register(self.service)


class MassDeregistered(_ByConsul):
    """Most services go at once: believed after the hold-down only, and a third look."""

    hold = 0.0
    alone = True
    bound = SETTLED + REMOVAL_HOLD

    def fits(self, one: Service) -> bool:
        return super().fits(one) and one.source == FROM_CONSUL

    def inject(self, world: World) -> None:
        self.gone = [one.id for one in world.services.values() if self.fits(one)]
        for name in self.gone:
            world.deregister(name)

    def heal(self, world: World) -> None:
        for name in self.gone:
            world.register(name)
