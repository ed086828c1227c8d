"""What can go wrong between the daemon and Consul. Each message says what the operator can do.

The messages hold no changing numbers, so that the same trouble is the same text and is logged once.
"""

from __future__ import annotations


class ConsulError(Exception):
    """No answer that could be believed. Never a reason to withdraw anything."""

    kind: str = "other"  # one word, stable, for metrics


class Unreachable(ConsulError):
    """No connection, or the connection broke: refused, reset, no such host or socket, TLS failure."""

    kind = "unreachable"


class TimedOut(ConsulError):
    """The agent accepted the request and did not answer in time: frozen, or its server is gone."""

    kind = "timed-out"


class Denied(ConsulError):
    """401 or 403: the token is unknown, expired or lacks a right."""

    kind = "denied"


class AclsOff(ConsulError):
    """A question about rights to a Consul without ACLs. Not a trouble, but an answer."""

    kind = "acls-off"


class NoLeader(ConsulError):
    """The agent answers and the servers do not: no leader, no server known, RPC failed."""

    kind = "no-leader"


class RateLimited(ConsulError):
    """429 or 503: Consul asks for fewer requests."""

    kind = "rate-limited"


class Rejected(ConsulError):
    """Any other status, among them 400 and redirects."""

    kind = "rejected"


class Garbage(ConsulError):
    """A 200 that is not Consul's: not JSON, another shape, or a query's index missing."""

    kind = "garbage"


KINDS = tuple(kind.kind for kind in (Unreachable, TimedOut, Denied, NoLeader, RateLimited, Rejected, Garbage))

_SERVERS = ("leader", "rpc error", "known consul servers", "no path to datacenter")  # Consul: agent/structs/errors.go


def from_status(status: int, body: str, where: str) -> ConsulError:
    """Tell an HTTP status other than 200 apart. ``where`` is the request, ``body`` the answer's first line."""
    said = " ".join(body.split())[:200] or "no text"
    if status in (401, 403):
        if "ACL not found" in body or "token does not exist" in body:
            return Denied(f"Consul does not know our token ({status}): it was deleted, or is not replicated yet")
        return Denied(f"Consul denies {where} ({status}: {said}): its token needs the policy of docs/consul-acl.md")
    if status in (429, 503):
        return RateLimited(f"Consul limits our requests at {where} ({status}: {said}): see `limits` in its config")
    if status >= 500 and any(word in body.lower() for word in _SERVERS):
        return NoLeader(f"Consul's servers do not answer {where} ({said}): check `consul operator raft list-peers`")
    if 300 <= status < 400:
        return Rejected(f"{where} is redirected ({status}); redirects are not followed: give Consul's own address")
    return Rejected(f"Consul refuses {where} ({status}: {said}): see the agent's log")
