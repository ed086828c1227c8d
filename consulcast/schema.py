"""The configuration file's schema: GoCast's keys and ours, with their defaults. The values alone, no rules."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from consulcast.notation import duration


class Duration(float):
    """Seconds, written in Go's form: ``10s``, ``15m``, ``1h30m``, ``500ms``."""

    @classmethod
    def read(cls, value: object) -> Duration:
        """Read the file's text. Raises ``BadValue``."""
        return cls(duration(str(value)))


class Agent(Struct, forbid_unknown_fields=True):
    """``agent:`` — the daemon on this host."""

    listen_addr: str = ":8080"
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
    damping: Damping = field(default_factory=Damping)
    peers: list[Peer] = field(default_factory=list)


class Nat(Struct, forbid_unknown_fields=True):
    """``nat:`` — how NAT rules are made; ``auto``: as the host makes its own."""

    backend: Literal["auto", "nft", "iptables"] = "auto"


class SourcePolicy(Struct, forbid_unknown_fields=True):
    """What apps of one source may have. ``exec``: commands that run as the daemon's user."""

    exec: Literal["allow", "deny"] = "deny"


class Policy(Struct, forbid_unknown_fields=True):
    """``policy:`` — what may be asked for by those who can write tags, or reach the HTTP endpoint."""

    consul: SourcePolicy = field(default_factory=SourcePolicy)
    http: SourcePolicy = field(default_factory=SourcePolicy)


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
    nat: Nat = field(default_factory=Nat)
    apps: list[App] = field(default_factory=list)
