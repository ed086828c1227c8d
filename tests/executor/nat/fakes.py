"""A back end played by a set."""

from __future__ import annotations

from collections.abc import Callable

from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat.backend import Made, NatError
from consulcast.model import Translation


class FakeBackend:
    """The kernel's table is ``there``; every call is written down in ``did``."""

    def __init__(self, name: str = "nft") -> None:
        self.name = name
        self.there: frozenset[Translation] | None = frozenset()
        self.did: list[str] = []
        self.lacks = ""
        self.error = ""
        self.refuse_version = 0
        self.on_change: Callable[[bool], None] = lambda lost: None

    def missing(self) -> str:
        return self.lacks

    def leftover(self) -> bool:
        return self.there != frozenset()

    def read(self) -> frozenset[Translation] | None:
        self._do("read")
        return self.there

    def apply(self, wanted: frozenset[Translation]) -> Made:
        self._do("apply")
        refused = {item for item in wanted if item.vip.version == self.refuse_version}
        self.there = wanted - refused
        return Made(self.there, dict.fromkeys(refused, "not this family"), "not this family" if refused else "")

    def remove(self) -> None:
        self._do("remove")
        self.there = frozenset()

    def start(self, on_change: Callable[[bool], None], spawn: Spawn) -> None:
        self.on_change = on_change

    def stop(self) -> None:
        pass

    def _do(self, what: str) -> None:
        if self.error:
            raise NatError(self.error)
        self.did.append(what)
