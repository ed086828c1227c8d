"""The Consul source against the real Consul: what is announced, and what is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from integration.consul_watcher import Watcher
from integration.lab import Consul, ConsulAgent, Host, until
from integration.lab.consul import ttl_check

VIP = "203.0.113.10/32"
TAGS = ["enable_gocast", f"gocast_vip={VIP}", "gocast_monitor=consul"]


def register(consul: Consul, name: str = "dns", status: str = "passing", *more: str, id: str = "") -> None:
    consul.register(name, [*TAGS, *more], id=id or name, check=ttl_check(status))


@pytest.fixture
def consul(host: Host) -> ConsulAgent:
    return ConsulAgent(host)


@pytest.fixture
def watcher(consul: ConsulAgent) -> Watcher:
    """A source that is in sync, with the service ``dns`` passing."""
    register(consul)
    made = Watcher(consul)
    made.until(lambda state: state.health.get("dns") == "passing")
    return made


def never_lost(watcher: Watcher, *names: str) -> None:
    """No state ever was without these apps, nor were they not passing in one."""
    for state in watcher.history():
        assert set(names) <= set(state.apps)
        assert {state.health[name] for name in names} == {"passing"}


# What is true is seen


def test_a_node_without_any_service_is_in_sync(host: Host, consul: ConsulAgent) -> None:
    Watcher(consul).synced()


def test_registering_tagging_failing_and_leaving_are_seen(consul: ConsulAgent) -> None:
    watcher = Watcher(consul)
    watcher.synced()
    register(consul)
    watcher.until(lambda state: state.health == {"dns": "passing"} and state.apps == {"dns": [VIP]})
    register(consul, "dns", "passing", "gocast_vip=2001:db8::10/128")
    watcher.until(lambda state: state.apps == {"dns": [VIP, "2001:db8::10/128"]})
    consul.update_check("critical", service_id="dns")
    state = watcher.until(lambda state: state.health == {"dns": "failing"})
    assert state.detail == {"dns": "check 'service:dns' is critical"}
    consul.update_check("warning", service_id="dns")
    watcher.until(lambda state: state.detail == {"dns": "check 'service:dns' is warning"})
    consul.update_check("passing", service_id="dns")
    watcher.until(lambda state: state.health == {"dns": "passing"})
    consul.register("dns", ["some-tag"], check=ttl_check())
    watcher.synced()
    register(consul)
    watcher.synced("dns")
    consul.deregister("dns")
    watcher.synced()
    assert {state.stale for state in watcher.history()} == {""}


def test_two_instances_of_one_service_come_and_go_each_for_itself(consul: ConsulAgent) -> None:
    register(consul, id="dns-1")
    register(consul, status="critical", id="dns-2")
    watcher = Watcher(consul)
    watcher.until(lambda state: state.health == {"dns-1": "passing", "dns-2": "failing"})
    consul.deregister("dns-1")
    watcher.synced("dns-2")


def test_bad_tags_are_refused_and_the_others_go_on(watcher: Watcher, consul: ConsulAgent) -> None:
    consul.register("bad", ["enable_gocast", "gocast_vip=10.0.0.256/32"])
    watcher.until(lambda state: "10.0.0.256" in state.refused.get("bad", ""))
    never_lost(watcher, "dns")


def test_one_check_that_leaves_a_service_is_believed(watcher: Watcher, consul: ConsulAgent) -> None:
    second = {"Name": "second", "ID": "second", "ServiceID": "dns", "TTL": "600s", "Status": "critical"}
    consul.call("PUT", "/agent/check/register", second)
    watcher.until(lambda state: state.detail["dns"] == "check 'second' is critical")
    consul.call("PUT", "/agent/check/deregister/second")
    watcher.until(lambda state: state.health["dns"] == "passing")
    consul.call("PUT", "/agent/check/deregister/service:dns")
    watcher.until(lambda state: "no check" in state.detail["dns"])


def test_maintenance_of_the_service_and_of_the_node_is_a_drain(watcher: Watcher, consul: ConsulAgent) -> None:
    for service in ("dns", ""):
        consul.maintenance(True, service, reason="upgrade")
        state = watcher.until(lambda state: state.health["dns"] == "draining")
        assert state.detail["dns"].endswith("in maintenance mode: upgrade")
        consul.maintenance(False, service)
        watcher.until(lambda state: state.health["dns"] == "passing")


def test_a_failing_check_of_the_node_fails_its_services(watcher: Watcher, consul: ConsulAgent) -> None:
    disk = {"Name": "disk", "TTL": "600s", "Status": "critical"}
    consul.call("PUT", "/agent/check/register", disk)
    watcher.until(lambda state: state.detail["dns"] == "check 'disk' is critical")
    consul.call("PUT", "/agent/check/deregister/disk")
    watcher.until(lambda state: state.health["dns"] == "passing")


# What is a lie is not believed


def test_an_agent_that_starts_anew_with_a_smaller_index_is_ridden_out(watcher: Watcher, consul: ConsulAgent) -> None:
    for number in range(30):
        consul.register(f"filler-{number}")
    consul.kill()
    watcher.until(lambda state: "cannot be reached" in state.stale)
    consul.start()
    until(lambda: "dns" not in consul.services(), 5.0, "the new agent knows nothing")
    register(consul, "dns", "passing", "gocast_vip=203.0.113.11/32")
    watcher.until(lambda state: state.apps["dns"] == [VIP, "203.0.113.11/32"])
    watcher.until(lambda state: not state.stale)
    never_lost(watcher, "dns")


def test_a_check_that_is_critical_after_the_restart_counts_when_the_grace_is_over(
    watcher: Watcher, consul: ConsulAgent
) -> None:
    consul.restart(crash=True)
    register(consul, "dns", "critical")
    watcher.until(lambda state: "settled" in state.stale)
    never_lost(watcher, "dns")
    state = watcher.until(lambda state: state.health["dns"] == "failing")
    assert not state.stale


def test_a_service_that_is_not_registered_again_goes_when_the_grace_is_over(
    watcher: Watcher, consul: ConsulAgent
) -> None:
    consul.restart(crash=True)
    watcher.until(lambda state: "held" in state.stale)
    never_lost(watcher, "dns")
    watcher.synced()


def test_maintenance_is_obeyed_also_right_after_a_restart(consul: ConsulAgent) -> None:
    register(consul)
    watcher = Watcher(consul, grace=300.0)
    watcher.until(lambda state: state.health.get("dns") == "passing")
    consul.restart(crash=True)
    register(consul)
    consul.maintenance(True)
    watcher.until(lambda state: state.health["dns"] == "draining")


@pytest.mark.parametrize("crash", [True, False], ids=["killed", "stopped"])
def test_a_restart_of_a_server_that_keeps_its_data_is_ridden_out(host: Host, crash: bool) -> None:
    consul = ConsulAgent(host, persistent=True)
    register(consul)
    consul.update_check("passing", service_id="dns")  # or it would be critical after the restart
    watcher = Watcher(consul)
    watcher.until(lambda state: state.health.get("dns") == "passing")
    consul.restart(crash=crash)
    register(consul, "web")
    watcher.until(lambda state: "web" in state.apps and not state.stale, 40.0)
    never_lost(watcher, "dns")


def test_an_agent_that_leaves_its_cluster_and_joins_again_is_ridden_out(host: Host, tor: Host) -> None:
    """Debian's unit does so on every restart: unknown node, no checks, then critical ones, all with status 200."""
    bound = {"bind_addr": "198.51.100.2", "advertise_addr": "198.51.100.2"}
    ConsulAgent(tor, persistent=True, config=bound)
    client = {"server": False, "bootstrap_expect": 0, "bind_addr": "198.51.100.1", "retry_join": ["198.51.100.2"]}
    consul = ConsulAgent(host, persistent=True, config={**client, "retry_interval": "1s"})
    register(consul)  # and never updated: critical after the restart, for good
    watcher = Watcher(consul)
    watcher.until(lambda state: state.health.get("dns") == "passing")
    consul.process.stop(30.0)
    watcher.until(lambda state: bool(state.stale))
    consul.start()
    watcher.until(lambda state: "settled" in state.stale, 60.0)
    never_lost(watcher, "dns")
    watcher.until(lambda state: state.health["dns"] == "failing" and not state.stale, 60.0)
    assert {tuple(state.apps) for state in watcher.history()} == {("dns",)}


def test_a_frozen_agent_is_noticed_and_nothing_is_lost(watcher: Watcher, consul: ConsulAgent) -> None:
    consul.pause()
    watcher.until(lambda state: "does not answer" in state.stale, 40.0)
    consul.resume()
    register(consul, "web")
    watcher.until(lambda state: "web" in state.apps and not state.stale, 40.0)
    never_lost(watcher, "dns")


def test_a_service_deleted_behind_the_agents_back_is_held(watcher: Watcher, consul: ConsulAgent) -> None:
    def deleted() -> bool:
        consul.call("PUT", "/catalog/deregister", {"Node": consul.node, "ServiceID": "dns"})
        return any("the agent still has it registered" in state.stale for state in watcher.history())

    until(deleted, 20.0, "the deletion is seen before the agent mends it by chance", every=0.5)
    register(consul, "dns", "passing", "another-tag")  # which makes the agent tell the servers again
    watcher.until(lambda state: not state.stale)
    never_lost(watcher, "dns")


def test_a_node_deleted_behind_the_agents_back_is_held(watcher: Watcher, consul: ConsulAgent) -> None:
    consul.call("PUT", "/catalog/deregister", {"Node": consul.node})
    watcher.until(lambda state: bool(state.stale))
    register(consul, "web")  # the agent tells the servers of everything again
    watcher.until(lambda state: "web" in state.apps and not state.stale)
    never_lost(watcher, "dns")


def test_the_source_waits_for_a_consul_that_comes_later(host: Host, consul: ConsulAgent) -> None:
    consul.kill()
    watcher = Watcher(consul)
    watcher.until(lambda state: "cannot be reached" in state.stale and not state.synced)
    consul.start()
    register(consul)
    watcher.synced("dns")


def test_a_node_that_consul_does_not_know_is_told(consul: ConsulAgent) -> None:
    consul.node = "elsewhere"
    watcher = Watcher(consul)
    state = watcher.until(lambda state: "does not know node 'elsewhere'" in state.stale)
    assert not state.synced


# Rights


ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": "root", "agent": "root"}}}
ALL = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'


class Guarded:
    """A Consul with ACLs, and one token whose policy can be changed."""

    def __init__(self, host: Host, rules: str) -> None:
        self.consul = ConsulAgent(host, config=ACL, token="root")
        self.policy = self._put("/acl/policy", {"Name": "watcher", "Rules": rules})
        self.token = self._put("/acl/token", {"Policies": [{"Name": "watcher"}]})
        register(self.consul)

    def rules(self, rules: str) -> None:
        """Change the token's policy."""
        self._put(f"/acl/policy/{self.policy['ID']}", {"Name": "watcher", "Rules": rules})

    def delete_token(self) -> None:
        self.consul.call("DELETE", f"/acl/token/{self.token['AccessorID']}")

    def watcher(self) -> Watcher:
        return Watcher(self.consul, settings={"token": self.token["SecretID"]})

    def _put(self, path: str, body: object) -> Any:
        return self.consul.call("PUT", path, body)


def test_a_token_that_may_read_is_enough_for_everything(host: Host) -> None:
    guarded = Guarded(host, ALL)
    watcher = guarded.watcher()
    watcher.until(lambda state: state.health.get("dns") == "passing")
    register(guarded.consul, "web")
    watcher.synced("dns", "web")
    guarded.consul.deregister("web")
    watcher.synced("dns")
    assert {state.stale for state in watcher.history()} == {""}


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ('key "x" { policy = "read" }', "has the token's policy node"),
        ('node_prefix "" { policy = "read" }', 'service_prefix "" { policy = "read" }'),
    ],
    ids=["nothing", "node alone"],
)
def test_a_token_that_may_not_read_is_told_at_the_start_and_emptiness_not_believed(
    host: Host, rules: str, missing: str
) -> None:
    guarded = Guarded(host, rules)
    watcher = guarded.watcher()
    state = watcher.until(lambda state: missing in state.stale)
    assert not state.synced
    assert 'service_prefix "" { policy = "read" }' in watcher.process.wait_line("WARNING the Consul token may not see")
    guarded.rules(ALL)
    watcher.until(lambda state: state.health.get("dns") == "passing", 60.0)


def test_a_policy_that_is_weakened_withdraws_nothing_and_says_what_is_missing(host: Host) -> None:
    guarded = Guarded(host, ALL)
    watcher = guarded.watcher()
    watcher.until(lambda state: state.health.get("dns") == "passing")
    guarded.rules('node_prefix "" { policy = "read" }')
    watcher.until(lambda state: 'service "dns" { policy = "read" }' in state.stale, 60.0)
    guarded.rules(ALL)
    watcher.until(lambda state: not state.stale, 60.0)
    never_lost(watcher, "dns")


def test_a_deleted_token_withdraws_nothing_and_is_told(host: Host) -> None:
    guarded = Guarded(host, ALL)
    watcher = guarded.watcher()
    watcher.until(lambda state: state.health.get("dns") == "passing")
    guarded.delete_token()
    watcher.until(lambda state: "does not know our token" in state.stale, 60.0)
    never_lost(watcher, "dns")
