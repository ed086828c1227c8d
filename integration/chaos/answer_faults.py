"""What a relay between the daemon and Consul makes of the answers. None of it may withdraw anything."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from integration.chaos.consul_faults import ConsulFault
from integration.chaos.world import World
from integration.lab.consul_relay import Reply, Wrong

_HEADERS = {
    "Content-Type": "application/json",
    "X-Consul-Index": "17",
    "X-Consul-Knownleader": "true",
    "X-Consul-Lastcontact": "0",
}


def _said(status: int, body: str, **headers: str) -> Wrong:
    """The same answer to everything."""
    return Wrong(answer=lambda _: Reply(status, {**_HEADERS, **headers}, body.encode()))


def _status(status: int, text: str) -> Wrong:
    return Wrong(
        answer=lambda _: Reply(status, {"X-Consul-Index": "1", "X-Consul-Knownleader": "false"}, text.encode())
    )


def _of_servers(change: Callable[[object], object], header: tuple[str, str] | None = None) -> Wrong:
    """Other answers of the servers; the agent's own and the ACL system's are true."""

    def changed(path: str, reply: Reply) -> Reply:
        if reply.status != 200 or not path.startswith(("/v1/catalog/node/", "/v1/health/node/")):
            return reply
        made = Reply(reply.status, reply.headers, json.dumps(change(json.loads(reply.body))).encode())
        return made.with_header(*header) if header else made

    return Wrong(change=changed)


def _header(name: str, value: str) -> Wrong:
    return Wrong(change=lambda _, reply: reply.with_header(name, value))


def _emptied(body: object) -> object:
    return {**body, "Services": {}} if isinstance(body, dict) else []


def _halved(body: object) -> object:
    """Every second service and its checks are left out."""

    def stays(service_id: str) -> bool:
        return sum(service_id.encode()) % 2 == 0

    if isinstance(body, dict):
        return {**body, "Services": {key: one for key, one in body["Services"].items() if stays(key)}}
    if isinstance(body, list):
        return [check for check in body if not check["ServiceID"] or stays(check["ServiceID"])]
    return body


WRONGS: dict[str, Wrong] = {
    "403": _status(403, "ACL not found"),
    "429": _status(429, "Your IP is issuing too many concurrent connections"),
    "500": _status(500, "rpc error making call: No cluster leader"),
    "503": _status(503, "Service Unavailable"),
    "garbage": _said(200, "<html>It works!</html>"),
    "null": _said(200, "null"),
    "object": _said(200, "{}"),
    "list": _said(200, "[]"),
    "no-index": Wrong(change=lambda _, reply: Reply(reply.status, {}, reply.body)),
    "emptied": _of_servers(_emptied),
    "halved": _of_servers(_halved),
    "filtered": _of_servers(_halved, ("X-Consul-Results-Filtered-By-Acls", "true")),
    "no-leader": _header("X-Consul-Knownleader", "false"),
    "last-contact": _header("X-Consul-Lastcontact", "99999999"),
    "hang": Wrong(hang=True),
    "refused": Wrong(cut=0),
    "cut": Wrong(cut=200),
    "drip": Wrong(drip=0.1),
}


class WrongAnswers(ConsulFault):
    """The daemon is answered wrongly, in one way or another."""

    hold = 1.0

    def __init__(self, rng: random.Random, kind: str = "") -> None:
        super().__init__(rng)
        self.kind = kind or rng.choice(list(WRONGS))

    def inject(self, world: World) -> None:
        world.relay.set(WRONGS[self.kind])

    def heal(self, world: World) -> None:
        world.relay.set(None)

    @property
    def what(self) -> str:
        return self.kind
