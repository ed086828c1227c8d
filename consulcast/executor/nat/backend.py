"""The seam between the NAT table and the two ways of making it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct, field

from consulcast.executor.bgp.child import Spawn
from consulcast.model import Translation


class NatError(Exception):
    """The table could not be read or made; the message says why, in the tool's or the kernel's words."""


class Made(Struct, frozen=True):
    """What came of a desired table: what stands now, what could not be made, and why it is not as desired."""

    standing: frozenset[Translation]
    failures: Mapping[Translation, str] = field(default_factory=dict)
    trouble: str = ""


class Backend(Protocol):
    """One way of making the table. Calls block the calling greenlet while a child runs."""

    @property
    def name(self) -> str:
        """As in ``nat.backend``."""

    def missing(self) -> str:
        """Tell what this host lacks for it; empty: nothing that can be seen without trying."""

    def leftover(self) -> bool:
        """Whether something of ours is in the kernel. Costs next to nothing where nobody has such tables."""

    def read(self) -> frozenset[Translation] | None:
        """Read what stands of ours; ``None``: something does, but not as we make it. Raises ``NatError``."""

    def apply(self, wanted: frozenset[Translation]) -> Made:
        """Make the table this, whatever it was; what cannot be made holds up nothing else.

        Raises ``NatError`` when nothing at all could be done: then all is as it was.
        """

    def remove(self) -> None:
        """Leave nothing of ours in the kernel. Raises ``NatError``."""

    def start(self, on_change: Callable[[bool], None], spawn: Spawn) -> None:
        """Call ``on_change`` when the kernel tells that our rules were changed, if it does.

        With ``True``: events were lost, and among them may have been such.
        """

    def stop(self) -> None:
        """Listen no more. The rules stay."""
