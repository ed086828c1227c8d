"""The whole source against a small Consul of the test's own: blocking queries, agent lists, rights."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest
from gevent.event import Event

from consulcast import tags
from consulcast.consul.hold_down import HoldDown
from consulcast.consul.settings import settings_from
from consulcast.consul.source import ConsulSource
from consulcast.model import AppKey, Health, Source
from tests.consul.server import CONSUL, Request, Server, reply

TAGS = ["enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=consul"]


@dataclass
class FakeConsul:
    """A node's agent and server. What a test changes is seen by parked queries at ``tell``."""

    services: dict[str, list[str]] = field(default_factory=dict)  # ServiceID: tags; with the agent and in the catalog
    checks: dict[str, str] = field(default_factory=dict)  # ServiceID: status
    unlisted: set[str] = field(default_factory=set)  # ServiceIDs that the catalog leaves out, though the agent has them
    rights: bool | None = None  # what the token may see; None: ACLs are off
    unknown: bool = False  # a consistent read does not know the node
    broken: bytes | None = None  # the answer to everything
    headers: dict[str, str] = field(default_factory=dict)  # of every answer, beside the usual ones
    hanging: bool = False  # answers nothing
    index: int = 10
    changed: Event = field(default_factory=Event)

    def tell(self) -> None:
        """Wake the parked queries."""
        self.index += 1
        self.changed.set()
        self.changed = Event()

    def register(self, name: str, status: str = "passing", more: list[str] | None = None) -> None:
        self.services[name], self.checks[name] = TAGS + (more or []), status
        self.tell()

    def deregister(self, name: str) -> None:
        del self.services[name], self.checks[name]
        self.tell()

    def answer(self, request: Request) -> bytes:
        while self.hanging:
            gevent.sleep(0.02)
        if self.broken is not None:
            return self.broken
        if int(request.query.get("index", 0)) >= self.index:
            self.changed.wait(float(request.query["wait"].removesuffix("ms")) / 1000)
        if self.broken is not None:
            return self.broken
        headers = CONSUL | {"X-Consul-Index": str(self.index)} | self.headers
        return reply(json.dumps(self._body(request)), headers=headers)

    def _body(self, request: Request) -> Any:
        seen = {} if self.rights is False else {n: t for n, t in self.services.items() if n not in self.unlisted}
        if self.unknown and "consistent" in request.query:
            return None
        if request.path.startswith("/v1/catalog/node/"):
            found = {n: {"ID": n, "Service": n, "Tags": t, "CreateIndex": 1} for n, t in seen.items()}
            return {"Node": {"Node": "n1"}, "Services": found}
        if request.path.startswith("/v1/health/node/"):
            serf = {"CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}
            own = [{"CheckID": f"service:{n}", "Status": self.checks[n], "ServiceID": n} for n in seen]
            return [serf, *own]
        if request.path == "/v1/agent/services":
            return {n: {"Service": n} for n in self.services if self.rights is not False}
        if request.path == "/v1/agent/checks":
            return {f"service:{n}": {"ServiceID": n} for n in self.services if self.rights is not False}
        return [{"Allow": self.rights} for _ in json.loads(request.body)]


@dataclass
class Setup:
    """A source that watches a fake Consul."""

    consul: FakeConsul
    server: Server
    source: ConsulSource
    changes: list[int]
    failures: list[BaseException]

    def until(self, fact: Callable[[], bool], seconds: float = 3.0) -> None:
        with gevent.Timeout(seconds, AssertionError(f"not in time; state: {self.source.state}")):
            while not fact():
                gevent.sleep(0.002)

    def synced(self, *names: str) -> None:
        self.until(lambda: self.source.state.synced and self.ids == set(names))

    @property
    def ids(self) -> set[str]:
        return {app.key.id for app in self.source.state.apps}

    def health(self, name: str) -> Health:
        (verdict,) = [v for key, v in self.source.state.verdicts.items() if key.app == AppKey(Source.CONSUL, name)]
        return verdict.health


@pytest.fixture
def watched(request: pytest.FixtureRequest) -> Iterator[Setup]:
    consul = FakeConsul()
    consul.register("dns")
    with Server(lambda request: _authorized(consul, request)) as server:
        changes: list[int] = []
        failures: list[BaseException] = []
        source = ConsulSource(
            settings_from({}, address=server.address),
            "n1",
            tags.parse,
            lambda: changes.append(1),
            failed=failures.append,
            restart_grace=0.3,
            **getattr(request, "param", {}),
        )
        yield Setup(consul, server, source, changes, failures)
        gevent.sleep(0.02)  # gevent warns of a socket that is closed in the moment it is first waited for
        source.stop()
        assert failures == []


def _authorized(consul: FakeConsul, request: Request) -> bytes:
    if request.path.endswith("authorize") and consul.rights is None and consul.broken is None:
        return reply("ACL support disabled", 401)
    return consul.answer(request)


def test_apps_and_verdicts_are_there_once_both_queries_were_answered(watched: Setup) -> None:
    assert (watched.source.state.synced, watched.source.state.apps) == (False, ())
    watched.source.start()
    watched.synced("dns")
    assert watched.health("dns") is Health.PASSING
    assert watched.source.state.stale_since is None


def test_changes_are_seen_and_told(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    watched.changes.clear()
    watched.consul.register("web", "critical")
    watched.synced("dns", "web")
    watched.until(lambda: len(watched.source.state.verdicts) == 2 and watched.health("web") is Health.FAILING)
    watched.consul.register("web", "passing")
    watched.until(lambda: watched.health("web") is Health.PASSING)
    watched.consul.register("web", more=["gocast_vip=203.0.113.11/32"])
    watched.until(lambda: max(len(app.vips) for app in watched.source.state.apps) == 2)
    assert watched.changes


def test_a_wake_up_without_a_change_tells_nobody(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    gevent.sleep(0.05)
    watched.changes.clear()
    before = watched.source.state
    seen = len(watched.server.requests)
    watched.consul.tell()
    watched.until(lambda: len(watched.server.requests) >= seen + 2)
    assert watched.source.state is before
    assert not watched.changes


def test_a_deregistered_service_goes_and_everyone_was_asked_first(watched: Setup) -> None:
    watched.consul.register("web")
    watched.source.start()
    watched.synced("dns", "web")
    gevent.sleep(0.05)
    watched.server.requests.clear()
    watched.consul.deregister("web")
    watched.synced("dns")
    asked = {request.path for request in watched.server.requests if "index" not in request.query}
    assert asked == {"/v1/catalog/node/n1", "/v1/agent/services"}, "ACLs are off, as was learned at the start"
    assert any(request.query.get("consistent") for request in watched.server.requests)
    assert watched.source.state.stale_since is None


def test_a_service_that_the_agent_still_has_is_held_and_taken_again(watched: Setup, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    watched.source.start()
    watched.synced("dns")
    watched.consul.unlisted.add("dns")
    watched.consul.tell()
    watched.until(lambda: "the agent still has it" in watched.source.state.stale_reason)
    assert watched.ids == {"dns"}
    assert watched.source.state.stale_since is not None
    assert "consul-stale: the last good answer stands: service 'dns' held" in caplog.text
    assert caplog.text.count("app consul:dns held: the agent still has it registered") == 1
    assert set(watched.source.state.held) == {AppKey(Source.CONSUL, "dns")}
    watched.consul.unlisted.clear()
    watched.consul.tell()
    watched.until(lambda: watched.source.state.stale_since is None)
    assert "Consul is believed again" in caplog.text


def test_a_second_look_that_does_not_find_the_node_believes_nothing(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    watched.consul.unknown = True
    watched.consul.deregister("dns")
    watched.until(lambda: "does not know node 'n1'" in watched.source.state.stale_reason)
    assert watched.ids == {"dns"}


def test_an_agent_that_is_back_may_have_acls_which_it_had_not(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    watched.consul.broken = b""
    watched.consul.tell()
    watched.until(lambda: watched.source.state.stale_since is not None)
    watched.consul.broken, watched.consul.rights = None, False
    watched.until(lambda: "our token may not see it" in watched.source.state.stale_reason)
    assert watched.ids == {"dns"}


def test_a_token_that_lost_its_rights_withdraws_nothing_and_names_what_it_lacks(watched: Setup) -> None:
    watched.consul.rights = True
    watched.source.start()
    watched.synced("dns")
    watched.consul.rights = False
    watched.consul.tell()
    watched.until(lambda: 'service "dns" { policy = "read" }' in watched.source.state.stale_reason)
    assert watched.ids == {"dns"}
    assert watched.health("dns") is Health.PASSING


def test_a_token_without_rights_at_the_start_is_told_and_emptiness_is_not_believed(watched: Setup, caplog: Any) -> None:
    watched.consul.rights = False
    watched.source.start()
    watched.until(lambda: "our token may not see it" in watched.source.state.stale_reason)
    assert not watched.source.state.synced
    assert 'service_prefix "" { policy = "read" }' in caplog.text


@dataclass(frozen=True)
class Wrong:
    """How Consul is wrong: the answer to everything, or what is set on the fake one."""

    told: str
    broken: bytes | None = None
    rights: bool | None = None
    unlisted: bool = False
    hanging: bool = False
    headers: dict[str, str] = field(default_factory=dict)


WRONG = {
    "closes connections": Wrong("cannot be reached", b""),
    "frozen": Wrong("takes requests and does not answer", hanging=True),
    "no leader": Wrong("servers do not answer", reply("No cluster leader", 500)),
    "no leader, with 200": Wrong("without a leader", headers={"X-Consul-Knownleader": "false"}),
    "staler than max_stale": Wrong("without a leader", headers={"X-Consul-Lastcontact": "60000"}),
    "token unknown": Wrong("does not know our token", reply("ACL not found", 403)),
    "denied": Wrong("docs/consul-acl.md", reply("Permission denied", 403)),
    "429": Wrong("limits our requests", reply("slow down", 429)),
    "503": Wrong("limits our requests", reply("busy", 503)),
    "500": Wrong("Consul refuses", reply("internal", 500)),
    "502 of a proxy": Wrong("Consul refuses", reply("<html>bad gateway", 502, {})),
    "redirect": Wrong("is redirected", reply("", 301)),
    "html": Wrong("not what Consul answers", reply("<html>")),
    "cut JSON": Wrong("not what Consul answers", reply('{"Node":')),
    "another shape": Wrong("not what Consul answers", reply("[1]")),
    "no index": Wrong("no usable X-Consul-Index", reply("null", headers={})),
    "null": Wrong("does not know node 'n1'", reply("null")),
    "empty where it was full": Wrong("the agent still has it registered", unlisted=True),
    "filtered": Wrong("our token may not see it", rights=False, headers={"X-Consul-Results-Filtered-By-ACLs": "true"}),
}


@pytest.mark.parametrize("watched", [{"wait": 0.5}], indirect=True)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_with_consul_the_last_state_stands_and_says_so(
    watched: Setup, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consulcast.consul.client.SLACK", 0.2)
    consul, source = watched.consul, watched.source
    consul.rights = None if wrong.rights is None else True
    source.start()
    watched.synced("dns")
    consul.broken, consul.hanging, consul.headers = wrong.broken, wrong.hanging, wrong.headers
    consul.rights = wrong.rights
    consul.unlisted.update(["dns"] if wrong.unlisted else [])
    consul.tell()
    watched.until(lambda: wrong.told in source.state.stale_reason)
    assert (watched.ids, watched.health("dns")) == ({"dns"}, Health.PASSING)
    assert source.state.stale_since is not None
    stale = source.state.unknown[AppKey(Source.CONSUL, "dns")]
    assert (stale.since, stale.reason in source.state.stale_reason) == (source.state.stale_since, True)
    consul.broken, consul.hanging, consul.headers = None, False, {}
    consul.rights = None if wrong.rights is None else True
    consul.unlisted.clear()
    consul.tell()
    watched.until(lambda: source.state.stale_since is None)
    assert (source.state.stale_reason, source.state.unknown) == ("", {})
    consul.register("web")
    watched.synced("dns", "web")


@pytest.mark.parametrize("watched", [{"hold_down": HoldDown(0.5, 0.5)}], indirect=True)
def test_most_apps_gone_at_once_are_held_and_then_believed(watched: Setup, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    for name in ("web", "ntp"):
        watched.consul.register(name)
    watched.source.start()
    watched.synced("dns", "web", "ntp")
    gevent.sleep(0.1)
    for name in ("web", "ntp"):
        del watched.consul.services[name], watched.consul.checks[name]
    watched.consul.tell()
    watched.until(lambda: "2 of 3 apps would go at once" in watched.source.state.stale_reason)
    assert {key.id for key in watched.source.state.held} == {"web", "ntp"}
    assert watched.ids == {"dns", "web", "ntp"}
    assert {watched.health(name) for name in watched.ids} == {Health.PASSING}
    watched.synced("dns")
    assert watched.source.state.stale_since is None
    looks = [request for request in watched.server.requests if request.path == "/v1/agent/services"]
    assert len(looks) == 2, "one to see that they are gone, and one to see that they stay so"
    assert "Consul is believed again, after 0." in caplog.text


def test_a_source_with_other_settings_goes_on_from_what_the_former_one_believes(watched: Setup, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "consulcast")
    watched.consul.register("web")
    watched.source.start()
    watched.synced("dns", "web")
    gevent.sleep(0.02)  # as in the fixture
    watched.source.stop()
    source = ConsulSource(
        settings_from({}, address=watched.server.address),
        "n1",
        tags.parse,
        lambda: None,
        failed=watched.failures.append,
        hold_down=HoldDown(0.5, 0.5),
    )
    caplog.clear()
    source.inherit(watched.source)
    assert source.state is watched.source.state
    watched.source = source
    watched.consul.services.clear()
    watched.consul.checks.clear()
    source.start()
    watched.until(lambda: "2 of 2 apps would go at once" in source.state.stale_reason)
    assert watched.ids == {"dns", "web"}
    watched.synced()
    assert caplog.text.count("in sync with Consul") == 1, "the new settings work, and that is worth a line"


def test_a_source_for_another_node_inherits_nothing(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    other = settings_from({}, address=watched.server.address)
    source = ConsulSource(other, "n2", tags.parse, lambda: None, failed=watched.failures.append)
    source.inherit(watched.source)
    assert not source.state.synced


def test_a_restart_while_nothing_is_asked_shows_by_the_connection_that_was_closed(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    for _ in range(8):  # a storm: both queries pause
        watched.consul.tell()
        gevent.sleep(0.02)
    seen = len(watched.server.requests)
    gevent.sleep(0.1)
    assert len(watched.server.requests) == seen, "nothing is asked now"
    watched.server.drop()
    watched.consul.index, watched.consul.checks["dns"] = 2, "critical"
    watched.until(lambda: "settled" in watched.source.state.stale_reason, 5.0)
    assert watched.health("dns") is Health.PASSING
    watched.until(lambda: watched.health("dns") is Health.FAILING, 5.0)


def test_queries_are_counted(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    catalog = watched.source.queries["catalog"]
    assert (catalog.returns, catalog.resets, sum(catalog.errors.values())) == (1, 0, 0)
    good_at = watched.source.good_at["catalog"]
    assert good_at is not None
    watched.consul.broken = reply("slow down", 429)
    watched.consul.tell()
    watched.until(lambda: bool(catalog.errors))
    assert (catalog.errors, catalog.resets) == ({"rate-limited": 1}, 1)
    watched.consul.broken = None
    watched.until(lambda: watched.source.state.stale_since is None)
    assert catalog.returns == 2
    assert watched.source.good_at["catalog"] > good_at  # type: ignore[operator]


def test_an_outage_is_one_line_and_another_trouble_another(watched: Setup, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[str]:
        return [line.getMessage() for line in caplog.records if "consul-stale" in line.getMessage()]

    def reason(*words: str) -> bool:
        state = watched.source.state
        return bool(state.stale_reason) and all(word in state.stale_reason for word in words)

    watched.source.start()
    watched.synced("dns")
    watched.consul.broken = b""  # it ends, with one word of the kernel's or another
    watched.consul.tell()
    watched.until(lambda: reason("cannot be reached"))
    watched.server.listener = ("127.0.0.1", int(watched.server.address.rpartition(":")[2]))
    watched.server.__exit__()
    watched.until(lambda: reason("Connection refused") and not reason("; "))
    assert len(told()) == 1, told()
    watched.consul.broken = reply("internal", 500)
    with watched.server:
        watched.until(lambda: reason("Consul refuses") and not reason("cannot be reached"), 10.0)
        assert len(told()) == 2, told()
        assert "(500: internal)" in told()[1]


def test_a_restarted_agent_with_failing_checks_is_ridden_out_and_believed_after_the_grace(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    watched.consul.broken = b""  # closes the connection
    watched.consul.tell()
    watched.until(lambda: watched.source.state.stale_since is not None)
    watched.consul.broken, watched.consul.index = None, 3
    watched.consul.checks["dns"] = "critical"
    watched.until(lambda: "settled" in watched.source.state.stale_reason)
    assert watched.health("dns") is Health.PASSING
    watched.until(lambda: watched.health("dns") is Health.FAILING)
    assert watched.source.state.stale_since is None


def test_a_service_registered_again_after_a_restart_is_taken_at_once(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    watched.consul.broken = b""
    watched.consul.tell()
    watched.until(lambda: watched.source.state.stale_since is not None)
    watched.consul.services.clear()
    watched.consul.checks.clear()
    watched.consul.broken, watched.consul.index = None, 2  # the same agent with nothing in it, and a smaller index
    gevent.sleep(0.4)
    watched.consul.register("web")
    watched.until(lambda: "web" in watched.ids)
    watched.synced("web")  # and what was not registered again goes when Consul has settled


def test_stopping_is_quick_and_leaves_the_state(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    state = watched.source.state
    gevent.sleep(0.02)
    with gevent.Timeout(1):
        watched.source.stop()
    watched.consul.register("web")
    gevent.sleep(0.05)
    assert watched.source.state is state


def test_a_defect_behind_on_change_is_told(watched: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *_: None)

    def defect() -> None:
        raise ZeroDivisionError

    watched.source._on_change = defect
    watched.source.start()
    watched.until(lambda: bool(watched.failures))
    assert {type(failure) for failure in watched.failures} == {ZeroDivisionError}
    watched.failures.clear()


def test_change_is_dated_from_the_answer_that_brought_it_and_not_from_what_came_of_it(watched: Setup) -> None:
    watched.source.start()
    watched.synced("dns")
    before = time.monotonic()
    watched.consul.register("web")
    watched.synced("dns", "web")
    assert before <= watched.source.changed_at <= time.monotonic()


@pytest.mark.parametrize("watched", [{"hold_down": HoldDown(0.5, 0.3)}], indirect=True)
def test_service_that_goes_after_a_hold_down_is_dated_from_its_end(watched: Setup) -> None:
    for name in ("web", "www"):
        watched.consul.register(name)
    watched.source.start()
    watched.synced("dns", "web", "www")
    gevent.sleep(0.05)
    before = time.monotonic()
    for name in ("dns", "web", "www"):
        watched.consul.deregister(name)
    watched.synced()
    assert watched.source.changed_at >= before + 0.3
