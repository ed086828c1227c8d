"""A drain, told at the router: lower preference, withdrawal, open flows, NAT and address; sessions stay up."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from integration.lab import Lab, Process, UpdateTap, until
from integration.lab.router import RouteInfo
from integration.test_nat import SERVICE
from integration.test_stories import HOST_AS, OTHER, ROUTER_AS, VIP, VIP6, World, world

GSHUT = "65535:0"
ADDRESS, ADDRESS6 = VIP.partition("/")[0], VIP6.partition("/")[0]
LONG = {"wait": "10m", "flows": "0s"}  # a test that needs the lower preference to last has it last


def ask(spine: World, method: str, path: str, body: object = None) -> tuple[int, Any]:
    with spine.host.inside():
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        connection.connect()
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None


def drain(spine: World, target: str, **body: object) -> Any:
    status, answer = ask(spine, "PUT", f"/v1/drains/{target}", body)
    assert status == 200, answer
    return answer


def undrain(spine: World, target: str) -> None:
    assert ask(spine, "DELETE", f"/v1/drains/{target}")[0] == 204


def of_vip(spine: World, vip: str = VIP) -> Any:
    _, answer = ask(spine, "GET", "/v1/vips")
    return next(item for item in answer["vips"] if item["vip"] == vip)


def phase(spine: World, wanted: str, vip: str = VIP, deadline: float = 10.0) -> Any:
    def there() -> Any:
        found = of_vip(spine, vip)
        return found if found["drain"] and found["drain"]["phase"] == wanted else None

    return until(there, deadline, f"the drain of {vip} is {wanted}", every=0.05)


def lowered(spine: World, vip: str = VIP) -> RouteInfo:
    def there() -> RouteInfo | None:
        route = spine.bird.routes()[vip]  # a gap would be a KeyError
        return route if GSHUT in route.communities else None

    return until(there, 10.0, f"{vip} has the lower preference")


def restored(spine: World, vip: str = VIP) -> None:
    until(lambda: GSHUT not in spine.bird.routes()[vip].communities, 10.0, f"{vip} has its own preference again")


@pytest.fixture
def spine(lab: Lab) -> Iterator[World]:
    with world(lab, drain={"wait": "2s", "flows": "0s"}, bgp={"communities": ["65000:9"]}) as made:
        yield made
        assert made.bird.established()


@pytest.fixture
def slow(lab: Lab) -> Iterator[World]:
    with world(lab, drain=LONG) as made:
        yield made


@pytest.mark.parametrize("by", ["api", "consul"])
def test_router_sees_the_lower_preference_and_then_the_withdrawal_and_the_address_goes_last(
    spine: World, by: str
) -> None:
    spine.register("dns", "gocast_vip_communities=65000:1")
    spine.announced()
    with UpdateTap(spine.bird.host) as tap:
        if by == "api":
            answer = drain(spine, "consul:dns", reason="upgrade")
            said = answer["target"], answer["who"], answer["reason"]
            assert said == ("consul:dns", "somebody on this host", "upgrade")
        else:
            spine.consul.maintenance(True, "dns", reason="upgrade")
        assert lowered(spine).communities == ("65000:1", "65000:9", GSHUT)
        vip = phase(spine, "lowered")
        assert (vip["state"], vip["reason"]) == ("announced", "draining")
        assert "upgrade; announced with graceful-shutdown" in vip["detail"]
        assert spine.bird.counters().withdraws == 0
        spine.gone()
        assert spine.has_address(), "the address goes after the route"
        spine.address_goes()
        assert phase(spine, "drained")["state"] == "down"
        seen = tap.updates()
        assert [(VIP in update.announced, VIP in update.withdrawn) for update in seen] == [(True, False), (False, True)]
        assert seen[1].at - seen[0].at > 1.5e9, "the routers have had their time"
        if by == "api":
            undrain(spine, "consul:dns")
        else:
            spine.consul.maintenance(False, "dns")
        spine.announced()
        restored(spine)
        assert tap.count(VIP) == 3
    assert spine.has_address()
    assert of_vip(spine)["drain"] is None


def test_undrain_in_time_costs_one_update_and_no_withdrawal(slow: World) -> None:
    slow.register()
    slow.announced()
    with UpdateTap(slow.bird.host) as tap:
        drain(slow, VIP)
        lowered(slow)
        undrain(slow, VIP)
        restored(slow)
        assert tap.count(VIP) == 2
    assert slow.bird.counters().withdraws == 0


def test_service_that_fails_while_it_drains_is_withdrawn_at_once_and_stays_so(slow: World) -> None:
    slow.register()
    slow.announced()
    slow.consul.maintenance(True, "dns")
    lowered(slow)
    slow.check("critical")
    slow.gone()
    assert "critical" in of_vip(slow)["detail"]
    slow.address_goes()
    slow.check("passing")
    slow.register("ntp", vip=OTHER)
    slow.announced(OTHER)
    assert VIP not in slow.bird.routes(), "a drain announces nothing"


def test_what_was_down_before_stays_down(slow: World) -> None:
    slow.register(status="critical")
    slow.daemon.wait_line("app consul:dns: monitor-failing")
    drain(slow, "dns")
    slow.check("passing")
    slow.register("ntp", vip=OTHER)
    slow.announced(OTHER)
    assert phase(slow, "drained")["reason"] == "draining"
    assert VIP not in slow.bird.routes()
    undrain(slow, "dns")
    slow.announced()
    assert GSHUT not in slow.bird.routes()[VIP].communities


def test_one_instance_that_is_not_drained_keeps_the_vip(slow: World) -> None:
    slow.register(id="dns-1")
    slow.register(id="dns-2")
    slow.announced()
    drain(slow, "dns-1")
    slow.daemon.wait_line("app consul:dns-1: draining")
    slow.stays(seconds=1.0)
    drain(slow, "dns-2")
    lowered(slow)
    undrain(slow, "dns-1")
    restored(slow)


@pytest.mark.parametrize("by", ["api", "consul"])
def test_whole_node_is_drained_with_what_comes_meanwhile(spine: World, by: str) -> None:
    spine.register()
    spine.register("web", vip=VIP6)
    spine.bird.wait_routes({VIP, VIP6})
    if by == "api":
        drain(spine, "node")
    else:
        spine.consul.maintenance(True)
    for vip in (VIP, VIP6):
        lowered(spine, vip)
    spine.bird.wait_routes(set())
    spine.register("ntp", vip=OTHER)
    spine.daemon.wait_line("app consul:ntp: draining")
    spine.address_goes(VIP6)
    assert spine.bird.routes() == {}
    if by == "api":
        undrain(spine, "node")
    else:
        spine.consul.maintenance(False)
    spine.bird.wait_routes({VIP, VIP6, OTHER})


def test_drain_lapses_by_itself(spine: World) -> None:
    spine.register()
    spine.announced()
    drain(spine, "dns", **{"for": "4s"})
    spine.gone()
    spine.announced()
    assert ask(spine, "GET", "/v1/drains")[1] == {"drains": []}


@pytest.mark.parametrize("graceful", ["0s", "60s"])
def test_daemon_that_starts_drained_announces_nothing(lab: Lab, graceful: str) -> None:
    with world(lab, drain=LONG, bgp={"graceful_restart": graceful}, persistent=True) as spine:
        spine.register()
        spine.register("ntp", vip=OTHER)
        spine.bird.wait_routes({VIP, OTHER})
        since = drain(spine, VIP, reason="kernel", **{"for": "1h"})["since"]
        lowered(spine)
        spine.daemon.process.signal(signal.SIGUSR2)
        assert spine.daemon.process.wait(10.0) == 0
        with UpdateTap(spine.bird.host) as tap:
            spine.daemon.start()
            spine.bird.wait_routes({OTHER}, deadline=20.0)
            (entry,) = ask(spine, "GET", "/v1/drains")[1]["drains"]
            assert (entry["target"], entry["reason"], entry["since"]) == (VIP, "kernel", since)
            assert tap.count(VIP) == 0
        undrain(spine, VIP)
        spine.announced()


def test_drain_in_its_wait_survives_the_end_of_its_session_with_the_lower_preference(slow: World) -> None:
    slow.register()
    slow.announced()
    drain(slow, VIP)
    lowered(slow)
    slow.bird.restart()
    slow.announced(deadline=20.0)
    lowered(slow)


def listen(spine: World, *addresses: str, port: int = 8053) -> Process:
    service = spine.host.spawn(sys.executable, "-uc", SERVICE, str(port), *addresses, name="service")
    service.wait_line("ready")
    return service


def connect(spine: World, address: str, port: int) -> socket.socket:
    tor = spine.bird.host
    with tor.inside():
        flow = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    flow.settimeout(5)
    flow.connect((address, port))
    flow.send(b"who?")
    assert flow.recv(99)
    return flow


def route_to(spine: World) -> None:
    """BIRD of the lab does not fill its host's table."""
    spine.bird.host.route(VIP, via="198.51.100.1")
    spine.bird.host.route(VIP6, via="2001:db8::1")


@pytest.mark.parametrize("vip", [VIP, VIP6])
@pytest.mark.parametrize("how", ["nat", "socket", "dual"])
def test_open_flow_keeps_address_and_nat_until_it_ends(lab: Lab, vip: str, how: str) -> None:
    address = vip.partition("/")[0]
    with world(lab, drain={"wait": "1s", "flows": "10m"}, nat={"backend": "nft"}) as spine:
        nats = ["gocast_nat=tcp:53:8053"] if how == "nat" else []
        spine.register("dns", *nats, vip=vip)
        spine.register("ntp", vip=OTHER)
        spine.bird.wait_routes({vip, OTHER})
        route_to(spine)
        here = {"nat": ["198.51.100.1", "2001:db8::1"], "socket": [address], "dual": ["::"]}
        listen(spine, *here[how])
        flow = connect(spine, address, 53 if how == "nat" else 8053)
        drain(spine, "node")
        spine.bird.wait_routes(set())
        spine.address_goes(OTHER)
        until(lambda: of_vip(spine, vip)["drain"]["flows"] == 1, 10.0, "the flow is counted", every=0.1)
        assert phase(spine, "flows", vip)["state"] == "down"
        flow.send(b"and now?")
        assert flow.recv(99), "it goes on"
        assert spine.has_address(vip)
        flow.close()
        spine.address_goes(vip)
        phase(spine, "drained", vip)
        assert "8053" not in spine.host.run("nft", "list", "ruleset")


def test_flow_that_does_not_end_is_waited_for_no_longer_than_flows(lab: Lab) -> None:
    with world(lab, drain={"method": "none", "flows": "3s"}) as spine:
        spine.register()
        spine.announced()
        route_to(spine)
        listen(spine, ADDRESS)
        flow = connect(spine, ADDRESS, 8053)
        with UpdateTap(spine.bird.host) as tap:
            drain(spine, "dns")
            phase(spine, "flows")
            spine.address_goes()
            assert tap.count(VIP) == 1, "method none: the withdrawal alone"
        flow.close()


@pytest.mark.parametrize("peer_as", [ROUTER_AS, HOST_AS])
@pytest.mark.parametrize("method", ["med", "prepend", "graceful-shutdown"])
def test_methods_arrive_at_external_and_internal_peers(lab: Lab, method: str, peer_as: int) -> None:
    with world(lab, router_as=peer_as, drain={**LONG, "method": method, "med": 4000000000, "prepend": 2}) as spine:
        spine.register("dns", "gocast_vip_communities=65000:1")
        spine.announced()
        before = spine.bird.routes()[VIP]
        drain(spine, "dns")
        until(lambda: spine.bird.routes()[VIP] != before, 10.0, "the route is another one")
        after = spine.bird.routes()[VIP]
        internal = peer_as == HOST_AS
        assert before.as_path == (() if internal else (HOST_AS,))
        assert "65000:1" in after.communities
        assert (GSHUT in after.communities) is (method == "graceful-shutdown")
        assert (before.med, after.med) == (None, 4000000000 if method == "med" else None)
        assert after.as_path == (before.as_path * 3 if method == "prepend" else before.as_path)
        assert after.local_pref == (0 if internal and method != "med" else before.local_pref)
        undrain(spine, "dns")
        until(lambda: spine.bird.routes()[VIP] == before, 10.0, "and again what it was")
        assert spine.bird.counters().withdraws == 0


def test_other_settings_count_after_a_reload(slow: World) -> None:
    slow.register()
    slow.announced()
    drain(slow, "dns")
    lowered(slow)
    slow.daemon.config.write_text(slow.daemon.config.read_text().replace("wait: 10m", "wait: 1s"))
    slow.daemon.process.signal(signal.SIGHUP)
    slow.gone()


def test_unknown_target_is_told_what_there_is(slow: World) -> None:
    slow.register()
    slow.announced()
    status, answer = ask(slow, "PUT", "/v1/drains/dsn", {})
    assert status == 404
    assert "consul:dns" in answer["message"]
    assert VIP in answer["message"]
    slow.stays(seconds=0.5)
