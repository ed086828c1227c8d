"""Rise and fall: how many looks in a row it takes to change a monitor's health. Pure."""

from __future__ import annotations

from msgspec import Struct

from consulcast.model import Health
from consulcast.values import replace


class Counter(Struct, frozen=True):
    """A monitor's health, and how many looks in a row have spoken against it."""

    health: Health = Health.UNKNOWN
    against: int = 0

    def take(self, passed: bool, rise: int, fall: int) -> Counter:
        """Count one look. The first one decides alone: there is no health yet that it could spoil."""
        says = Health.PASSING if passed else Health.FAILING
        if says is self.health:
            return replace(self, against=0)
        needed = 1 if self.health is Health.UNKNOWN else rise if passed else fall
        if self.against + 1 >= needed:
            return Counter(says)
        return replace(self, against=self.against + 1)
