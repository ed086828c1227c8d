"""What is believed of the node: its services and its checks. Pure: no I/O, and time is passed in.

Growth is believed at once, and so is any change of a service that is still there. What is smaller or worse is not, as
long as it may be a lie. Five ordinary events make Consul say "nothing there" or "critical" with a good status while
all services are well: agent restart, server restart (which may reap the node), a token or policy changed, a snapshot
restored, an entry deleted behind the agent's back. So:

- no answer, a denial, no leader, an unknown node: the last view stands, for as long as that lasts;
- what left an answer stays until a second look (``evidence.py``) agrees that it is gone;
- most apps gone at once stay for a hold-down more and a third look (``hold_down.py``), untagged ones as well;
- after such trouble Consul needs some time to be right again: within the grace nothing gets worse, except that
  maintenance mode, which an operator asked for, is believed at once.

What we have written to Consul ourselves (``publisher.py``) is not looked at: it would be our own verdict come back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from itertools import compress
from operator import is_not, methodcaller

from consulcast.consul.belief import Belief
from consulcast.consul.bodies import OURS, CatalogNode, Check, Service
from consulcast.consul.client import Answer
from consulcast.consul.errors import ConsulError
from consulcast.consul.evidence import Doubts, Evidence
from consulcast.consul.hold_down import HoldDown
from consulcast.consul.marks import Marks
from consulcast.difference import differing
from consulcast.model import Stale
from consulcast.monitors.consul import rank

# A deregistered service leaves both answers within a millisecond; its checks are looked for only if it did not.
_CHECK_PATIENCE = 0.05


class View:
    """The belief, and what is open about it.

    ``grace``: seconds of trouble's after-effects (``restart_grace``). ``is_app`` tells by its tags which service is an
    app: one that is not is no matter to the hold-down.
    """

    def __init__(
        self,
        node: str,
        grace: float = 15.0,
        hold_down: HoldDown | None = None,
        is_app: Callable[[Service], bool] = lambda _: True,
    ) -> None:
        self._node, self._grace, self._is_app = node, grace, is_app
        self._hold_down = hold_down or HoldDown()
        self._shown: Mapping[str, Service] = {}  # the last good catalog answer, as it came
        self._catalog: Belief[Service] = Belief("service")
        self._health: Belief[Check] = Belief("check", patience=_CHECK_PATIENCE)
        self._listed: tuple[tuple[Check, ...], Mapping[str, Check]] = ((), {})  # see _by_id
        self._known_apps: tuple[Mapping[str, Service], frozenset[str]] = ({}, frozenset())  # see _apps
        self._watched: tuple[Mapping[str, Check], frozenset[str]] = ({}, frozenset())  # see _is_watched
        self._settled_at = float("-inf")  # when the after-effects of the latest trouble end
        self._marks = Marks()
        self.stale_since: float | None = None
        self.stale_reason = ""
        self.catalog_good_at: float | None = None  # when there was a good answer last
        self.health_good_at: float | None = None

    def inherit(self, former: View) -> None:
        """Go on from what another view of this node, used no more, believes.

        What other settings do not show, such as a token that may see less, would be gone at once otherwise.
        """
        self._shown, self._catalog, self._health = former._shown, former._catalog, former._health
        self._settled_at, self._marks = former._settled_at, former._marks
        self._hold_down.inherit(former._hold_down)
        self.stale_since, self.stale_reason = former.stale_since, former.stale_reason
        self.catalog_good_at, self.health_good_at = former.catalog_good_at, former.health_good_at

    @property
    def services(self) -> Mapping[str, Service]:
        """The believed services by ServiceID."""
        return self._catalog.entries

    @property
    def shown(self) -> Mapping[str, Service]:
        """The services of the last good catalog answer by ServiceID, whether it is believed or not."""
        return self._shown

    @property
    def checks(self) -> Mapping[str, Check]:
        """The believed checks by CheckID."""
        return self._health.entries

    @property
    def held(self) -> Mapping[str, str]:
        """Services that stand, or whose checks stand, against what Consul said last, by ServiceID, with the reason."""
        held = {check.service_id: why for name, why in self._health.held.items() if (check := self.checks.get(name))}
        return {**held, **self._catalog.held}

    @property
    def unknown(self) -> Mapping[str, Stale]:
        """Services of which it is not known how they are now, by ServiceID: all without contact, else those held."""
        return self._marks.stale

    @property
    def synced(self) -> bool:
        """Whether both answers were good once. Before that there is nothing to hold on to, and nothing to announce."""
        return self._catalog.proven and self._health.proven

    def catalog_answered(self, answer: Answer[CatalogNode | None], now: float) -> None:
        """Take a catalog answer."""
        against = wrong_node(answer.data, self._node)
        if against or answer.data is None:
            self._lost(self._catalog, against, now)
        else:
            self.catalog_good_at = now
            self._shown = _not_ours(answer.data.services or {})
            self._hold_down.found(now)
            self._answered(self._catalog, self._without_held_apps(now), now)
        self.settle(now)

    def health_answered(self, answer: Answer[tuple[Check, ...] | None], now: float) -> None:
        """Take a health answer."""
        self.health_good_at = now
        checks = self._by_id(answer.data or ())
        if not checks and self._health.seen:
            self._settled_at = now + self._grace  # the sign of an agent that is leaving or has just come
        self._answered(self._health, checks, now)
        self.settle(now)

    def catalog_lost(self, error: ConsulError, now: float) -> None:
        """No catalog answer."""
        self._lost(self._catalog, str(error), now)
        self.settle(now)

    def health_lost(self, error: ConsulError, now: float) -> None:
        """No health answer."""
        self._lost(self._health, str(error), now)
        self.settle(now)

    def doubts(self, now: float) -> Doubts:
        """What a second look is due for: nothing while there is no contact or Consul has not settled."""
        services = self._catalog.due(now, self._settled_at, self._grace)
        checks = self._health.due(now, self._settled_at, self._grace)
        worse = self._health.worse_due(now, self._settled_at, self._grace)
        seen = self._health.seen or {}
        return Doubts(
            services=tuple(self.services[name] for name in services),
            checks=tuple(self.checks[name] for name in checks),
            worse=tuple(seen[name] for name in worse),
            catalog=bool(services) or self._catalog.empty_due(now),
            health=bool(checks or worse) or self._health.empty_due(now),
        )

    def confirmed(self, doubts: Doubts, evidence: Evidence, now: float) -> None:
        """Take what the second look found."""
        if doubts.catalog:
            self._judged_services(doubts, evidence, now)
        if doubts.health:
            against = {check.id: evidence.against_check(check.id) for check in doubts.checks}
            self._health.judged(against, evidence.against_no_checks(), now, self._settled_at, self._grace)
        if doubts.worse:
            ids = (check.id for check in doubts.worse)
            believed = {name: rank(self.checks[name]) if name in self.checks else 0 for name in ids}
            self._health.judged_worse({name: evidence.against_worse(name, believed[name]) for name in believed}, now)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Take that time has passed."""
        self._catalog.take(now, self._settled_at, self._grace)
        if not self._catalog.trouble:
            self._hold_down.keep(self._catalog.missing)
        self._health.excused = self._checks_of_missing()
        self._health.take(now, self._settled_at, self._grace, self._worse)
        if self._catalog.proven:
            owners = {name: self.checks[name].service_id for name in self._health.missing}
            # a service that is gone takes its checks along
            self._health.drop([name for name, owner in owners.items() if owner and owner not in self.services])
        reasons = self._catalog.reasons() + self._health.reasons()
        self.stale_reason = "; ".join(dict.fromkeys(reasons))
        if not reasons:
            self.stale_since = None
        elif self.stale_since is None:
            self.stale_since = now
        self._mark(now)

    def next_time(self) -> float:
        """When to call ``settle`` and ``doubts`` again though nothing new was heard; infinity: not at all."""
        return min(belief.next_time(self._settled_at, self._grace) for belief in (self._catalog, self._health))

    def _without_held_apps(self, now: float) -> Mapping[str, Service]:
        """The last catalog answer without the services that are apps no more, as long as this is not believed."""
        shown = self._shown
        changed = (name for name in differing(self.services, shown) if name in self.services and name in shown)
        untagged = {name for name in changed if not self._is_app(shown[name]) and self._is_app(self.services[name])}
        if not untagged:
            return self._shown
        apps = self._apps()
        new = {name for name in self._shown.keys() - apps if self._is_app(self._shown[name])}
        self._hold_down.begin(untagged, apps - self._shown.keys(), apps | new, now)
        for name in untagged:
            if name not in self._hold_down:
                self._hold_down.went(name, now)
        return {
            name: service
            for name, service in self._shown.items()
            if name not in untagged or name not in self._hold_down
        }

    def _by_id(self, answer: tuple[Check, ...]) -> Mapping[str, Check]:
        """The checks of an answer by CheckID, but for our own; those that are as before are not looked at."""
        former, known = self._listed
        others = list(compress(zip(former, answer, strict=False), map(is_not, former, answer)))
        alike = all(old.id == new.id and not _is_ours(new.service_id) for old, new in others)
        if alike and len(former) == len(answer) == len(known):  # each has an id of its own, and none is ours
            checks = {**known, **{new.id: new for _, new in others}}
        else:
            checks = {check.id: check for check in answer if not _is_ours(check.service_id)}
        self._listed = answer, checks
        return checks

    def _apps(self) -> Set[str]:
        """The believed services that are apps."""
        former, apps = self._known_apps
        if former is not self.services:
            changed = differing(former, self.services)
            now = {name for name in changed if name in self.services and self._is_app(self.services[name])}
            apps = apps.difference(changed) | now
            self._known_apps = self.services, apps
        return apps

    def _judged_services(self, doubts: Doubts, evidence: Evidence, now: float) -> None:
        """Drop what every witness says is gone, unless it waits for a third look."""
        hold_down, belief = self._hold_down, self._catalog
        judgeable = set(belief.judgeable(now, self._settled_at, self._grace))
        names = [service.id for service in doubts.services if service.id in judgeable]
        against = {
            name: evidence.against_untagged(name) if name in self._shown else evidence.against_service(name)
            for name in names
        }
        gone = [name for name, why in against.items() if not why]
        hold_down.release(set(names) - set(gone))
        apps = self._apps()
        hold_down.begin(gone, evidence.unlisted(apps), apps, now)
        until = {name: hold_down.until(name) for name in gone if now < hold_down.until(name)}
        for name in gone:
            if name in until:
                against[name] = hold_down.why(name)
            else:
                hold_down.went(name, now)
        belief.judged(against, evidence.against_no_services(), now, self._settled_at, self._grace, until)
        if not belief.trouble:
            belief.answered(self._without_held_apps(now), now)  # an untagged one goes as an app and stays a service

    def _checks_of_missing(self) -> frozenset[str]:
        """Checks that are not looked for: they stay with a service that is looked for itself, or go with it."""
        if self._catalog.seen is None or self._catalog.seen is self.services:
            return frozenset()
        missing = self.services.keys() - self._catalog.seen.keys()
        return (
            frozenset(name for name, check in self.checks.items() if check.service_id in missing)
            if missing
            else frozenset()
        )

    def _mark(self, now: float) -> None:
        """Say of which services it is not known how they are."""
        lost = "; ".join(dict.fromkeys(filter(None, (self._catalog.trouble, self._health.trouble))))
        held, doubtful = dict(self.held), {*self._catalog.doubtful}
        doubtful |= {check.service_id for name in self._health.doubtful if (check := self.checks.get(name))}
        for_all = lost or held.pop("", "")  # a check of the node is every service's
        unknown = {**dict.fromkeys(self.services, for_all), **held} if for_all else held
        self._marks.update(unknown if self.synced else {}, doubtful, now)

    def _answered(self, belief: Belief[Service] | Belief[Check], seen: Mapping[str, object], now: float) -> None:
        if belief.trouble and self.synced:
            self._settled_at = now + self._grace
        belief.answered(seen, now)  # type: ignore[arg-type]  # each caller gives its own kind

    def _lost(self, belief: Belief[Service] | Belief[Check], reason: str, now: float) -> None:
        if not belief.trouble and self.synced:
            self._settled_at = now + self._grace
        belief.lost(reason, now)
        if belief is self._catalog:
            self._hold_down.lost(now)

    def _worse(self, before: Check | None, check: Check) -> bool:
        if check.maintenance or rank(check) == 0:
            return False
        if before is not None:
            return rank(check) > rank(before)
        # A new check that fails: of a new service it is simply the first thing known. Of one that is believed to be
        # well it may be an old one under a new id, registered again after a restart.
        return self._is_watched(check.service_id)

    def _is_watched(self, service_id: str) -> bool:
        """Whether a service, or with "" the node, has a check that is believed."""
        if self._watched[0] is not self.checks:
            self._watched = self.checks, frozenset(check.service_id for check in self.checks.values())
        return service_id in self._watched[1]


_is_ours = methodcaller("startswith", OURS)


def _not_ours(services: Mapping[str, Service]) -> Mapping[str, Service]:
    """The services of an answer, but for what we have published."""
    ours = frozenset(filter(_is_ours, services))
    return {name: service for name, service in services.items() if name not in ours} if ours else services


def wrong_node(answer: CatalogNode | None, node: str) -> str:
    """Why a catalog answer is not about the node; "" if it is."""
    if answer is None or answer.node is None:
        right = f'node "{node}" {{ policy = "read" }}'
        return f"Consul does not know node {node!r}: is CONSUL_NODE its name, and has the token's policy {right}?"
    if answer.node.name.casefold() != node.casefold():  # Consul finds a node by the start of its ID as well
        return f"Consul answers with node {answer.node.name!r} where {node!r} was asked for"
    return ""
