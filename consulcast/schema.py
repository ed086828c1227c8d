"""The configuration file's schema: GoCast's keys and ours, with their defaults. The values alone, no rules."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from consulcast.changes import Kind
from consulcast.notation import duration

Scope = Literal["read", "register", "drain"]


class Duration(float):
    """Seconds, written in Go's form: ``10s``, ``15m``, ``1h30m``, ``500ms``."""

    @classmethod
    def read(cls, value: object) -> Duration:
        """Read the file's text. Raises ``BadValue``."""
        return cls(duration(str(value)))


class Agent(Struct, forbid_unknown_fields=True):
    """``agent:`` — the daemon on this host."""

    listen_addr: str = "127.0.0.1:8080"  # GoCast: ":8080"
    monitor_interval: Duration = Duration(10)
    cleanup_timer: Duration = Duration(900)
    consul_addr: str = ""
    consul_query_interval: Duration = Duration(0)  # GoCast polls; here blocking queries answer at once
    consul_token: str = ""
    tag_prefix: str = "gocast"
    vip_device: str = "lo"
    drain_time: Duration = Duration(1)
    run_dir: str = "/run/consulcast"
    owner_mark: int = 204
    state_dir: str = "/var/lib/consulcast"


class Tls(Struct, forbid_unknown_fields=True):
    """``consul.tls:`` — how to verify Consul and how to be verified."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True


class Consul(Struct, forbid_unknown_fields=True):
    """``consul:`` — the agent whose services are announced."""

    node: str = ""
    address: str = ""
    token: str = ""
    token_file: str = ""
    tls: Tls = field(default_factory=Tls)
    namespace: str = ""
    partition: str = ""
    stale: bool = False
    max_stale: Duration = Duration(10)
    wait: Duration = Duration(30)
    warning: Literal["fail", "pass"] = "fail"
    restart_grace: Duration = Duration(15)
    mass_removal: float = 0.5
    removal_hold: Duration = Duration(10)
    stale_limit: Duration = Duration(0)


class Peer(Struct, forbid_unknown_fields=True):
    """An entry of ``bgp.peers:`` — one BGP neighbour. What is empty comes from ``bgp:`` or from the kernel."""

    address: str = ""
    peer_as: int | None = None
    local_as: int | None = None
    local_address: str = ""
    port: int = 179
    password: str = ""
    password_file: str = ""
    ttl: int | None = None
    ttl_security: int = 0
    hold_time: int | None = None
    families: list[Literal["ipv4", "ipv6"]] = field(default_factory=lambda: ["ipv4", "ipv6"])
    next_hop_ipv4: str = ""
    next_hop_ipv6: str = ""
    extended_next_hop: bool = False


class Damping(Struct, forbid_unknown_fields=True):
    """``bgp.damping:`` — what flaps is held back, after RFC 2439."""

    enabled: bool = True
    half_life: Duration = Duration(120)
    suppress: float = 4000.0
    reuse: float = 1500.0
    max_suppress: Duration = Duration(600)


class Bgp(Struct, forbid_unknown_fields=True):
    """``bgp:`` — GoCast's one peer, or any number in ``peers:``."""

    local_as: int | None = None
    peer_as: int | None = None
    remote_as: int | None = None  # as in GoCast's sample file
    local_ip: str = ""
    peer_ip: str = ""
    communities: list[str] = field(default_factory=list)
    origin: Literal["igp", "egp", "unknown", "incomplete", ""] = "igp"
    router_id: str = ""
    hold_time: int = 30
    lease: Duration = Duration(10)
    graceful_restart: Duration = Duration(0)
    damping: Damping = field(default_factory=Damping)
    peers: list[Peer] = field(default_factory=list)


class Drain(Struct, forbid_unknown_fields=True):
    """``drain:`` — how an app, a VIP or the whole host is taken out of service."""

    method: Literal["graceful-shutdown", "med", "prepend", "none"] = "graceful-shutdown"
    med: int = 2**32 - 1
    prepend: int = 3
    wait: Duration = Duration(5)
    flows: Duration = Duration(30)


class Nat(Struct, forbid_unknown_fields=True):
    """``nat:`` — how NAT rules are made; ``auto``: as the host makes its own."""

    backend: Literal["auto", "nft", "iptables"] = "auto"


class SourcePolicy(Struct, forbid_unknown_fields=True):
    """What apps of one source may have. ``None``: the source's default, ``consulcast.policy.DEFAULTS``."""

    vips: list[str | dict[str, str | int]] | None = None
    communities: list[str] | None = None
    nat_listen: list[int | str] | None = None
    nat_dest: list[int | str] | None = None
    monitors: list[str] | None = None
    exec: Literal["deny", "commands", "allow"] | list[str] | None = None
    max_apps: int | None = None
    max_vips: int | None = None
    max_monitors: int | None = None


class ServicePolicy(Struct, forbid_unknown_fields=True):
    """An entry of ``policy.services:`` — VIPs that are for services of these names alone."""

    name: str
    vips: list[str]


class Policy(Struct, forbid_unknown_fields=True):
    """``policy:`` — what may be asked for, and by whom."""

    reserved: list[str] = field(default_factory=list)
    services: list[ServicePolicy] = field(default_factory=list)
    config: SourcePolicy = field(default_factory=SourcePolicy)
    consul: SourcePolicy = field(default_factory=SourcePolicy)
    http: SourcePolicy = field(default_factory=SourcePolicy)


class Exec(Struct, forbid_unknown_fields=True):
    """``exec:`` — whom commands run as, and what each of their processes may have. 0: no limit."""

    user: str = ""
    memory: int = 4096  # MiB of address space
    cpu: Duration = Duration(300)
    files: int = 1024
    processes: int = 1024


class Command(Struct, forbid_unknown_fields=True):
    """An entry of ``commands:`` — a command that monitors call by name. What is ``None`` comes from ``exec:``."""

    argv: list[str]
    arguments: list[str] = field(default_factory=list)
    user: str | None = None
    memory: int | None = None
    cpu: Duration | None = None
    files: int | None = None
    processes: int | None = None


class ApiTls(Struct, forbid_unknown_fields=True):
    """``api.tls:`` — the certificate of the ``https://`` addresses, and whose clients' certificates are believed."""

    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    clients: dict[str, list[Scope]] = field(default_factory=dict)  # by common name or DNS, e-mail or URI alternative


class ApiLimits(Struct, forbid_unknown_fields=True):
    """``api.limits:`` — what a client may cost. Sizes are bytes."""

    connections: int = 128
    connections_per_client: int = 32
    requests_per_second: int = 20
    url: int = 8000
    parameters: int = 300
    headers: int = 16 << 10
    body: int = 64 << 10
    handshake_time: Duration = Duration(5)
    request_time: Duration = Duration(5)
    idle_time: Duration = Duration(15)
    send_time: Duration = Duration(15)


class Api(Struct, forbid_unknown_fields=True):
    """``api:`` — the HTTP endpoint: where else it listens, and who may do what."""

    listen: list[str] = field(default_factory=list)
    socket_group: str = ""
    tokens_file: str = ""
    local_scopes: list[Scope] | None = None
    hosts: list[str] = field(default_factory=list)
    tls: ApiTls = field(default_factory=ApiTls)
    limits: ApiLimits = field(default_factory=ApiLimits)


class Publish(Struct, forbid_unknown_fields=True):
    """``publish:`` — what Consul is told of this host's announcements. Nothing, by default."""

    kv: str = ""
    service: str = ""
    ttl: Duration = Duration(30)


class Hooks(Struct, forbid_unknown_fields=True):
    """``hooks:`` — a command that is told of each change of state."""

    on_change: list[str] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=lambda: list(Kind))
    timeout: Duration = Duration(10)
    queue: int = 100


class VipConfig(Struct, forbid_unknown_fields=True):
    """``vip_config:`` of an app."""

    bgp_communities: list[str] = field(default_factory=list)


class App(Struct, forbid_unknown_fields=True):
    """An entry of ``apps:``."""

    name: str
    vip: str = ""
    vips: list[str] = field(default_factory=list)
    vip_config: VipConfig = field(default_factory=VipConfig)
    monitors: list[str | dict[str, str | int | bool]] = field(default_factory=list)
    nats: list[str] = field(default_factory=list)


class File(Struct, forbid_unknown_fields=True):
    """The whole file."""

    agent: Agent = field(default_factory=Agent)
    consul: Consul = field(default_factory=Consul)
    bgp: Bgp = field(default_factory=Bgp)
    policy: Policy = field(default_factory=Policy)
    exec: Exec = field(default_factory=Exec)
    commands: dict[str, Command] = field(default_factory=dict)
    api: Api = field(default_factory=Api)
    drain: Drain = field(default_factory=Drain)
    nat: Nat = field(default_factory=Nat)
    publish: Publish = field(default_factory=Publish)
    hooks: Hooks = field(default_factory=Hooks)
    apps: list[App] = field(default_factory=list)


def decode(wanted: type, value: Any) -> Any:
    """Read the values that are types of our own: msgspec's hook. Raises ``BadValue``."""
    if wanted is Duration:
        return Duration.read(value)
    raise NotImplementedError(f"no reading of {wanted}")
