"""The few calls by which something is written to Consul: sessions, keys, one service. Nothing else writes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from consulcast.consul import errors
from consulcast.consul.errors import Denied, Garbage, Rejected
from consulcast.consul.library import Http
from consulcast.consul.settings import ConsulSettings

BATCH = 64  # operations that a transaction takes


class Conflict(Rejected):
    """A transaction could not be made: the session is no more, or another one holds the key."""

    kind = "conflict"


class Entry(Struct, frozen=True):
    """A key as it is in the store."""

    key: str = field(name="Key")
    value: str | None = field(name="Value", default=None)  # base64
    session: str = field(name="Session", default="")

    @property
    def content(self) -> bytes:
        """The value's bytes. Raises ``ValueError``."""
        return base64.b64decode(self.value or "")


class _Created(Struct):
    id: str = field(name="ID")


class Writer:
    """Writes to Consul. Every call raises ``ConsulError``'s kinds, and ends within the time-out of a read."""

    def __init__(self, settings: ConsulSettings) -> None:
        self._http = Http(settings, 1)

    def open_session(self, node: str, name: str, ttl: float) -> str:
        """Make a session that takes its keys along when it ends, ``ttl`` seconds after the last ``renew`` or later.

        It hangs on no check: gossip that loses sight of the node for a moment does not end it.
        """
        body = {
            "Node": node,
            "Name": name,
            "TTL": f"{ttl:g}s",
            "Behavior": "delete",
            "LockDelay": "0s",
            "NodeChecks": [],
            "Checks": [],
        }
        said = self._put("session/create", body)
        try:
            return msgspec.json.decode(said or b"", type=_Created).id
        except msgspec.DecodeError:
            raise Garbage("session/create does not answer with a session: does the address lead to Consul?") from None

    def renew_session(self, session: str) -> bool:
        """Let it live on; false: it is no more."""
        return self._put(f"session/renew/{session}", missing=(404,)) is not None

    def end_session(self, session: str) -> None:
        """End it, and its keys."""
        self._put(f"session/destroy/{session}")

    def keys(self, prefix: str) -> Mapping[str, Entry]:
        """All keys with a prefix."""
        response = self._http.get(_as_is, f"/v1/kv/{quote(prefix, safe='/')}", [("recurse", "1")])
        if response.code == 404:
            return {}
        _check(response, f"kv/{prefix}")
        try:
            return {entry.key: entry for entry in msgspec.json.decode(response.content, type=list[Entry])}
        except msgspec.DecodeError:
            raise Garbage(f"kv/{prefix} is not what Consul answers: does the address lead to Consul?") from None

    def transact(self, operations: Sequence[Mapping[str, object]]) -> None:
        """Do ``BATCH`` operations at most, all or none. Raises ``Conflict``."""
        response = self._http.put(_as_is, "/v1/txn", data=msgspec.json.encode([{"KV": one} for one in operations]))
        if response.code == 409:
            said = " ".join(response.content[:300].decode("utf-8", "replace").split())
            if "Permission denied" in said:
                raise Denied("Consul denies writing keys: its token needs the policy of docs/consul-acl.md")
            raise Conflict(f"Consul refuses to write keys: {said}")
        _check(response, "txn")

    def register(self, service: Mapping[str, object]) -> None:
        """Register a service with the agent, or change it."""
        self._put("agent/service/register", service)

    def deregister(self, service_id: str) -> None:
        """Remove a service from the agent; it need not be there."""
        self._put(f"agent/service/deregister/{quote(service_id, safe='')}", missing=(404, 500))

    def passing(self, check_id: str, output: str) -> bool:
        """Say that a TTL check passes; false: the agent does not know it."""
        body = {"Status": "passing", "Output": output}
        # 404 in new versions, 500 in old ones
        return self._put(f"agent/check/update/{quote(check_id, safe='')}", body, missing=(404, 500)) is not None

    def close(self) -> None:
        """Drop the kept connection."""
        self._http.close()

    def _put(self, path: str, body: object = None, missing: tuple[int, ...] = ()) -> bytes | None:
        data = b"" if body is None else msgspec.json.encode(body)
        response = self._http.put(_as_is, f"/v1/{path}", data=data)
        if response.code in missing and not _servers(response):
            return None
        _check(response, path.partition("?")[0])
        return bytes(response.content)


def set_key(key: str, value: bytes, session: str) -> Mapping[str, object]:
    """Operation: write a key, as the session's."""
    return {"Verb": "lock", "Key": key, "Value": base64.b64encode(value).decode(), "Session": session}


def delete_key(key: str) -> Mapping[str, object]:
    """Operation: delete a key, whosever it is."""
    return {"Verb": "delete", "Key": key}


def delete_tree(prefix: str) -> Mapping[str, object]:
    """Operation: delete all keys with a prefix, whosever they are."""
    return {"Verb": "delete-tree", "Key": prefix}


def _as_is(response: Any) -> Any:
    return response


def _servers(response: Any) -> bool:
    """Whether a 500 is about the servers, not about what was asked for."""
    said = response.content[:300].decode("utf-8", "replace").lower()
    return any(word in said for word in ("leader", "rpc error", "no known consul servers"))


def _check(response: Any, where: str) -> None:
    if response.code != 200:
        raise errors.from_status(response.code, response.content[:300].decode("utf-8", "replace"), where)
