"""Which routes the speaker is given: of the VIPs of one prefix that of the lowest which works."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from consulcast.executor.protocols import Speaker
from consulcast.latency import Latency
from consulcast.model import Intent, Interface, Prefix, Route, Vip
from consulcast.wanted import Wanted


class Handover:
    """Keeps books on what the speaker was given. ``stands``: whether a VIP works, so that it may be announced."""

    def __init__(self, speaker: Speaker, latency: Latency, wanted: Wanted, stands: Callable[[Intent], bool]) -> None:
        self._speaker, self._latency, self._wanted, self._stands = speaker, latency, wanted, stands
        self._handed: dict[Prefix, Intent] = {}
        self._routes: Mapping[Prefix, Route] = {}  # the same, as it was given
        self._led: dict[Interface, set[Prefix]] = {}

    def __bool__(self) -> bool:
        return bool(self._handed)

    def __contains__(self, prefix: Prefix) -> bool:
        return prefix in self._handed

    def led(self, address: Interface) -> Collection[Prefix]:
        """Every prefix that this run announced for an address."""
        return self._led.get(address, ())

    def removed(self, address: Interface) -> None:
        """An address is not on the host any more."""
        self._led.pop(address, None)

    def may_begin(self, intent: Intent) -> bool:
        """Whether a VIP is to be announced. A drain announces nothing that was not announced before it."""
        return intent.announce and (intent.drain is None or intent.vip.prefix in self._handed)

    def early(self, vips: Iterable[Vip]) -> list[Prefix]:
        """Withdraw what is not to be announced any more; what is announced stays, while its address is looked after.

        Returns the prefixes whose route is another now, or gone. The same goes for ``late``.
        """
        return self._hand_over(vips, self._announced_or_standing)

    def late(self, vips: Iterable[Vip]) -> list[Prefix]:
        """Announce what works, and withdraw what does not."""
        return self._hand_over(vips, self._standing)

    def _announced_or_standing(self, prefix: Prefix) -> Intent | None:
        users, handed = self._users(prefix), self._handed.get(prefix)
        if handed is None:
            return next(filter(self._stands, users), None)
        stays = (user for user in users if user.vip == handed.vip or self._stands(user))
        return next(stays, users[0] if users else None)

    def _standing(self, prefix: Prefix) -> Intent | None:
        return next(filter(self._stands, self._users(prefix)), None)

    def _users(self, prefix: Prefix) -> list[Intent]:
        users = (self._wanted.intents[vip] for vip in self._wanted.within(prefix))
        return [user for user in users if self.may_begin(user)]

    def _hand_over(self, vips: Iterable[Vip], choose: Callable[[Prefix], Intent | None]) -> list[Prefix]:
        chosen = {vip.prefix: choose(vip.prefix) for vip in vips}
        changed = {prefix: now for prefix, now in chosen.items() if now is not self._handed.get(prefix)}
        if not changed:
            return []
        routes = dict(self._routes)
        moved: list[Prefix] = []
        for prefix, now in changed.items():
            former, route = routes.get(prefix), None
            if now is None:
                del self._handed[prefix]
            else:
                route = now.route
                self._handed[prefix] = now
                self._led.setdefault(now.vip.local, set()).add(prefix)
            if route == former:
                continue
            moved.append(prefix)
            self._latency.handed(prefix, former, route)
            if route is None:
                del routes[prefix]
            else:
                routes[prefix] = route
        if moved:
            self._routes = routes
            self._speaker.set(routes)
        return moved
