"""One thing that goes wrong: how, what it may cause, and when all has to be right again."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import ClassVar

from integration.chaos.account import Allowed
from integration.chaos.world import World

CONSUL, HOST, BGP, DAEMON, SERVICES = "consul", "host", "bgp", "daemon", "services"


class Fault(ABC):
    """Made anew for each time. Between ``inject`` and ``heal`` nothing of its kind happens; both return at once."""

    allowed: ClassVar[Allowed] = Allowed()  # beside what the change of the truth asks for
    touches: ClassVar[str]  # what is not itself meanwhile
    needs: ClassVar[frozenset[str]] = frozenset()  # what must work so that it can be done
    hold: ClassVar[float] = 0.5  # seconds that it lasts
    back: ClassVar[float] = 6.0  # seconds after which all is right again, generously
    bound: ClassVar[float | None] = None  # seconds after which a VIP that it fails is gone; None: it fails none
    clusters: ClassVar[bool] = False  # only where there are several servers
    ends_daemon: ClassVar[bool] = False
    alone: ClassVar[bool] = False  # nothing else may go wrong at the same time

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def possible(self, world: World) -> bool:
        """Whether it can be done now."""
        return True

    @abstractmethod
    def inject(self, world: World) -> None:
        """Do it."""

    @abstractmethod
    def heal(self, world: World) -> None:
        """Undo it."""

    def beside(self, other: Fault) -> bool:
        """Whether the two may overlap: neither is in the other's way."""
        if self.alone or other.alone or self.touches in other.needs or other.touches in self.needs:
            return False
        return self.touches != other.touches or self.touches == SERVICES

    @property
    def what(self) -> str:
        """What exactly it was, for the log; known after ``inject``."""
        return ""

    def __str__(self) -> str:
        return type(self).__name__ + (f"({self.what})" if self.what else "")
