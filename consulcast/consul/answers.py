"""The two answers that come over and over, each read with what is known from the former one."""

from __future__ import annotations

from functools import lru_cache

from msgspec import DecodeError, Raw, Struct, field
from msgspec.json import Decoder

from consulcast.consul.bodies import CatalogNode, Check, Node, Service
from consulcast.consul.entries import Entries

CATALOG_NODE: Decoder[CatalogNode | None] = Decoder(CatalogNode | None)
CHECKS: Decoder[tuple[Check, ...] | None] = Decoder(tuple[Check, ...] | None)

_SMALL = 8192  # bytes of an answer that is decoded sooner than compared


class _Frame(Struct, frozen=True):
    """A catalog answer whose services are not looked into."""

    node: Node | None = field(name="Node", default=None)
    services: Raw = field(name="Services", default=Raw(b""))


class _Proof(Struct, frozen=True):
    """A catalog answer with a number in the place of its services."""

    services: int = field(name="Services")


_FRAME, _PROOF = Decoder(_Frame), Decoder(_Proof)


class Health:
    """Reads answers of ``/v1/health/node``."""

    def __init__(self) -> None:
        self._entries = Entries(Check, listed=True, thrifty=_thrifty_check)

    def decode(self, body: bytes) -> tuple[Check, ...] | None:
        """The checks; the same object while they are the same. Raises what ``msgspec`` raises."""
        if len(body) < _SMALL or body[:1] != b"[":
            return CHECKS.decode(body)
        self._entries.read(body)
        return self._entries.in_order


class Catalog:
    """Reads answers of ``/v1/catalog/node``."""

    def __init__(self) -> None:
        self._entries = Entries(Service, thrifty=_thrifty_service)
        self._head, self._tail = b"", b""  # what stands around the services
        self._said: CatalogNode | None = None

    def decode(self, body: bytes) -> CatalogNode | None:
        """The node and its services; the same object while they are the same. Raises what ``msgspec`` raises."""
        if len(body) < _SMALL:
            return CATALOG_NODE.decode(body)
        head, tail, said = self._head, self._tail, self._said
        if said is None or not (body.startswith(head) and body.endswith(tail)):
            frame = _FRAME.decode(body)
            around = _around(body, frame)
            if around is None:
                return CATALOG_NODE.decode(body)
            (head, tail), said = around, CatalogNode(frame.node)
        try:
            self._entries.read(body[len(head) : len(body) - len(tail)])
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return CATALOG_NODE.decode(body)  # it knows what is wrong, if anything is
        if said.services is not self._entries.by_name:
            said = CatalogNode(said.node, self._entries.by_name)
        self._head, self._tail, self._said = head, tail, said
        return said


def _around(body: bytes, frame: _Frame) -> tuple[bytes, bytes] | None:
    """What stands before and after the services, proven; ``None`` if that cannot be told."""
    services = memoryview(frame.services)
    if len(services) < _SMALL:
        return None
    at = body.find(services)
    head, tail = body[:at], body[at + len(services) :]
    try:
        _PROOF.decode(head + b"0" + tail)
    except DecodeError:
        return None
    return head, tail


_shared = lru_cache(256)(str)  # of texts that many entries have, one object each


def _thrifty_check(check: Check) -> Check:
    name = check.service_id if check.service_name == check.service_id else check.service_name
    return Check(check.id, _shared(check.status), check.service_id, name, check.notes)


def _thrifty_service(service: Service) -> Service:
    name = service.id if service.name == service.id else service.name
    tags = tuple(map(_shared, service.tags)) if service.tags is not None else None
    return Service(service.id, name, tags, service.create_index)
