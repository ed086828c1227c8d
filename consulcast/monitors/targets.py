"""What each kind of monitor looks at, as values. Reading them is their check too: all raise ``BadValue``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct

from consulcast import notation
from consulcast.model import IPAddress, MonitorSpec
from consulcast.monitors import command
from consulcast.notation import BadValue

# RFC 1035 section 3.2.2, RFC 3596, RFC 2782, RFC 8659, RFC 9460
DNS_TYPES = {
    **{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "NAPTR": 35},
    **{"DS": 43, "DNSKEY": 48, "TLSA": 52, "SVCB": 64, "HTTPS": 65, "CAA": 257},
}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_URL_PATH = re.compile(r"[!-~]*")  # printable ASCII without the space
_STATUSES = re.compile(r"[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*")


class Port(Struct, frozen=True):
    """A port of this host; with ``address``, one where traffic to that address arrives."""

    protocol: str  # tcp or udp
    number: int
    address: IPAddress | None = None


class Endpoint(Struct, frozen=True):
    """A port of any host. ``host`` is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Url(Struct, frozen=True):
    """What to ask of which web server, and the statuses that pass."""

    endpoint: Endpoint
    tls: bool
    path: str
    host: str  # the Host header
    statuses: tuple[tuple[int, int], ...]
    verify: bool

    @property
    def server_name(self) -> str:
        """Whose certificate the server should show: the Host header's name."""
        return _host_port(self.host, 443).host


class Question(Struct, frozen=True):
    """What to ask of which name server."""

    server: Endpoint
    name: str
    type: str


def port(spec: MonitorSpec) -> Port:
    """Read ``tcp:53``."""
    protocol, _, number = spec.target.partition(":")
    if protocol not in ("tcp", "udp"):
        raise BadValue("write port:tcp:NUMBER or port:udp:NUMBER")
    address = dict(spec.options).get("address")
    try:
        return Port(protocol, notation.port(number), ipaddress.ip_address(address) if address is not None else None)
    except BadValue:
        raise
    except ValueError:
        raise BadValue(f"address={address}: is not an IP address") from None


def endpoint(spec: MonitorSpec) -> Endpoint:
    """Read ``host:port``; an IPv6 address stands in brackets."""
    found = _host_port(spec.target, 0)
    if not found.port:
        raise BadValue("write tcp:HOST:PORT, an IPv6 address in brackets: tcp:[2001:db8::1]:443")
    return found


def url(spec: MonitorSpec) -> Url:
    """Read an http or https URL."""
    options = dict(spec.options)
    try:
        parts = urlsplit(spec.target)
        number, name = parts.port, parts.hostname
    except ValueError as error:
        raise BadValue(f"not a URL: {error}") from None
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not name or number == 0:
        raise BadValue("write the whole URL: http:http://127.0.0.1:8080/health or http:https://…")
    if "@" in parts.netloc:
        raise BadValue("a user and a password in the URL would stand in logs and tags: they are not taken")
    default = 443 if tls else 80
    target = _host_port(parts.netloc, default)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _URL_PATH.fullmatch(path):
        raise BadValue("the URL's path holds a space or a letter that is not ASCII: write it as %XX")
    host = options.get("host", "") or (
        str(target).removesuffix(f":{default}") if target.port == default else str(target)
    )
    _host_port(host, default)
    verify = options.get("verify", "true")
    if verify not in ("true", "false"):
        raise BadValue(f"verify={verify}: write true, or false to take any certificate")
    return Url(target, tls, path, host, _statuses(options.get("status", "200-299")), verify == "true")


def question(spec: MonitorSpec) -> Question:
    """Read ``server:name`` or ``server:name:type``; an IPv6 server stands in brackets."""
    form = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]+):([^:]+)(?::([A-Za-z]+))?", spec.target)
    if not form:
        raise BadValue(
            "write dns:SERVER:NAME or dns:SERVER:NAME:TYPE, an IPv6 server in brackets: dns:[::1]:example.org"
        )
    server, name, kind = form[1], form[2], (form[3] or "A").upper()
    if kind not in DNS_TYPES:
        raise BadValue(f"type {kind!r} is not one of {', '.join(DNS_TYPES)}")
    number = notation.port(dict(spec.options).get("port", "53"))
    encode_name(name)
    return Question(Endpoint(_host_port(server, number).host, number), name, kind)


def encode_name(name: str) -> bytes:
    """Encode a domain name for the wire (RFC 1035 section 3.1), letters beyond ASCII by IDNA."""
    labels = name.removesuffix(".").split(".") if name != "." else []
    try:
        packed = [label.encode("ascii" if label.isascii() else "idna") for label in labels]
    except UnicodeError:
        packed = [b""]
    wire = b"".join(bytes([len(label) & 0xFF]) + label for label in packed) + b"\0"
    if len(wire) > 255 or not all(1 <= len(label) <= 63 for label in packed) or not name.isprintable():
        raise BadValue(f"{name!r} is not a domain name")
    return wire


def check(spec: MonitorSpec) -> None:
    """See that the kind's own part can be read."""
    read = _READERS.get(spec.kind)
    if read is not None:
        read(spec)


def _host_port(text: str, default: int) -> Endpoint:
    host, number = text, ""
    if match := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text):
        host, number = match[1], match[2] or ""
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            raise BadValue(f"{match[1]!r} in brackets is not an IPv6 address") from None
    else:
        host, _, number = text.partition(":")
        if not _HOST.fullmatch(host):
            raise BadValue(f"{host!r} is not a host's name or address")
    return Endpoint(host, notation.port(number) if number else default)


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    if not _STATUSES.fullmatch(text) or not text.isascii():
        raise BadValue(f"status={text}: write statuses and ranges of them, such as 200-299,304")
    pairs = [(item[:3], item[-3:]) for item in text.split(",")]
    return tuple((int(first), int(last)) for first, last in pairs)


_READERS: dict[str, Callable[[MonitorSpec], object]] = {
    "exec": lambda spec: command.named(spec.target),
    "port": port,
    "tcp": endpoint,
    "http": url,
    "dns": question,
}
