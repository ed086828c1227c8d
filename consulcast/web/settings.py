"""The file's ``api:`` section, checked and read."""

from __future__ import annotations

import grp
import re

from consulcast import schema
from consulcast.web import tls, tokens
from consulcast.web.door import Settings
from consulcast.web.limits import Limits
from consulcast.web.listen import Address
from consulcast.web.rights import Access

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_RANGES: dict[str, tuple[float, float]] = {
    "connections": (4, 10_000),
    "connections_per_client": (1, 10_000),
    "requests_per_second": (1, 100_000),
    "url": (256, 8000),
    "parameters": (1, 4000),
    "headers": (1024, 64 << 10),
    "body": (1024, 1 << 20),
    "handshake_time": (0.1, 300),
    "request_time": (0.1, 300),
    "idle_time": (0.1, 3600),
    "send_time": (0.1, 300),
}


class BadApi(Exception):
    """A value cannot be used. ``key`` is its place under ``api``, or a whole place that begins with ``$``."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key if key.startswith("$") else f"$.api.{key}"


def settings_from(api: schema.Api, listen_addr: str) -> Settings:
    """Check the section, and read the files that it names. Raises ``BadApi``."""
    addresses = _addresses(api, listen_addr)
    context = None
    if api.tls.cert_file:
        try:
            context = tls.context(api.tls.cert_file, api.tls.key_file, api.tls.client_ca_file)
        except tls.BadTls as error:
            raise BadApi(f"tls.{error.key}", str(error)) from None
    elif api.tls.key_file or api.tls.client_ca_file:
        raise BadApi("tls", "cert_file is missing: write the server's certificate there")
    _check_secure(api, addresses)
    return Settings(
        listen=addresses,
        socket_group=_group(api.socket_group),
        access=_access(api),
        hosts=_hosts(api),
        limits=_limits(api.limits),
        tls=context,
    )


def _addresses(api: schema.Api, listen_addr: str) -> tuple[Address, ...]:
    places = [("$.agent.listen_addr", listen_addr)] if listen_addr else []
    places += [(f"listen[{number}]", text) for number, text in enumerate(api.listen)]
    found: dict[str, Address] = {}
    for key, text in places:
        try:
            address = Address.read(text)
        except ValueError as error:
            raise BadApi(key, f"{text!r}: {error}") from None
        if text in found:
            raise BadApi(key, f"{text!r} stands twice (agent.listen_addr counts too): remove one")
        found[text] = address
    return tuple(found.values())


def _check_secure(api: schema.Api, addresses: tuple[Address, ...]) -> None:
    secure = any(address.tls for address in addresses)
    if secure and not api.tls.cert_file:
        raise BadApi("tls.cert_file", "is missing: an https:// address to listen on needs a certificate")
    if api.tls.cert_file and not secure:
        raise BadApi("tls.cert_file", "nothing listens with it: write an address with https:// in api.listen")


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isascii() and name.isdigit():
            return int(name)
        raise BadApi("socket_group", f"there is no group {name!r}") from None


def _access(api: schema.Api) -> Access:
    known: tuple[tokens.Token, ...] = ()
    if api.tokens_file:
        try:
            known = tokens.load(api.tokens_file)
        except tokens.BadTokens as error:
            raise BadApi("tokens_file", str(error)) from None
    clients = {name: frozenset(scopes) for name, scopes in api.tls.clients.items()} if api.tls.client_ca_file else None
    if api.tls.clients and clients is None:
        raise BadApi("tls.clients", "without client_ca_file no certificate is believed: name the CA's file too")
    here = None if api.local_scopes is None else frozenset(api.local_scopes)
    return Access(known, bool(api.tokens_file), clients, here)


def _hosts(api: schema.Api) -> frozenset[str]:
    for number, name in enumerate(api.hosts):
        text = name.lower().removesuffix(".")
        if not _NAME.fullmatch(text):
            raise BadApi(f"hosts[{number}]", f"{name!r} is no host name: write it without port; addresses need none")
    return frozenset(name.lower().removesuffix(".") for name in api.hosts)


def _limits(limits: schema.ApiLimits) -> Limits:
    for key, (least, most) in _RANGES.items():
        value = getattr(limits, key)
        if not least <= value <= most:
            unit = " seconds" if key.endswith("_time") else " bytes" if key in ("url", "headers", "body") else ""
            raise BadApi(f"limits.{key}", f"must be from {least} to {most}{unit}")
    return Limits(**{key: getattr(limits, key) for key in _RANGES})
