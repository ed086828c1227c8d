"""One answer of Consul's as it is believed: entries by id, some of them held against what the answer says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping
from typing import Generic, TypeVar

from consulcast.difference import differing

T = TypeVar("T")

FIRST_LOOK = 5.0  # seconds between second looks that did not agree, doubling
LAST_LOOK = 60.0
FIRST_WORSE = 1.0  # the same for what is worse
SETTLING = "right after trouble, what is missing or worse in Consul's answers is held until it has settled"
_NEVER = float("inf")


class Belief(Generic[T]):
    """The entries that are believed.

    An entry that is new or not worse is believed as it is. A worse one (``worse(before, now)``; ``before`` is ``None``
    for a new entry) is held back until its time, and then until a look confirms it; a missing one until it is dropped.
    """

    def __init__(self, noun: str, *, patience: float = 0.0) -> None:
        self._noun, self._patience = noun, patience
        self.entries: Mapping[str, T] = {}  # the same object while nothing has changed, as ``seen`` is
        self.seen: Mapping[str, T] | None = None  # the last good answer
        self.proven = False  # a good answer was there once
        self.trouble = ""  # why there is no good answer now; "" while there is
        self._since: dict[str, float] = {}  # doubtful entries: since when, without the times of trouble
        self._against: dict[str, str] = {}  # of these: why they are held, once that is known
        self._unproven = ""  # why an empty first answer is not believed
        self._look_at, self._look_after = 0.0, FIRST_LOOK
        self._lost_at = 0.0
        self._gone: set[str] = set()  # doubtful because missing
        self._confirmed: set[str] = set()  # doubtful because worse, and a look has shown that they are
        self._worse_at, self._worse_after = 0.0, FIRST_WORSE
        self.excused: Container[str] = ()  # missing entries that need no look: they follow what they belong to

    @property
    def missing(self) -> list[str]:
        """Entries that are believed and not in the last good answer."""
        if self.trouble or self.seen is None or self.entries is self.seen or self.entries.keys() <= self.seen.keys():
            return []
        return [name for name in self.entries if name not in self.seen]

    @property
    def empty_at_first(self) -> bool:
        """Whether all there has been are empty answers: of a new node, or of a token that may see nothing."""
        return not self.trouble and not self.proven and self.seen is not None

    def lost(self, reason: str, now: float) -> None:
        """No good answer: what stands stands."""
        if not self.trouble:
            self._lost_at = now
        self.trouble = reason
        self._against.clear()
        self._confirmed.clear()

    def answered(self, seen: Mapping[str, T], now: float) -> None:
        """A good answer."""
        if self.trouble:
            # Time without contact proves nothing and does not count; time with it adds up over any number of losses,
            # or a connection that breaks again and again would keep what is gone for ever.
            out = now - self._lost_at
            self._since = {name: since + out for name, since in self._since.items()}
        self.trouble = ""
        if seen != self.seen:
            self.seen = seen
        if seen:
            self.proven, self._unproven = True, ""

    def take(
        self, now: float, settled_at: float, grace: float, worse: Callable[[T | None, T], bool] | None = None
    ) -> None:
        """Bring the entries up to the last good answer, as far as it is believed ``now``."""
        if self.trouble or self.seen is None:
            return
        if not self._since and self.entries == self.seen:
            self.seen = self.entries
            return
        doubtful: dict[str, float] = {}
        entries = dict(self.seen)
        former = self.entries
        lesser = (
            ()
            if worse is None
            else [
                (name, before)
                for name in differing(former, self.seen)
                if name in self.seen and worse(before := former.get(name), self.seen[name])
            ]
        )
        for name, before in lesser:
            held = name in self._since and name not in self._gone  # gone was another doubt than worse
            since = self._since[name] if held else now
            settling = now < min(settled_at, since + grace)
            if settling or (held and name not in self._confirmed):
                doubtful[name] = since
                if settling or name not in self._against:
                    self._against[name] = SETTLING
                if before is not None:
                    entries[name] = before
                else:
                    del entries[name]
        gone = self.missing
        for name in gone:
            if name not in self._since:
                self._look_at = now + self._patience  # something new to look for: look soon, whatever the last result
            doubtful[name] = since = self._since.get(name, now)
            entries[name] = self.entries[name]
            if now < min(settled_at, since + grace):
                self._against[name] = SETTLING
        self.entries, self._since, self._gone = entries if doubtful else self.seen, doubtful, set(gone)
        self._confirmed &= doubtful.keys()
        self._against = {name: why for name, why in self._against.items() if name in doubtful}
        if not doubtful:
            self._look_after, self._worse_at, self._worse_after = FIRST_LOOK, 0.0, FIRST_WORSE

    def due(self, now: float, settled_at: float, grace: float) -> list[str]:
        """The missing entries that a second look is due for."""
        return [] if now < self._look_at else self.judgeable(now, settled_at, grace)

    def worse_due(self, now: float, settled_at: float, grace: float) -> list[str]:
        """The entries that were held back, have had their time, and are to be looked at once more."""
        if self.trouble or now < self._worse_at:
            return []
        return [
            name
            for name, since in self._since.items()
            if name not in self._gone and now >= min(settled_at, since + grace)
        ]

    def judged_worse(self, against: Mapping[str, str], now: float) -> None:
        """Take a look's result: per entry that was held back why it is not believed worse, "" if it is."""
        still = self._since.keys() - self._gone
        if self.trouble or not still:
            return
        self._confirmed |= {name for name, why in against.items() if not why and name in still}
        self._against.update({name: why for name, why in against.items() if why and name in still})
        self._worse_at = now + self._worse_after
        self._worse_after = min(self._worse_after * 2, LAST_LOOK)

    def empty_due(self, now: float) -> bool:
        """Whether a second look at an empty first answer is due."""
        return self.empty_at_first and now >= self._look_at

    def judged(
        self,
        against: Mapping[str, str],
        against_empty: str,
        now: float,
        settled_at: float,
        grace: float,
        until: Mapping[str, float] | None = None,
    ) -> None:
        """Take a second look's result: per missing entry why it is not believed gone, "" if it is.

        ``until``: entries that every witness says are gone and that wait all the same, and the time of the next look.
        """
        doubted, gone = False, []
        until = until or {}
        still = set(self.judgeable(now, settled_at, grace))
        for name, why in against.items():
            if name not in still:
                continue  # it came back meanwhile, or the contact broke
            if why:
                self._against[name] = why
                doubted = doubted or name not in until
            else:
                gone.append(name)
        self.drop(gone)
        if self.empty_at_first:
            self._unproven, self.proven = against_empty, not against_empty
            doubted = doubted or bool(against_empty)
        if still - against.keys():
            return  # these left during the look, and are looked for at once
        if doubted:
            self._look_at = now + self._look_after
            self._look_after = min(self._look_after * 2, LAST_LOOK)
        if until:
            self._look_at = min([*until.values(), *([self._look_at] if doubted else [])])

    def judgeable(self, now: float, settled_at: float, grace: float) -> list[str]:
        """The missing entries that a look may judge: Consul has settled since."""
        return [
            name
            for name in self.missing
            if name not in self.excused and now >= min(settled_at, self._since.get(name, now) + grace)
        ]

    def drop(self, gone: Collection[str]) -> None:
        """Believe that these entries are gone."""
        if gone:
            leaving = frozenset(gone)
            self.entries = {name: entry for name, entry in self.entries.items() if name not in leaving}
        for name in gone:
            self._since.pop(name, None)
            self._against.pop(name, None)

    def next_time(self, settled_at: float, grace: float) -> float:
        """When ``take`` or ``due`` may give something else with no new answer; infinity: never."""
        if self.trouble:
            return _NEVER
        missing = set(self.missing)
        times = [
            max(min(settled_at, since + grace), self._look_at if name in missing else self._worse_at)
            for name, since in self._since.items()
            if name not in missing or name not in self.excused
        ]
        return min(times + ([self._look_at] if self.empty_at_first else []), default=_NEVER)

    @property
    def doubtful(self) -> Collection[str]:
        """Entries that are held against the last good answer, or held back, the reason known or not."""
        return self._since.keys()

    @property
    def held(self) -> Mapping[str, str]:
        """Entries that are held against the last good answer, with the reason, once that is known."""
        return self._against

    def reasons(self) -> list[str]:
        """Why what is believed differs from a good answer, a sentence each."""
        if self.trouble:
            return [self.trouble]
        groups: dict[str, list[str]] = {}
        for name, why in self._against.items():
            groups.setdefault(why, []).append(name)
        sentences = [
            why if why == SETTLING else f"{self._noun} {_names(names)} held: {why}" for why, names in groups.items()
        ]
        return [*sentences, f"no {self._noun} is shown: {self._unproven}"] if self._unproven else sentences


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{min(names)!r}{more}"
