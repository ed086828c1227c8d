"""A host with services of every kind, its Consul, its router, and the daemon between them."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from integration.chaos import fleet as services
from integration.chaos import greenlets
from integration.chaos.fleet import CONFIG, CONSUL, HTTP, Service
from integration.chaos.leaks import children
from integration.lab import Bird, ConsulAgent, ConsulCluster, ConsulRelay, Daemon, Lab, Peer, Process, UpdateTap, until
from integration.lab.consul import ConsulError, HostConnection

HOST_AS, ROUTER_AS = 4200000001, 65010
HOLD_TIME = 6  # seconds, of the BGP session
GRACE = 3.0  # seconds, restart_grace: checks of a restarted agent run every second
REMOVAL_HOLD = 2.0  # seconds that a mass removal waits
LEASE = 3.0  # seconds
NEVER = "198.51.100.77"  # a peer that never comes up
FOREIGN = ("203.0.113.98/32", "203.0.113.99/32")  # somebody else's addresses on the VIPs' device
OPERATOR = """table inet operator {
  chain prerouting { type nat hook prerouting priority -90; policy accept; tcp dport 9 redirect to :10; }
}
"""
ROOT = "root"  # Consul's almighty token; the daemon has one of its own
READ = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
POLICY, ACCESSOR, SECRET = "consulcast", "8a2b5c6e-0000-4000-8000-000000000001", "8a2b5c6e-0000-4000-8000-000000000002"
ACL = {
    "enabled": True,
    "default_policy": "deny",
    "policy_ttl": "1s",
    "token_ttl": "1s",
    "role_ttl": "1s",
    "tokens": {"master": ROOT, "agent": ROOT},
}

_LISTEN = """
import socket, sys
kind, port = sys.argv[1].split(":")
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(("0.0.0.0", int(port)))
if kind == "tcp": one.listen()
print("ready", flush=True)
while True:
    if kind == "udp": one.recv(99)
    else: one.accept()[0].close()
"""
_SCRIPT = 'case "$(cat {mode})" in pass) exit 0;; hang) sleep 30;; *) echo "as told"; exit 1;; esac\n'


class World:
    """Made whole: when the constructor returns, every VIP is at the router. ``cluster``: with three servers."""

    def __init__(self, lab: Lab, *, cluster: bool = False, settings: Mapping[str, Any] | None = None) -> None:
        self.lab = lab
        self.host, self.tor = lab.host("host"), lab.host("tor")
        self.link = lab.link(
            self.host, self.tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64"
        )
        self.bird = Bird(self.tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS, hold_time=HOLD_TIME)])
        self.tap = UpdateTap(self.tor)
        config: dict[str, object] = {"acl": ACL, "primary_datacenter": "dc1"}
        self.cluster = ConsulCluster(self.host, config=config, token=ROOT) if cluster else None
        self.consul = (
            self.cluster.client if self.cluster else ConsulAgent(self.host, persistent=True, config=config, token=ROOT)
        )
        self.relay = ConsulRelay(self.consul)
        self._policy = until(self._made_policy, 20.0, "Consul's ACL system is there")
        self.grant()
        self.services = services.fleet()
        self.flips: list[tuple[str, bool]] = []  # of the truth, since the account's last begin
        self.listeners: dict[str, Process] = {}
        self.tags = 0  # makes a registration another one for Consul
        for address in FOREIGN:
            self.host.run("ip", "addr", "add", address, "dev", "lo")
        (lab.dir / "operator.nft").write_text(OPERATOR)
        self.host.run("nft", "-f", str(lab.dir / "operator.nft"))
        self.operator = self.operators_table()
        self._mode = lab.dir / "script-mode"
        self._set_mode("pass")
        (lab.dir / "script").write_text(_SCRIPT.format(mode=self._mode))
        for one in self.services.values():
            if one.listens_at:
                self._listen(one.listens_at)
            if one.registered and one.source == CONSUL:
                self._register(one)
        self.daemon = Daemon(
            self.host, self.settings(settings or {}), node=self.consul.node, env=greenlets.environment(lab.dir)
        )
        self.ready()
        for one in self.services.values():
            if one.registered and one.source == HTTP:
                self._register(one)
        self.bird.wait_routes({vip for vip, up in self.truth().items() if up}, deadline=30.0)

    def settings(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The daemon's file: its own times short, so that a run waits for nothing but the fault."""
        monitor = f"exec:sh {self.lab.dir / 'script'};interval=500ms;timeout=1s;fall=2"
        apps = [
            {"name": one.id, "vip": one.vip, "monitors": [monitor]}
            for one in self.services.values()
            if one.source == CONFIG
        ]
        agent = {
            "run_dir": str(self.lab.dir / "run"),
            "state_dir": str(self.lab.dir / "state"),
            "listen_addr": "127.0.0.1:8080",
            "drain_time": "200ms",
            "monitor_interval": "1s",
        }
        consul = {
            "address": self.relay.address,
            "token": SECRET,
            "wait": "2s",
            "restart_grace": f"{GRACE:g}s",
            "removal_hold": f"{REMOVAL_HOLD:g}s",
        }
        peers = [{"address": NEVER, "peer_as": 65099}, {"address": "198.51.100.2", "peer_as": ROUTER_AS}]
        bgp = {
            "local_as": HOST_AS,
            "hold_time": HOLD_TIME,
            "lease": f"{LEASE:g}s",
            "peers": peers,
            "damping": {"enabled": False},
        }
        drain = {"method": "none"}  # each fault is one withdrawal; the rest: test_drain.py
        parts = {"agent": agent, "consul": consul, "bgp": bgp, "drain": drain, "nat": {"backend": "nft"}, "apps": apps}
        for name, part in more.items():
            parts[name] = {**parts[name], **part}  # type: ignore[dict-item]  # sections only
        return parts

    # -- the truth ---------------------------------------------------------------------------------------------

    def truth(self) -> dict[str, bool]:
        """Whether each VIP that is asked for has to be announced."""
        return services.truth(self.services.values())

    def change(self, service_id: str, **truth: object) -> None:
        """Write down that something about a service is other now."""
        before = self.truth()
        self.services[service_id] = services.changed(self.services[service_id], **truth)
        self.flips += services.flips(before, self.truth())

    def check(self, service_id: str, status: str) -> None:
        """Set a TTL check."""
        self._ask(lambda: self.consul.update_check(status, service_id=service_id))
        self.change(service_id, check=status)

    def maintenance(self, service_id: str, enable: bool) -> None:
        """Put a service into maintenance mode, or end it."""
        self._ask(lambda: self.consul.maintenance(enable, service_id))
        self.change(service_id, maintenance=enable)

    def deregister(self, service_id: str) -> None:
        """Let a service go for good, where it was registered."""
        one = self.services[service_id]
        if one.source == HTTP:
            assert self.http("GET", f"/unregister?name={one.id}") == 200
        else:
            self._ask(lambda: self.consul.deregister(one.id))
        self.change(service_id, registered=False)

    def register(self, service_id: str, *, again: bool = False) -> None:
        """Register a service, well; ``again``: one that is registered, so that its agent tells the servers anew."""
        if again:
            self.tags += 1
        self._register(self.services[service_id])
        self.change(service_id, registered=True, check="passing", maintenance=False)

    def close(self, service_id: str) -> None:
        """Kill a service's program."""
        self.listeners.pop(self.services[service_id].listens_at).kill()
        self.change(service_id, listening=False)

    def listen(self, service_id: str) -> None:
        """Start a service's program."""
        self._listen(self.services[service_id].listens_at)
        self.change(service_id, listening=True)

    def script(self, mode: str) -> None:
        """Have the script pass, fail or hang."""
        self._set_mode(mode)
        self.change("script", mode=mode)

    def _set_mode(self, mode: str) -> None:
        written = self._mode.with_suffix(".new")
        written.write_text(mode)
        written.rename(self._mode)

    def _listen(self, where: str) -> None:
        self.listeners[where] = self.host.spawn(sys.executable, "-ISuc", _LISTEN, where, name=where.replace(":", "-"))
        self.listeners[where].wait_line("ready")

    def _register(self, one: Service) -> None:
        if one.source == HTTP:
            body = {"vips": [one.vip], "monitors": list(one.monitors), "nats": list(one.nats)}
            assert self.http("PUT", f"/v1/apps/{one.id}", body) == 200
            return
        tags = ["enable_gocast", f"gocast_vip={one.vip}", f"again-{self.tags}"]
        tags += [f"gocast_monitor={monitor}" for monitor in one.monitors]
        tags += [f"gocast_nat={rule}" for rule in one.nats]
        checks: list[dict[str, object]] = []
        if one.ttl:
            checks.append({"TTL": "24h", "Status": "passing"})
        if one.probe:
            checks.append({"TCP": f"127.0.0.1:{one.probe}", "Interval": "1s", "Timeout": "1s", "Status": "passing"})
        self._ask(lambda: self.consul.register(one.service, tags, id=one.id, checks=checks))
        if one.ttl:  # one that was never updated is critical after the agent's next restart
            self._ask(lambda: self.consul.update_check("passing", service_id=one.id))

    @staticmethod
    def _ask(call: Callable[[], object]) -> None:
        """Ask Consul until it does it: after its servers were away it knows not even the root token for a moment."""

        def done() -> bool:
            with contextlib.suppress(ConsulError):
                call()
                return True
            return False

        until(done, 15.0, "Consul does as it is told", every=0.1)

    # -- Consul's rights ---------------------------------------------------------------------------------------

    def _made_policy(self) -> str:
        with contextlib.suppress(ConsulError):  # servers that have just met are in "legacy mode" for a moment
            return str(self.consul.call("PUT", "/acl/policy", {"Name": POLICY, "Rules": READ})["ID"])
        return ""

    def weaken(self, rules: str) -> None:
        """Change what the daemon's token may see."""
        self.consul.call("PUT", f"/acl/policy/{self._policy}", {"Name": POLICY, "Rules": rules})

    def grant(self) -> None:
        """Make the daemon's token."""
        body = {"AccessorID": ACCESSOR, "SecretID": SECRET, "Policies": [{"Name": POLICY}]}
        self.consul.call("PUT", "/acl/token", body)

    def revoke(self) -> None:
        """Delete the daemon's token."""
        self.consul.call("DELETE", f"/acl/token/{ACCESSOR}")

    # -- what is seen ------------------------------------------------------------------------------------------

    def http(self, method: str, target: str, body: object = None) -> int:
        """Make one call to the daemon and return the status."""
        connection = HostConnection(self.host, "127.0.0.1", 8080, 5.0)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            response.read()
            return response.status

    def ready(self, deadline: float = 20.0) -> None:
        """Wait until the daemon says that the host is as it should be."""

        def is_ready() -> bool:
            if not self.daemon.process.alive:
                raise RuntimeError(f"the daemon has ended: {self.daemon.log()[-2000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.http("GET", "/readyz") == 200
            return False

        until(is_ready, deadline, "the daemon is ready", every=0.05)

    def sessions(self) -> int:
        """How many sessions the router has seen come up since it was first started."""
        logs = self.lab.dir.glob("*-tor-bird.log")
        return sum(log.read_text(errors="replace").count("BGP session established") for log in logs)

    def exabgp(self) -> int:
        """ExaBGP's process id; waits until there is one."""
        return until(lambda: self._child_of(self.daemon.process.pid, "exabgp"), 15.0, "ExaBGP runs")

    def exabgps_relay(self) -> int:
        """The process id of ExaBGP's relay; waits until there is one."""
        return until(lambda: self._child_of(self.exabgp(), "relay.py"), 15.0, "ExaBGP's relay runs")

    def _child_of(self, pid: int, word: str) -> int | None:
        for child in children(pid):
            with contextlib.suppress(OSError):
                if word in Path(f"/proc/{child}/cmdline").read_text():
                    return child
        return None

    def operators_table(self) -> str:
        """Somebody else's NAT rules."""
        return self.host.run("nft", "list", "table", "inet", "operator")
