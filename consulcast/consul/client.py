"""Consul's API, as much as is needed, as typed answers."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from consulcast.consul import errors
from consulcast.consul.answers import CATALOG_NODE, CHECKS, Catalog, Health
from consulcast.consul.bodies import AgentCheck, AgentSelf, AgentService, Authorization, CatalogNode, Check
from consulcast.consul.errors import AclsOff, Garbage
from consulcast.consul.library import SLACK, Http, segment
from consulcast.consul.settings import ConsulSettings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Consistency(StrEnum):
    """https://developer.hashicorp.com/consul/api-docs/features/consistency"""

    DEFAULT = "default"  # the leader answers; it may be one that was just deposed
    STALE = "stale"  # any server answers
    CONSISTENT = "consistent"  # the leader asks its peers first


class Answer(Struct, Generic[T], frozen=True):
    """A good answer, with what Consul says about it in its headers."""

    data: T
    index: int = 0  # 0 from the endpoints that have none
    known_leader: bool = True
    last_contact: float = 0.0  # seconds since the answering server heard its leader
    filtered: bool = False  # ACLs took something out (Consul 1.11 or later says so)
    received_at: float = 0.0  # of the monotonic clock


class Right(Struct, frozen=True):
    """A right to read that is asked about."""

    resource: str  # node or service
    name: str  # "" with service: every service

    def __str__(self) -> str:
        kind = "service_prefix" if not self.name else self.resource
        return f'{kind} "{self.name}" {{ policy = "read" }}'


class _Decoder(Protocol[T_co]):
    def decode(self, body: bytes, /) -> T_co: ...


_AGENT_SERVICES: _Decoder[dict[str, AgentService]] = msgspec.json.Decoder(dict[str, AgentService])
_AGENT_CHECKS: _Decoder[dict[str, AgentCheck]] = msgspec.json.Decoder(dict[str, AgentCheck])
_AUTHORIZATIONS: _Decoder[tuple[Authorization, ...]] = msgspec.json.Decoder(tuple[Authorization, ...])
_AGENT_SELF: _Decoder[AgentSelf] = msgspec.json.Decoder(AgentSelf)
_TEXT: _Decoder[str] = msgspec.json.Decoder(str)

_NAMEABLE = re.compile(r"[A-Za-z0-9 ._:/@+~-]+")  # nothing that a filter's text would take for its own


def nameable(service_id: str) -> bool:
    """Tell whether a filter can name this service."""
    return _NAMEABLE.fullmatch(service_id) is not None


_AT_ONCE = 60  # of the 64 questions that /v1/internal/acl/authorize takes


class Client:
    """Consul's API, as much as is needed. One per greenlet that holds a blocking query; every call may be killed.

    Every call raises one of ``ConsulError``'s kinds. It has its wait and ``SLACK`` for the answer, and ``SLACK`` before
    that where it must connect; all of it again where it is denied and the token's file holds another one by then.
    """

    def __init__(
        self, settings: ConsulSettings, *, connections: int = 1, watching: bool = False, like: Client | None = None
    ) -> None:
        """``watching``: one node's answers come over and over. What does not change in them is decoded once, and is the
        same object from answer to answer; and a kept connection that the agent closed is an error, not one to replace
        in silence. ``like``: a watching one that is asked for the same; the objects are those of its answers, too.
        """
        self._http = Http(settings, connections, watching)
        self._catalog: _Decoder[CatalogNode | None] = like._catalog if like else Catalog() if watching else CATALOG_NODE
        self._health: _Decoder[tuple[Check, ...] | None] = like._health if like else Health() if watching else CHECKS

    def catalog_node(
        self,
        node: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        consistency: Consistency = Consistency.DEFAULT,
    ) -> Answer[CatalogNode | None]:
        """A node's services with their tags. With an index the agent answers when it is passed, or after ``wait``."""
        return self._query(self._catalog, "catalog/node/", node, index, wait, consistency)

    def catalog_services(
        self, node: str, services: Collection[str], *, consistency: Consistency = Consistency.DEFAULT
    ) -> Answer[CatalogNode | None]:
        """The same of a few services alone, by ServiceID, each for which ``nameable`` holds.

        Other services may be in the answer as well: Consul before 1.5 answers with all.
        """
        chosen = " or ".join(f'ID == "{service}"' for service in services)
        return self._query(CATALOG_NODE, "catalog/node/", node, 0, 0.0, consistency, [("filter", chosen)])

    def health_node(
        self,
        node: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        consistency: Consistency = Consistency.DEFAULT,
    ) -> Answer[tuple[Check, ...] | None]:
        """All checks of a node and its services."""
        return self._query(self._health, "health/node/", node, index, wait, consistency)

    def agent_services(self) -> Mapping[str, AgentService]:
        """What the agent itself knows to be registered with it, by ServiceID; works without servers."""
        return self._plain(_AGENT_SERVICES, "agent/services")

    def agent_checks(self) -> Mapping[str, AgentCheck]:
        """The checks registered with the agent, by CheckID. ``serfHealth`` is the servers' and not among them."""
        return self._plain(_AGENT_CHECKS, "agent/checks")

    def agent_node(self) -> str:
        """The name of the agent's own node."""
        return self._plain(_AGENT_SELF, "agent/self").config.node

    def status_leader(self) -> str:
        """The leader's address, or "" without one."""
        return self._plain(_TEXT, "status/leader")

    def missing_rights(self, rights: Sequence[Right]) -> tuple[Right, ...] | None:
        """Which of the rights the token lacks: the only way to tell "nothing there" from "not allowed to see it".

        ``None`` where Consul does not say: it is an internal endpoint. Raises ``AclsOff`` where all may read all.
        """
        missing: list[Right] = []
        for some in _batches(rights):
            asked = [{"Resource": right.resource, "Segment": right.name, "Access": "read"} for right in some]
            response = self._http.post(_as_is, "/v1/internal/acl/authorize", data=msgspec.json.encode(asked))
            if response.code == 401 and b"disabled" in response.content:
                raise AclsOff("Consul's ACLs are off")
            if response.code == 404:
                return None
            said = _decode(_AUTHORIZATIONS, response, "acl/authorize")
            if len(said) != len(some):
                raise Garbage("acl/authorize answers another number of questions than was asked")
            missing += [right for right, answer in zip(some, said, strict=True) if not answer.allow]
        return tuple(missing)

    def close(self) -> None:
        """Drop the kept connections."""
        self._http.close()

    def _query(
        self,
        decoder: _Decoder[T],
        path: str,
        node: str,
        index: int,
        wait: float,
        consistency: Consistency,
        more: Sequence[tuple[str, str]] = (),
    ) -> Answer[T]:
        params = [*more]
        patience = SLACK
        if index > 0:
            params += [("index", str(index)), ("wait", f"{wait * 1000:.0f}ms")]
            patience += wait + wait / 16  # the agent adds up to a sixteenth of its own
        if consistency is not Consistency.DEFAULT:
            params.append((consistency.value, "1"))
        response = self._http.get(_as_is, f"/v1/{path}{segment(node)}", params, patience=patience)
        received_at = time.monotonic()
        data = _decode(decoder, response, path + node)
        headers = response.headers
        try:
            return Answer(
                data,
                index=int(headers["x-consul-index"]),
                known_leader=headers.get("x-consul-knownleader", "true") == "true",
                last_contact=int(headers.get("x-consul-lastcontact", "0")) / 1000,
                filtered=headers.get("x-consul-results-filtered-by-acls") == "true",
                received_at=received_at,
            )
        except (KeyError, ValueError):
            raise Garbage(f"{path}{node} has no usable X-Consul-Index: is a proxy between us and Consul?") from None

    def _plain(self, decoder: _Decoder[T], path: str) -> T:
        return _decode(decoder, self._http.get(_as_is, f"/v1/{path}"), path)


def _as_is(response: Any) -> Any:
    return response


def _decode(decoder: _Decoder[T], response: Any, where: str) -> T:
    if response.code != 200:
        raise errors.from_status(response.code, response.content[:300].decode("utf-8", "replace"), where)
    try:
        return decoder.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Garbage(f"{where} is not what Consul answers ({error}): does the address lead to Consul?") from None


def _batches(rights: Sequence[Right]) -> Iterator[Sequence[Right]]:
    for start in range(0, len(rights), _AT_ONCE):
        yield rights[start : start + _AT_ONCE]
