"""Unknown is not down, told at the router: mass removals, the limit of an unknown, what the grace does not cover."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from integration.lab import Lab, until
from integration.lab.consul import HostConnection, ttl_check
from integration.test_stories import OTHER, VIP, World, settings, world

THIRD = "203.0.113.12/32"
VIPS = {"dns": VIP, "ntp": OTHER, "web": THIRD}
HELD = {"restart_grace": "1s", "removal_hold": "4s"}


def ask(made: World, path: str) -> str:
    """What the daemon answers on its host."""
    connection = HostConnection(made.host, "127.0.0.1", 8080, 10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response: http.client.HTTPResponse = connection.getresponse()
        assert response.status == 200
        return response.read().decode()


def api(made: World, path: str) -> Any:
    return json.loads(ask(made, path))


def figure(made: World, name: str) -> float:
    """The sum of a metric over its labels."""
    families = text_string_to_metric_families(ask(made, "/metrics"))
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def three_announced(made: World) -> None:
    for name, vip in VIPS.items():
        made.register(name, vip=vip)
    made.bird.wait_routes(set(VIPS.values()))


def test_apps_of_an_agent_that_lost_its_state_are_held_and_taken_again(lab: Lab) -> None:
    with world(lab, consul={"restart_grace": "1s", "removal_hold": "60s"}) as made:
        three_announced(made)
        made.consul.restart(crash=True)  # a -dev agent: it knows nothing any more, and says so with all its witnesses
        made.register("dns")
        made.daemon.wait_line("app consul:web held: 2 of 3 apps would go at once")
        held = api(made, "/v1/consul")["held"]
        assert {item["app"] for item in held} == {"consul:ntp", "consul:web"}
        stale = {app["id"]: app["stale"] for app in api(made, "/v1/apps")["apps"]}
        assert stale["dns"] is None
        assert "2 of 3 apps would go at once" in stale["web"]["reason"]
        assert [vip["vip"] for vip in api(made, "/v1/vips")["vips"] if vip["stale"]] == [OTHER, THIRD]
        assert figure(made, "consulcast_consul_held_apps") == 2
        three_announced(made)
        made.daemon.wait_line("Consul is believed again, after")
        assert (figure(made, "consulcast_consul_held_apps"), figure(made, "consulcast_consul_stale_seconds")) == (0, 0)
        assert made.bird.counters().withdraws == 0


def test_apps_that_stay_away_go_after_the_hold_down(lab: Lab) -> None:
    with world(lab, consul=HELD) as made:
        three_announced(made)
        made.consul.restart(crash=True)
        made.register("dns")
        made.daemon.wait_line("app consul:web held: 2 of 3 apps would go at once")
        begun = time.monotonic()
        made.gone(THIRD, deadline=15.0)
        assert time.monotonic() - begun > 3.0, "not before the third look"
        made.gone(OTHER)
        assert VIP in made.bird.routes()
        assert made.bird.counters().withdraws == 2


def test_reload_with_other_settings_of_consuls_during_the_hold_down_withdraws_nothing(lab: Lab) -> None:
    with world(lab, consul={"restart_grace": "1s", "removal_hold": "60s"}) as made:
        three_announced(made)
        made.consul.restart(crash=True)
        made.register("dns")
        made.daemon.wait_line("app consul:web held: 2 of 3 apps would go at once")
        made.daemon.configure(settings(lab, consul={"restart_grace": "2s", "removal_hold": "60s"}))
        made.daemon.process.signal(signal.SIGHUP)
        made.daemon.wait_line("reloaded")
        time.sleep(1)
        assert made.bird.routes().keys() == set(VIPS.values())
        assert made.bird.counters().withdraws == 0
        assert {item["app"] for item in api(made, "/v1/consul")["held"]} == {"consul:ntp", "consul:web"}


def test_one_of_three_goes_at_once_and_so_does_the_next_a_moment_later(lab: Lab) -> None:
    with world(lab, consul={"removal_hold": "60s"}) as made:
        three_announced(made)
        for name, vip in (("web", THIRD), ("ntp", OTHER), ("dns", VIP)):
            made.consul.deregister(name)
            made.gone(vip, deadline=2.0)
            time.sleep(1.5)
        assert "would go at once" not in made.daemon.log()


def test_most_apps_untagged_at_once_are_held(lab: Lab) -> None:
    with world(lab, consul={"removal_hold": "60s"}) as made:
        three_announced(made)
        for name in VIPS:  # faster than the daemon asks: the first may go, the others are together
            made.consul.register(name, ["some-tag"], check=ttl_check())
        made.daemon.wait_line("would go at once")
        assert len(made.bird.routes()) >= 2
        three_announced(made)
        made.daemon.wait_line("Consul is believed again, after")


def test_unknown_stands_until_the_limit_and_comes_back_with_the_first_good_answer(lab: Lab) -> None:
    apps = [{"name": "web", "vip": THIRD, "monitors": ["consul"]}, {"name": "own", "vip": "203.0.113.13/32"}]
    consul = {"restart_grace": "1s", "removal_hold": "1s", "stale_limit": "5s"}
    with world(lab, persistent=True, consul=consul, apps=apps) as made:
        made.consul.register("web", check=ttl_check())
        made.consul.register("ntp", ["enable_gocast", f"gocast_vip={OTHER}"])
        made.register()
        own = "203.0.113.13/32"
        made.bird.wait_routes({VIP, OTHER, THIRD, own}, deadline=20.0)
        for name in ("web", "dns"):
            made.check("passing", name)  # or they would be critical after the restart
        made.consul.kill()
        made.daemon.wait_line("consul-stale: the last good answer stands: Consul cannot be reached")
        begun = time.monotonic()
        until(lambda: set(made.bird.routes()) == {own}, 15.0, "all that rests on Consul is withdrawn")
        assert time.monotonic() - begun > 4.0, "not before the limit"
        for key in ("consul:dns", "consul:ntp", "config:web"):
            assert "consul.stale_limit (5 s)" in made.daemon.wait_line(f"app {key}: consul-stale")
        reasons = {vip["vip"]: (vip["reason"], vip["state"]) for vip in api(made, "/v1/vips")["vips"]}
        assert reasons == {**dict.fromkeys((VIP, OTHER, THIRD), ("consul-stale", "down")), own: ("announced",) * 2}
        assert figure(made, "consulcast_consul_stale_seconds") > 4
        assert figure(made, "consulcast_consul_errors_total") > 0
        made.consul.start()
        made.bird.wait_routes({VIP, OTHER, THIRD, own}, deadline=40.0)
        made.daemon.wait_line("Consul is believed again, after")


def test_by_default_an_unknown_has_no_limit(lab: Lab) -> None:
    with world(lab) as made:
        made.register()
        made.announced()
        made.consul.kill()
        made.daemon.wait_line("consul-stale: the last good answer stands")
        made.stays(seconds=5.0)
        (app,) = api(made, "/v1/apps")["apps"]
        assert (app["state"], app["stale"]["seconds"] >= 4) == ("passing", True)


def test_listener_that_dies_within_the_grace_is_believed_at_once(lab: Lab) -> None:
    """The grace is for what Consul says alone."""
    with world(lab, persistent=True, consul={"restart_grace": "10m"}) as made:
        serve = "import socket,time; s=socket.create_server(('0.0.0.0', 8053)); time.sleep(1000)"
        listener = made.host.spawn("python3", "-c", serve, name="listener")
        made.register("dns", "gocast_monitor=port:tcp:8053")
        made.register("ntp", vip=OTHER)
        made.announced(deadline=20.0)
        made.announced(OTHER)
        made.consul.restart(crash=True)  # the checks were never updated: critical after the restart, for good
        made.daemon.wait_line("right after trouble", deadline=30.0)
        until(lambda: {item["Status"] for item in made.consul.checks() if item["ServiceID"]} == {"critical"}, 20.0, "")
        made.stays(seconds=1.0)
        listener.kill()
        made.gone(deadline=2.0)
        made.daemon.wait_line("app consul:dns: monitor-failing .*8053")
        made.stays(OTHER, seconds=1.0)
        assert made.bird.counters().withdraws == 1
