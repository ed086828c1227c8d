"""Most apps gone at once: held for a while though every witness agrees, because often they are back by then. Pure."""

from __future__ import annotations

from collections.abc import Collection

AT_ONCE = 1.0  # seconds; an agent tells the servers of one lost service after another


class HoldDown:
    """Which apps wait for a third look before they are believed gone, and until when.

    ``share``: more than this part of all apps, of two at least, is a mass removal (``mass_removal``; 1: none is).
    ``hold``: seconds that it waits (``removal_hold``; 0: not at all). Time without contact does not count.
    """

    def __init__(self, share: float = 0.5, hold: float = 10.0) -> None:
        self._share, self._hold = share, hold
        self._held: dict[str, tuple[float, str]] = {}  # since when, and why
        self._left: dict[str, float] = {}  # apps that went without a hold-down, and when
        self._lost_at: float | None = None

    def inherit(self, former: HoldDown) -> None:
        """Go on with what another one holds, each from when it was held first; the limits stay our own."""
        self._held, self._left, self._lost_at = dict(former._held), dict(former._left), former._lost_at

    def begin(self, gone: Collection[str], leaving: Collection[str], apps: Collection[str], now: float) -> None:
        """Hold those of ``gone`` that are new, if they belong to a mass removal.

        ``leaving``: apps that are about to go as well; ``apps``: all that are believed, those that are gone included.
        """
        fresh = [name for name in gone if name not in self._held]
        if not self._hold or not any(name in apps for name in fresh):
            return
        self._left = {name: at for name, at in self._left.items() if now < at + AT_ONCE}
        lately = self._left.keys() - set(apps)
        going = {*gone, *leaving, *self._held} & set(apps) | lately
        of = len(apps) + len(lately)
        if of >= 2 and len(going) > self._share * of:
            why = f"{len(going)} of {of} apps would go at once: believed if it is still so in {self._hold:g} s"
            self._held.update((name, (now, why)) for name in fresh)

    def __contains__(self, name: object) -> bool:
        """Whether this one is held."""
        return name in self._held

    def until(self, name: str) -> float:
        """When this one may go; minus infinity if it is not held."""
        return self._held[name][0] + self._hold if name in self._held else float("-inf")

    def why(self, name: str) -> str:
        """Why this one is held."""
        return self._held[name][1]

    def went(self, name: str, now: float) -> None:
        """One is believed gone."""
        if self._held.pop(name, None) is None:
            self._left[name] = now

    def release(self, names: Collection[str]) -> None:
        """What speaks for these being there was found: the next doubt is a new one."""
        for name in names:
            self._held.pop(name, None)

    def keep(self, missing: Collection[str]) -> None:
        """Release all but these: they came back."""
        self.release(self._held.keys() - set(missing))

    def lost(self, now: float) -> None:
        """Contact was lost."""
        self._lost_at = now if self._lost_at is None else self._lost_at

    def found(self, now: float) -> None:
        """Contact is there."""
        if self._lost_at is not None:
            out, self._lost_at = now - self._lost_at, None
            self._held = {name: (since + out, why) for name, (since, why) in self._held.items()}
