"""The policy of docs/consul-acl.md against a real Consul with default deny, told at the router; and with less."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Bird, ConsulAgent, Daemon, Lab, NotInTime, Peer, until
from integration.lab.consul import ConsulError, ttl_check

VIP, OTHER = "203.0.113.10/32", "203.0.113.11/32"
ROOT = "root"  # Consul's almighty token
ACL = {
    "enabled": True,
    "default_policy": "deny",
    "policy_ttl": "1s",
    "token_ttl": "1s",
    "tokens": {"master": ROOT, "agent": ROOT},
}
NODE_LINE, SERVICE_LINE = 'node "host" { policy = "read" }', 'service_prefix "" { policy = "read" }'


def documented() -> str:
    """The policy as the page has it, for this node."""
    return _policies()[0]


def to_publish() -> str:
    """What the page adds to it."""
    return _policies()[1]


def _policies() -> tuple[str, str]:
    page = (Path(__file__).parents[1] / "docs/consul-acl.md").read_text()
    plain, more = re.findall(r"```hcl\n(.*?)```", page, re.DOTALL)
    return str(plain).replace("host-1", "host"), str(more).replace("host-1", "host")


def without(right: str) -> str:
    """That policy without one of its rights."""
    less = re.sub(rf'{right} ".*?" {{.*?}}\n', "", documented(), flags=re.DOTALL)
    assert less != documented()
    assert less.strip()
    return less


@dataclass
class World:
    """A host whose Consul denies what no policy allows, and the daemon with a token in a file."""

    lab: Lab
    bird: Bird
    consul: ConsulAgent
    daemon: Daemon
    policy: str
    accessor: str

    def rules(self, rules: str) -> None:
        """Change what the daemon's token may."""
        self.consul.call("PUT", f"/acl/policy/{self.policy}", {"Name": "consulcast", "Rules": rules})

    def delete_token(self) -> None:
        self.consul.call("DELETE", f"/acl/token/{self.accessor}")

    def write_token(self, secret: str) -> None:
        token_file(self.lab).write_text(f"{secret}\n")

    def register(self, name: str, vip: str) -> None:
        tags = ["enable_gocast", f"gocast_vip={vip}", "gocast_monitor=consul"]
        self.consul.register(name, tags, check=ttl_check("passing"))

    def says(self, text: str) -> None:
        """Wait for a line of the log, while the VIP is where it was."""
        try:
            self.daemon.wait_line(re.escape(text), 60.0)
        finally:
            assert VIP in self.bird.routes()

    def nothing_was_withdrawn_and_it_goes_on(self) -> None:
        """What comes is taken and what goes is believed, as ever."""
        self.daemon.wait_line("Consul is believed again", 60.0)
        assert self.bird.counters().withdraws == 0
        self.register("ntp", OTHER)
        self.bird.wait_routes({VIP, OTHER}, deadline=60.0)
        self.consul.deregister("ntp")
        self.bird.wait_routes({VIP}, deadline=60.0)


def token_file(lab: Lab) -> Path:
    return lab.dir / "token"


def make(lab: Lab, rules: str, **more: Any) -> World:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    consul = ConsulAgent(host, config={"acl": ACL, "primary_datacenter": "dc1"}, token=ROOT)
    policy = consul.call("PUT", "/acl/policy", {"Name": "consulcast", "Rules": rules})["ID"]
    accessor, secret = new_token(consul)
    token_file(lab).write_text(secret)
    config: dict[str, Any] = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "drain_time": "100ms"},
        "consul": {"token_file": str(token_file(lab)), "wait": "2s", "restart_grace": "1s", "removal_hold": "1s"},
        "bgp": {"local_as": 65001, "peers": [{"address": "198.51.100.2", "peer_as": 65010}]},
        **more,
    }
    daemon = Daemon(host, config, node=consul.node)
    return World(lab, bird, consul, daemon, policy, accessor)


def new_token(consul: ConsulAgent) -> tuple[str, str]:
    """A token of the policy: its accessor and its secret."""
    token = consul.call("PUT", "/acl/token", {"Policies": [{"Name": "consulcast"}]})
    return token["AccessorID"], token["SecretID"]


@pytest.fixture
def announced(lab: Lab) -> World:
    made = make(lab, documented())
    made.register("dns", VIP)
    made.bird.wait_routes({VIP}, deadline=20.0)
    return made


def test_with_the_documented_policy_everything_works(announced: World) -> None:
    announced.consul.update_check("critical", service_id="dns")
    announced.bird.wait_routes(set())
    announced.consul.update_check("passing", service_id="dns")
    announced.bird.wait_routes({VIP})
    announced.consul.deregister("dns")
    announced.bird.wait_routes(set())
    log = announced.daemon.log()
    assert "may not see" not in log
    assert "consul-stale" not in log


@pytest.mark.parametrize(
    ("right", "line"), [("node", NODE_LINE), ("service_prefix", SERVICE_LINE)], ids=["node", "services"]
)
def test_started_with_a_right_less_it_names_it_and_works_when_it_is_given(lab: Lab, right: str, line: str) -> None:
    made = make(lab, without(right))
    made.register("dns", VIP)
    warned = made.daemon.wait_line("the Consul token may not see everything", 20.0)
    assert warned.endswith(f"give its policy {line}")
    made.daemon.wait_line(f"consul-stale: nothing is announced before a good answer: .*{re.escape(right)}", 20.0)
    assert made.bird.routes() == {}
    made.rules(documented())
    made.bird.wait_routes({VIP}, deadline=60.0)


@pytest.mark.parametrize(
    ("right", "line"),
    [("node", NODE_LINE), ("service_prefix", 'service "dns" { policy = "read" }')],
    ids=["node", "services"],
)
def test_a_right_taken_away_at_run_time_is_named_and_nothing_withdrawn(announced: World, right: str, line: str) -> None:
    announced.rules(without(right))
    announced.says(line)
    announced.consul.update_check("passing", service_id="dns")
    with pytest.raises(NotInTime):
        until(lambda: VIP not in announced.bird.routes(), 6.0, "it is withdrawn")  # three blocking queries long
    announced.rules(documented())
    announced.nothing_was_withdrawn_and_it_goes_on()


def test_a_deleted_token_holds_and_a_new_one_in_the_file_is_taken(announced: World) -> None:
    announced.delete_token()
    announced.says("Consul does not know our token (403)")
    announced.write_token(new_token(announced.consul)[1])
    announced.nothing_was_withdrawn_and_it_goes_on()


def test_a_token_rotated_as_the_page_says_is_not_even_a_denied_answer(announced: World) -> None:
    accessor, secret = new_token(announced.consul)
    announced.write_token(secret)
    announced.delete_token()
    with pytest.raises(NotInTime):
        announced.daemon.wait_line("our token", 6.0)  # three blocking queries long
    announced.register("ntp", OTHER)
    announced.bird.wait_routes({VIP, OTHER})
    announced.consul.deregister("ntp")  # the second look has a token of its own
    announced.bird.wait_routes({VIP}, deadline=3.0)
    assert "consul-stale" not in announced.daemon.log()
    assert accessor not in announced.daemon.log()
    assert secret not in announced.daemon.log()


PUBLISH = {"kv": "consulcast/", "service": "consulcast", "ttl": "15s"}


def published(world: World) -> bool:
    """Whether the node's key and the tagged service are there."""
    try:
        found = world.consul.call("GET", "/kv/consulcast/host/vips/203.0.113.10_32")
    except ConsulError:
        return False
    return bool(found) and "dns" in world.consul.services().get("consulcast:consulcast", {}).get("Tags", ())


def test_to_publish_the_documented_rights_are_enough(lab: Lab) -> None:
    made = make(lab, documented() + to_publish(), publish=PUBLISH)
    made.register("dns", VIP)
    made.bird.wait_routes({VIP}, deadline=20.0)
    until(lambda: published(made), 20.0, "it is published")
    assert "does not take it" not in made.daemon.log()
    made.daemon.stop()
    until(lambda: not published(made), 5.0, "it is taken back")


@pytest.mark.parametrize("right", ["key_prefix", "session", "service"])
def test_without_a_right_to_publish_nothing_else_changes_and_it_goes_on_when_it_is_given(lab: Lab, right: str) -> None:
    more = re.sub(rf'{right} ".*?" {{.*?}}\n', "", to_publish(), flags=re.DOTALL)
    assert more != to_publish()
    made = make(lab, documented() + more, publish=PUBLISH)
    made.register("dns", VIP)
    made.bird.wait_routes({VIP}, deadline=20.0)
    form = "publish.service" if right == "service" else "publish.kv"
    said = made.daemon.wait_line(f"{form}: Consul does not take it", 20.0)
    assert "docs/consul-acl.md" in said
    assert not published(made)
    made.rules(documented() + to_publish())
    made.daemon.wait_line(f"{form}: published again", 60.0)
    until(lambda: published(made), 20.0, "it is published")
    assert made.daemon.log().count(f"{form}: Consul does not take it") == 1
    assert made.bird.counters().withdraws == 0
