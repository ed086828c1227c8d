"""Monitor ``consul``: what Consul's own checks say of one instance of a service. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from consulcast.consul.bodies import AgentCheck, Check
from consulcast.model import Drained, Health, Reason, Verdict

Warnings = Literal["fail", "pass"]

_RANK = {"passing": 0, "warning": 1, "critical": 2}


def rank(check: Check | AgentCheck) -> int:
    """How bad a check is, 0 the best. A status of a later Consul counts as the worst."""
    return _RANK.get(check.status, 3)


def judge(service_id: str, checks: Iterable[Check], warning: Warnings = "fail") -> Verdict:
    """The verdict on one instance: the worst of its own checks and the node's (``serfHealth`` and others).

    Maintenance mode of the service or the node is a drain, which says whether the other checks fail meanwhile.
    ``warning`` fails as in GoCast, unless told otherwise.
    A service without a check of its own never passes, which is GoCast's promise too.
    ``checks`` may hold those of other services: they are left aside. ``since`` is the caller's to fill in.
    """
    mine = [check for check in checks if not check.service_id or check.service_id == service_id]
    for check in mine:
        if check.maintenance:
            what = "service" if check.service_id else "node"
            why = f": {check.notes}" if check.notes else ""
            beneath = judge(service_id, [other for other in mine if not other.maintenance], warning)
            drain = Drained(failing="" if beneath.health is Health.PASSING else beneath.detail)
            return Verdict(Health.DRAINING, Reason.DRAINING, f"{what} is in maintenance mode{why}", drain=drain)
    if not any(check.service_id for check in mine):
        return Verdict(
            Health.FAILING, Reason.NO_CHECKS, "the service has no check in Consul: register one or use another monitor"
        )
    worst = min(mine, key=lambda check: (-rank(check), not check.service_id, check.id))
    detail = f"check {worst.id!r} is {worst.status}"
    if rank(worst) > (1 if warning == "pass" else 0):
        return Verdict(Health.FAILING, Reason.MONITOR_FAILING, detail)
    return Verdict(Health.PASSING, Reason.PASSING, detail if rank(worst) else "all checks pass")
