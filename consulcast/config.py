"""The configuration file, read and checked: from text to the values that the parts take."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from consulcast import notation, policy_file, schema
from consulcast.changes import LAST
from consulcast.consul.settings import BadSetting, ConsulSettings, Publishing, settings_from
from consulcast.damping import Limits
from consulcast.document import ConfigError, Document
from consulcast.drains import Method
from consulcast.drains import Settings as DrainSettings
from consulcast.exposure import who_else
from consulcast.hooks import Hook
from consulcast.model import App, AppKey, IPAddress, Origin, Source
from consulcast.monitors.command import Command, Commands
from consulcast.notation import BadValue
from consulcast.planner import Defaults
from consulcast.policy import Rules
from consulcast.values import replace
from consulcast.web import settings
from consulcast.web.door import Settings
from consulcast.web.settings import BadApi

S = TypeVar("S")
T = TypeVar("T")

_LONGEST_RUN_DIR = 80  # bytes; a unix socket's path has 107
_SHORTEST_LEASE, _LONGEST_LEASE = 2.0, 600.0  # seconds; a busy host delays a sign of life by some tenths
_SHORTEST_TTL, _LONGEST_TTL = 15.0, 86400.0  # seconds; Consul's own bounds are 10 s and a day
_KEYS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*/)+")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LONGEST_HOOK = 300.0  # seconds
_ORIGINS = {"": Origin.IGP, "igp": Origin.IGP, "egp": Origin.EGP}


class PeerConfig(Struct, frozen=True):
    """A BGP neighbour as configured; ``None`` is looked up in the kernel at start (gateway, source address)."""

    where: str  # the key in the file, for messages
    address: IPAddress | None
    peer_as: int
    local_as: int
    local_address: IPAddress | None = None
    port: int = 179
    password: str | None = None  # a secret
    password_file: str = ""  # where it stood; empty: in the configuration itself
    ttl: int | None = None
    ttl_security: int = 0  # hops; 0: off
    hold_time: int = 30
    families: tuple[str, ...] = ("ipv4", "ipv6")
    next_hop4: ipaddress.IPv4Address | None = None
    next_hop6: ipaddress.IPv6Address | None = None
    extended_next_hop: bool = False

    def __repr__(self) -> str:
        return f"PeerConfig({self.where!r}, {self.address!r})"  # no secrets in logs


class Config(Struct, frozen=True):
    """A checked configuration. Durations are seconds."""

    agent: schema.Agent
    consul: schema.Consul
    peers: tuple[PeerConfig, ...]
    router_id: ipaddress.IPv4Address | None
    defaults: Defaults
    nat: schema.Nat
    apps: tuple[App, ...]
    rules: Rules = field(default_factory=Rules)
    api: Settings = field(default_factory=Settings)
    damping: Limits = field(default_factory=Limits)
    lease: float = 10.0  # 0: none
    graceful_restart: int = 0  # 0: off
    publish: Publishing = field(default_factory=Publishing)
    hook: Hook | None = None
    warnings: tuple[str, ...] = ()


def load(path: str) -> Config:
    """Read and check the file. Raises ``ConfigError``."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ConfigError(f"{path}: is not a file")
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    config = parse(path, text)
    return replace(config, warnings=config.warnings + _exposed(path, config))


def _exposed(path: str, config: Config) -> tuple[str, ...]:
    """What others may read or write that they should not."""
    secret = bool(config.consul.token) or any(peer.password and not peer.password_file for peer in config.peers)
    holders = {config.consul.token_file, *(peer.password_file for peer in config.peers)} - {""}
    found = (who_else(path, secret=secret), *(who_else(holder, secret=True) for holder in sorted(holders)))
    return tuple(filter(None, found))


def parse(name: str, text: str) -> Config:
    """Check a file's text; ``name`` is for messages. Raises ``ConfigError``."""
    return _Reader(Document(name, text)).config()


def consul_settings(consul: schema.Consul, environ: Mapping[str, str]) -> ConsulSettings:
    """Resolve how to reach Consul. Raises ``BadSetting``."""
    return settings_from(
        environ,
        address=consul.address,
        token=consul.token,
        token_file=consul.token_file,
        ca_file=consul.tls.ca_file,
        cert_file=consul.tls.cert_file,
        key_file=consul.tls.key_file,
        verify=consul.tls.verify,
        namespace=consul.namespace,
        partition=consul.partition,
        stale=consul.stale,
    )


class _Reader:
    """Turns the file's words into values, each error with its place."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._file = document.decode(schema.File, schema.decode)
        self._warnings: list[str] = []

    def config(self) -> Config:
        file = self._file
        self._check_agent()
        rules = policy_file.read(file, self._error)
        return Config(
            agent=file.agent,
            consul=self._consul(),
            peers=self._peers(),
            router_id=self._router_id(),
            lease=self._lease(),
            graceful_restart=self._graceful_restart(),
            defaults=Defaults(
                communities=tuple(
                    sorted(set(self._each("$.bgp.communities", file.bgp.communities, notation.community)))
                ),
                origin=_ORIGINS.get(file.bgp.origin, Origin.INCOMPLETE),
                cleanup_timer=file.agent.cleanup_timer,
                stale_limit=file.consul.stale_limit or None,
                drain=self._drain(),
            ),
            nat=file.nat,
            apps=self._apps(),
            rules=rules,
            api=self._api(),
            damping=self._damping(),
            publish=self._publish(),
            hook=self._hook(rules.commands),
            warnings=tuple(self._warnings),
        )

    def _check_agent(self) -> None:
        agent = self._file.agent
        if agent.consul_query_interval:
            self._warnings.append("agent.consul_query_interval has no effect: blocking queries tell of changes at once")
        if not agent.tag_prefix.isidentifier():
            raise self._error("$.agent.tag_prefix", f"{agent.tag_prefix!r}: use letters, digits and underscores")
        if not agent.vip_device or len(agent.vip_device) > 15 or "/" in agent.vip_device or " " in agent.vip_device:
            raise self._error("$.agent.vip_device", f"{agent.vip_device!r} is not a network device's name")
        if not agent.state_dir.startswith("/"):
            raise self._error("$.agent.state_dir", f"{agent.state_dir!r}: write an absolute path")
        if not agent.run_dir.startswith("/") or not agent.run_dir.isprintable() or " " in agent.run_dir:
            raise self._error("$.agent.run_dir", f"{agent.run_dir!r}: write an absolute path without blanks")
        if len(agent.run_dir.encode()) > _LONGEST_RUN_DIR:
            raise self._error("$.agent.run_dir", f"is longer than {_LONGEST_RUN_DIR} bytes: a unix socket goes there")
        if not 4 <= agent.owner_mark <= 255:
            raise self._error("$.agent.owner_mark", "must be from 4 to 255 (1 to 3 are the kernel's)")

    def _consul(self) -> schema.Consul:
        """Fold GoCast's keys of ``agent:`` into ``consul:``."""
        agent, consul = self._file.agent, self._file.consul
        for old, new, key in ((agent.consul_addr, consul.address, "addr"), (agent.consul_token, consul.token, "token")):
            if old and new and old != new:
                other = {"addr": "address", "token": "token"}[key]
                raise self._error(f"$.agent.consul_{key}", f"differs from consul.{other}: write it in one place")
        if consul.token and consul.token_file:
            raise self._error("$.consul.token_file", "consul.token is set as well: write the token in one place")
        if not 1 <= consul.wait <= 600:
            raise self._error("$.consul.wait", "must be from 1s to 10m (Consul's own limit)")
        if not 0 <= consul.mass_removal <= 1:
            raise self._error("$.consul.mass_removal", "is a share of the apps: write 0 to 1, such as 0.5; 1 for never")
        shortest = max(consul.restart_grace, consul.removal_hold)
        if 0 < consul.stale_limit <= shortest:
            what = f"must be longer than restart_grace and removal_hold ({shortest:g}s), or 0s for no limit"
            raise self._error("$.consul.stale_limit", what)
        if consul.token_file and not os.path.isfile(consul.token_file):
            raise self._error("$.consul.token_file", f"there is no file {consul.token_file!r}")
        where = "$.consul.address" if consul.address else "$.agent.consul_addr"
        consul.address = consul.address or agent.consul_addr
        consul.token = consul.token or agent.consul_token
        try:
            consul_settings(consul, {})
        except BadSetting as error:
            raise self._error(
                where if consul.address and "consul_addr" in str(error) else "$.consul", str(error)
            ) from None
        return consul

    def _api(self) -> Settings:
        try:
            return settings.settings_from(self._file.api, self._file.agent.listen_addr)
        except BadApi as error:
            raise self._error(error.key, str(error)) from None

    def _damping(self) -> Limits:
        damping = self._file.bgp.damping
        at = "$.bgp.damping"
        if not 1 <= damping.half_life <= 86400:
            raise self._error(f"{at}.half_life", "must be from 1s to 24h")
        if not 0 < damping.max_suppress <= 86400:
            raise self._error(f"{at}.max_suppress", "must be more than 0s, and 24h at most")
        if not 100 <= damping.reuse < damping.suppress <= 1e6:
            raise self._error(f"{at}.reuse", "must be 100 at least and less than suppress, which is 1000000 at most")
        limits = Limits(
            damping.enabled, damping.half_life, damping.suppress, damping.reuse, float(damping.max_suppress)
        )
        if limits.ceiling <= limits.suppress:  # RFC 2439 section 4.5: else nothing would ever be suppressed
            least = limits.half_life * math.log2(limits.suppress / limits.reuse)
            what = f"is too short for suppress ever to be reached: more than {least:.0f}s, or raise reuse"
            raise self._error(f"{at}.max_suppress", what)
        return limits

    def _publish(self) -> Publishing:
        publish = self._file.publish
        if publish.kv and not _KEYS.fullmatch(publish.kv):
            raise self._error("$.publish.kv", f"{publish.kv!r}: write a prefix that ends with a slash: consulcast/")
        if publish.service and not _LABEL.fullmatch(publish.service):
            raise self._error("$.publish.service", f"{publish.service!r}: letters, digits and hyphens, 63 at most")
        if not _SHORTEST_TTL <= publish.ttl <= _LONGEST_TTL:
            raise self._error("$.publish.ttl", "must be from 15s to 24h")
        return Publishing(publish.kv, publish.service, float(publish.ttl))

    def _hook(self, commands: Commands) -> Hook | None:
        """It runs as, and with the limits of, any command that has none of its own."""
        hooks, at = self._file.hooks, "$.hooks"
        if not 0 < hooks.timeout <= _LONGEST_HOOK:
            raise self._error(f"{at}.timeout", f"must be more than 0s, and {_LONGEST_HOOK:.0f}s at most")
        if not 1 <= hooks.queue <= LAST:
            raise self._error(f"{at}.queue", f"must be from 1 to {LAST}")
        if not hooks.on_change:
            return None
        if not hooks.on_change[0].startswith("/") or any("\0" in word for word in hooks.on_change):
            raise self._error(f"{at}.on_change", "write the program with its whole path, then its arguments")
        command = Command(tuple(hooks.on_change), (), commands.user, commands.limits)
        return Hook(command, frozenset(hooks.kinds), float(hooks.timeout), hooks.queue)

    def _drain(self) -> DrainSettings:
        drain = self._file.drain
        if not 0 <= drain.med <= 0xFFFFFFFF:
            raise self._error("$.drain.med", "must be from 0 to 4294967295 (RFC 4271 section 4.3)")
        if not 1 <= drain.prepend <= 16:
            raise self._error("$.drain.prepend", "is how often our AS is added to the path: 1 to 16")
        if not 0 <= drain.wait <= 3600:
            raise self._error("$.drain.wait", "must be at most 1h; 0s withdraws at once")
        if not 0 <= drain.flows <= 86400:
            raise self._error("$.drain.flows", "must be at most 24h; 0s waits for none")
        return DrainSettings(Method(drain.method), drain.med, drain.prepend, float(drain.wait), float(drain.flows))

    def _router_id(self) -> ipaddress.IPv4Address | None:
        text = self._file.bgp.router_id
        found = self._optional("$.bgp.router_id", text, ipaddress.IPv4Address, "an IPv4 address")
        if found is not None and not int(found):
            raise self._error("$.bgp.router_id", "0.0.0.0 is no router ID (RFC 6286)")
        return found

    def _lease(self) -> float:
        lease = self._file.bgp.lease
        if lease and not _SHORTEST_LEASE <= lease <= _LONGEST_LEASE:
            raise self._error("$.bgp.lease", "must be from 2s to 10m, or 0s for none")
        return lease

    def _graceful_restart(self) -> int:
        """The restart time has 12 bits and counts seconds (RFC 4724 section 3)."""
        time = float(self._file.bgp.graceful_restart)
        if time and (not 1 <= time <= 4095 or not time.is_integer()):
            raise self._error(
                "$.bgp.graceful_restart", "must be whole seconds from 1s to 4095s (RFC 4724), or 0s for off"
            )
        return int(time)

    def _peers(self) -> tuple[PeerConfig, ...]:
        bgp = self._file.bgp
        if bgp.peer_as is not None and bgp.remote_as is not None and bgp.peer_as != bgp.remote_as:
            raise self._error("$.bgp.remote_as", f"differs from peer_as ({bgp.peer_as}): keep one of the two")
        if bgp.peers and bgp.peer_ip:
            raise self._error("$.bgp.peer_ip", "bgp.peers is set as well: write this peer there")
        if bgp.peers:
            peers = tuple(self._peer(f"$.bgp.peers[{n}]", peer) for n, peer in enumerate(bgp.peers))
        else:
            only = schema.Peer(address=bgp.peer_ip)
            peers = (self._peer("$.bgp", only),)
        addresses = [peer.address for peer in peers]
        for number, address in enumerate(addresses):
            if address in addresses[:number]:
                what = f"{address or 'the default gateway'} is a peer already: one session per address"
                raise self._error(f"$.bgp.peers[{number}].address", what)
        return peers

    def _peer(self, at: str, peer: schema.Peer) -> PeerConfig:
        bgp = self._file.bgp
        address_key, local_key = ("peer_ip", "local_ip") if at == "$.bgp" else ("address", "local_address")
        peer_as = (
            peer.peer_as if peer.peer_as is not None else bgp.peer_as if bgp.peer_as is not None else bgp.remote_as
        )
        local_as = peer.local_as if peer.local_as is not None else bgp.local_as
        hold_time = peer.hold_time if peer.hold_time is not None else bgp.hold_time
        if hold_time != 0 and not 3 <= hold_time <= 65535:
            raise self._error(f"{at}.hold_time", "must be 0 or from 3 to 65535 seconds (RFC 4271 section 4.2)")
        if peer.ttl is not None and not 1 <= peer.ttl <= 255:
            raise self._error(f"{at}.ttl", "must be from 1 to 255")
        if not 0 <= peer.ttl_security <= 254:
            raise self._error(f"{at}.ttl_security", "is the largest number of hops to the peer, 1 to 254, or 0 for off")
        if not 1 <= peer.port <= 65535:
            raise self._error(f"{at}.port", "must be from 1 to 65535")
        if peer.ttl_security and peer.ttl is not None:
            raise self._error(f"{at}.ttl", "ttl_security sets the TTL to 255 (RFC 5082): remove one of the two")
        if not peer.families:
            raise self._error(f"{at}.families", "is empty: write [ipv4, ipv6], or one of them")
        address = self._optional(f"{at}.{address_key}", peer.address, ipaddress.ip_address, "an IP address")
        if address is not None and (address.is_unspecified or address.is_multicast or address.is_link_local):
            raise self._error(f"{at}.{address_key}", f"{address} cannot be a peer: write its global address")
        local = self._optional(f"{at}.{local_key}", peer.local_address, ipaddress.ip_address, "an IP address")
        if local is None:  # bgp.local_ip serves every peer of its family
            shared = self._optional("$.bgp.local_ip", bgp.local_ip, ipaddress.ip_address, "an IP address")
            fits = shared is not None and (address is None or address.version == shared.version)
            if shared is not None and not fits and at == "$.bgp":
                raise self._error("$.bgp.local_ip", f"{shared} and the peer's address {address} are of two families")
            local = shared if fits else None
        elif address is not None and address.version != local.version:
            raise self._error(f"{at}.{local_key}", f"{local} and the peer's address {address} are of two families")
        return PeerConfig(
            where=at.removeprefix("$."),
            address=address,
            peer_as=self._as_number(f"{at}.peer_as", peer_as, "the router's AS number"),
            local_as=self._as_number(f"{at}.local_as", local_as, "this host's AS number"),
            local_address=local,
            port=peer.port,
            password=self._password(at, peer),
            password_file=peer.password_file,
            ttl=peer.ttl,
            ttl_security=peer.ttl_security,
            hold_time=hold_time,
            families=tuple(dict.fromkeys(peer.families)),
            next_hop4=self._optional(
                f"{at}.next_hop_ipv4", peer.next_hop_ipv4, ipaddress.IPv4Address, "an IPv4 address"
            ),
            next_hop6=self._optional(
                f"{at}.next_hop_ipv6", peer.next_hop_ipv6, ipaddress.IPv6Address, "an IPv6 address"
            ),
            extended_next_hop=peer.extended_next_hop,
        )

    def _password(self, at: str, peer: schema.Peer) -> str | None:
        """RFC 2385: 1 to 80 printable characters."""
        text = peer.password
        if peer.password_file:
            if text:
                raise self._error(f"{at}.password_file", "password is set as well: write it in one place")
            try:
                text = Path(peer.password_file).read_text(encoding="ascii").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise self._error(f"{at}.password_file", f"cannot be read: {error}") from None
        elif not text:
            return None
        if not 1 <= len(text) <= 80 or not text.isascii() or not text.isprintable() or set(text) & {'"', "'"}:
            key = "password_file" if peer.password_file else "password"
            raise self._error(f"{at}.{key}", "must be 1 to 80 printable ASCII characters without quotes (RFC 2385)")
        return text

    def _apps(self) -> tuple[App, ...]:
        apps: dict[str, App] = {}
        for number, app in enumerate(self._file.apps):
            at = f"$.apps[{number}]"
            if not app.name or app.name in apps:
                raise self._error(f"{at}.name", "is empty" if not app.name else f"{app.name!r} is an app already")
            if not app.vip and not app.vips:
                raise self._error(at, f"app {app.name!r} has no VIP: write vip: address/length")
            one = (self._value(f"{at}.vip", app.vip, notation.vip),) if app.vip else ()
            communities = self._each(
                f"{at}.vip_config.bgp_communities", app.vip_config.bgp_communities, notation.community
            )
            apps[app.name] = App(
                key=AppKey(Source.CONFIG, app.name),
                name=app.name,
                vips=tuple(dict.fromkeys((*one, *self._each(f"{at}.vips", app.vips, notation.vip)))),
                monitors=tuple(dict.fromkeys(self._each(f"{at}.monitors", app.monitors, notation.monitor))),
                nats=tuple(dict.fromkeys(self._each(f"{at}.nats", app.nats, notation.nat))),
                communities=tuple(sorted(set(communities))),
            )
        return tuple(apps.values())

    def _each(self, at: str, items: list[S], read: Callable[[S], T]) -> tuple[T, ...]:
        return tuple(self._value(f"{at}[{number}]", item, read) for number, item in enumerate(items))

    def _value(self, at: str, item: S, read: Callable[[S], T]) -> T:
        try:
            return read(item)
        except BadValue as error:
            raise self._error(at, str(error)) from None

    def _optional(self, at: str, text: str, read: Callable[[str], T], what: str) -> T | None:
        try:
            return read(text) if text else None
        except ValueError:
            raise self._error(at, f"{text!r} is not {what}") from None

    def _as_number(self, at: str, number: int | None, what: str) -> int:
        if number is None:
            raise self._error(at, f"is missing: write {what}")
        if not 1 <= number <= 0xFFFFFFFF:
            raise self._error(at, f"{number} is not an AS number, 1 to 4294967295 (RFC 6793)")
        return number

    def _error(self, at: str, what: str) -> ConfigError:
        return self._document.error(at, what)
