"""What is believed of the node: its services and its checks. Pure: no I/O, and time is passed in.

Growth is believed at once, and so is any change of a service that is still there. What is smaller or worse is not, as
long as it may be a lie. Five ordinary events make Consul say "nothing there" or "critical" with a good status while
all services are well: agent restart, server restart (which may reap the node), a token or policy changed, a snapshot
restored, an entry deleted behind the agent's back. So:

- no answer, a denial, no leader, an unknown node: the last view stands, for as long as that lasts;
- what left an answer stays until a second look (``evidence.py``) agrees that it is gone;
- after such trouble Consul needs some time to be right again: within the grace nothing gets worse, except that
  maintenance mode, which an operator asked for, is obeyed at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from consulcast.consul.belief import Belief
from consulcast.consul.bodies import CatalogNode, Check, Service
from consulcast.consul.client import Answer
from consulcast.consul.errors import ConsulError
from consulcast.consul.evidence import Doubts, Evidence
from consulcast.monitors.consul import rank

# A deregistered service leaves both answers within a millisecond; its checks are looked for only if it did not.
_CHECK_PATIENCE = 0.05


class View:
    """The belief, and what is open about it. ``grace``: seconds of trouble's after-effects (``restart_grace``)."""

    def __init__(self, node: str, grace: float = 15.0) -> None:
        self._node, self._grace = node, grace
        self._catalog: Belief[Service] = Belief("service")
        self._health: Belief[Check] = Belief("check", patience=_CHECK_PATIENCE)
        self._watched: set[str] = set()  # ServiceIDs that have a believed check; "" for the node
        self._settled_at = float("-inf")  # when the after-effects of the latest trouble end
        self.stale_since: float | None = None
        self.stale_reason = ""

    @property
    def services(self) -> Mapping[str, Service]:
        """The believed services by ServiceID."""
        return self._catalog.entries

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
    def synced(self) -> bool:
        """Whether both answers were good once. Before that there is nothing to hold on to, and nothing to announce."""
        return self._catalog.proven and self._health.proven

    def catalog_answered(self, answer: Answer[CatalogNode | None], now: float) -> None:
        """Take a catalog answer."""
        against = wrong_node(answer.data, self._node)
        if against or answer.data is None:
            self._lost(self._catalog, against, now)
        else:
            self._answered(self._catalog, answer.data.services or {}, now)
        self.settle(now)

    def health_answered(self, answer: Answer[tuple[Check, ...] | None], now: float) -> None:
        """Take a health answer."""
        checks = {check.id: check for check in answer.data or ()}
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
        return Doubts(
            services=tuple(self.services[name] for name in services),
            checks=tuple(self.checks[name] for name in checks),
            catalog=bool(services) or self._catalog.empty_due(now),
            health=bool(checks) or self._health.empty_due(now),
        )

    def confirmed(self, doubts: Doubts, evidence: Evidence, now: float) -> None:
        """Take what the second look found."""
        if doubts.catalog:
            against = {service.id: evidence.against_service(service.id) for service in doubts.services}
            self._catalog.judged(against, evidence.against_no_services(), now, self._settled_at, self._grace)
        if doubts.health:
            against = {check.id: evidence.against_check(check.id) for check in doubts.checks}
            self._health.judged(against, evidence.against_no_checks(), now, self._settled_at, self._grace)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Take that time has passed."""
        self._catalog.take(now, self._settled_at, self._grace)
        self._watched = {check.service_id for check in self.checks.values()}
        self._health.take(now, self._settled_at, self._grace, self._worse)
        if self._catalog.proven:
            for name in self._health.missing:  # a service that is gone takes its checks along
                owner = self.checks[name].service_id
                if owner and owner not in self.services:
                    self._health.drop(name)
        reasons = self._catalog.reasons() + self._health.reasons()
        self.stale_reason = "; ".join(dict.fromkeys(reasons))
        if not reasons:
            self.stale_since = None
        elif self.stale_since is None:
            self.stale_since = now

    def next_time(self) -> float:
        """When to call ``settle`` and ``doubts`` again though nothing new was heard; infinity: not at all."""
        return min(belief.next_time(self._settled_at, self._grace) for belief in (self._catalog, self._health))

    def _answered(self, belief: Belief[Service] | Belief[Check], seen: Mapping[str, object], now: float) -> None:
        if belief.trouble and self.synced:
            self._settled_at = now + self._grace
        belief.answered(seen, now)  # type: ignore[arg-type]  # each caller gives its own kind

    def _lost(self, belief: Belief[Service] | Belief[Check], reason: str, now: float) -> None:
        if not belief.trouble and self.synced:
            self._settled_at = now + self._grace
        belief.lost(reason, now)

    def _worse(self, before: Check | None, check: Check) -> bool:
        if check.maintenance or rank(check) == 0:
            return False
        if before is not None:
            return rank(check) > rank(before)
        # A new check that fails: of a new service it is simply the first thing known. Of one that is believed to be
        # well it may be an old one under a new id, registered again after a restart.
        return check.service_id in self._watched


def wrong_node(answer: CatalogNode | None, node: str) -> str:
    """Why a catalog answer is not about the node; "" if it is."""
    if answer is None or answer.node is None:
        return f"Consul does not know node {node!r}: is CONSUL_NODE its name, and may the token read it?"
    if answer.node.name.casefold() != node.casefold():  # Consul finds a node by the start of its ID as well
        return f"Consul answers with node {answer.node.name!r} where {node!r} was asked for"
    return ""
