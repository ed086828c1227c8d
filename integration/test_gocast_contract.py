"""What a GoCast user relies on, promise by promise, and GoCast's nineteen faults, each as what happens here instead.

Real Consul, real ExaBGP, real BIRD, the real kernel. The tests that take ``site`` share one host, which is started on a
GoCast file by GoCast's own command line, and leave nothing on it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from consulcast.executor.addresses import _KEEPS_MARKS
from integration.gocast_site import (
    HOST4,
    HOST6,
    HOST_AS,
    ROUTER_AS,
    TOR4,
    Answer,
    Site,
    gocast_file,
    site,
    wire,
)
from integration.lab import Bird, Daemon, Lab, Peer, until
from integration.lab.consul import ttl_check
from integration.test_consul_source import ALL, Guarded
from integration.test_monitors import WEB, listen, script
from integration.test_nat import ask
from integration.test_stories import OTHER, VIP, VIP6

THIRD = "203.0.113.12/32"
ADDRESS, ADDRESS6 = VIP.partition("/")[0], VIP6.partition("/")[0]
PASSING, CRITICAL = ttl_check("passing"), ttl_check("critical")


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    with Lab() as lab, site(lab, nat={"backend": "nft"}) as made:
        yield made


@pytest.fixture(name="site")
def cleared(shared: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The shared host. What a test has registered is taken away; a failed one's report has the logs."""
    yield shared
    report = getattr(request.node, "call_report", None)
    if report is not None and report.failed:
        report.sections.append(("the lab's logs", shared.lab.tail()))
    shared.clear()
    assert shared.alive()


def check_file(tmp_path: Path, text: str) -> tuple[int, str]:
    """Run ``consulcast check`` on a file; exit status and everything it said."""
    file = tmp_path / "gocast.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "consulcast", "check", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


# -- the configuration file ------------------------------------------------------------------------------------------

SAMPLE = """\
agent:
  listen_addr: :8080
  monitor_interval: 10s
  cleanup_timer: 15m
  consul_addr: http://127.0.0.1:8500/v1
  consul_query_interval: 5m
  consul_token: ""
  run_dir: {dir}/run
  state_dir: {dir}/state

bgp:
  local_as: 65001
  remote_as: 65010
  communities:
    - 65001:100
    - 65001:101
  origin: egp

apps:
  - name: app1
    vip: 203.0.113.10/32
    vip_config:
      bgp_communities: [ 65001:200 ]
    monitors:
      - port:tcp:5000
  - name: app2
    vip: 203.0.113.11/32
    monitors:
      - exec:true
    nats:
      - tcp:53:8053
"""


def test_sample_file_of_gocast_works_as_it_is_with_the_peer_at_the_default_gateway(lab: Lab) -> None:
    with site(lab, config=SAMPLE.format(dir=lab.dir), gateway=True) as made:
        assert "-logtostderr" in made.daemon.wait_line("ignored, they belong to GoCast's logging")
        listen(made.host, "tcp", "0.0.0.0", 5000)
        made.serve(8053)
        routes = made.bird.wait_routes({VIP, OTHER})
        assert routes[VIP].communities == ("65001:100", "65001:101", "65001:200")
        assert routes[OTHER].communities == ("65001:100", "65001:101")
        assert routes[VIP].origin == "egp"
        assert routes[VIP].next_hop == HOST4
        assert ask(made.bird.host, "tcp", OTHER.partition("/")[0]).startswith("8053 ")
        made.tag("dns", f"vip={THIRD}")
        made.announced(THIRD)


BGP = "bgp:\n  local_as: 65001\n  peer_ip: 198.51.100.2\n"


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        (f"{BGP}  peer_as: 65010\n", 0, "good"),
        (f"{BGP}  remote_as: 65010\n", 0, "good"),
        (f"{BGP}  peer_as: 65010\n  remote_as: 65010\n", 0, "good"),
        (f"{BGP}  peer_as: 65010\n  remote_as: 65011\n", 2, ":5: bgp.remote_as: differs from peer_as"),
        (f"{BGP}  peer_as: 65010\n  origin: unknown\n", 0, "good"),
        (f"{BGP}  peer_as: 65010\n  origin: bgp\n", 2, ":5: bgp.origin"),
        (f"{BGP}  peer_as: 65010\nagent:\n  monitor_interval: 1h30m\n  cleanup_timer: 500ms\n", 0, "good"),
        (f"{BGP}  peer_as: 65010\nagent:\n  cleanup_timer: 15\n", 2, ":6: agent.cleanup_timer: duration '15'"),
        (f"{BGP}  peer_as: 65010\nagent:\n  cleanup: 15m\n", 2, ":6: agent.cleanup: unknown key 'cleanup'"),
        (f"{BGP}  peer_as: 65010\n  communities: [asn:nnnn]\n", 2, ":5: bgp.communities[0]: community 'asn:nnnn'"),
    ],
)
def test_keys_of_the_file_are_checked_with_file_line_and_key(tmp_path: Path, text: str, status: int, says: str) -> None:
    code, said = check_file(tmp_path, text)
    assert (code, says in said, "gocast.yaml" in said) == (status, True, True), said


def test_unknown_key_keeps_the_daemon_from_starting_in_the_same_words(lab: Lab, tmp_path: Path) -> None:
    text = f"{BGP}  peer_as: 65010\n  peer_asn: 65010\n"
    daemon = Daemon(lab.host("host"), text, as_gocast=True)
    assert daemon.process.wait(20.0) == 2
    _, said = check_file(tmp_path, text)
    assert ":5: bgp.peer_asn: unknown key" in said
    assert said.partition("gocast.yaml")[2].strip() in daemon.log()


def test_consul_addr_in_every_form_and_certificates_from_the_environment(lab: Lab) -> None:
    for command in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-cli"]):
        subprocess.run(["consul", "tls", *command], cwd=lab.dir, check=True, capture_output=True, timeout=30)
    files = {"ca_file": "consul-agent-ca.pem", "cert_file": "dc1-server-consul-0.pem"}
    files["key_file"] = "dc1-server-consul-0-key.pem"
    tls: dict[str, Any] = {name: f"{lab.dir}/{file}" for name, file in files.items()}
    tls |= {"verify_incoming_https": True, "ports": {"http": 8500, "https": 8501}}
    tls["addresses"] = {"http": f"127.0.0.1 unix://{lab.dir}/consul.sock"}
    env = {
        "CONSUL_CACERT": f"{lab.dir}/consul-agent-ca.pem",
        "CONSUL_CLIENT_CERT": f"{lab.dir}/dc1-cli-consul-0.pem",
        "CONSUL_CLIENT_KEY": f"{lab.dir}/dc1-cli-consul-0-key.pem",
    }
    with site(lab, env=env, agent_options={"config": tls}) as made:
        made.daemon.wait_line("in sync with Consul")
        made.tag("dns", f"vip={VIP}")
        made.announced()
        forms = ["http://127.0.0.1:8500", "127.0.0.1:8500", "127.0.0.1", "https://127.0.0.1:8501/v1"]
        for form in [*forms, f"unix://{lab.dir}/consul.sock"]:
            made.daemon.configure(gocast_file(lab, agent={"consul_addr": form}))
            made.daemon.mark()
            made.daemon.process.signal(signal.SIGHUP)
            made.daemon.wait_line("reloaded")
            until(lambda: _answered(made), 10.0, f"Consul answers at {form}")  # the counts begin anew
        made.stays(seconds=0.5)
        assert made.bird.counters().updates == 1


def _answered(made: Site) -> bool:
    consul = made.get("/v1/consul").json()
    queries = consul["catalog"], consul["health"]
    return consul["stale"] is None and all(query["returns"] and not query["errors"] for query in queries)


def test_environment_names_node_and_token_and_wins_over_the_file(lab: Lab) -> None:
    host, tor = wire(lab)
    bird = Bird(tor, ROUTER_AS, [Peer(HOST4, HOST_AS)])
    guarded = Guarded(host, ALL)  # with the service `dns` and its VIP
    config = gocast_file(lab, agent={"consul_token": "wrong", "consul_addr": ""}, consul={"node": "elsewhere"})
    env = {
        "CONSUL_TOKEN": guarded.token["SecretID"],
        "CONSUL_HTTP_TOKEN": "wrong as well",
        "CONSUL_HTTP_ADDR": "127.0.0.1:8500",
        "CONSUL_STALE": "true",
    }
    Daemon(host, config, node=guarded.consul.node, env=env, as_gocast=True)
    bird.wait_route(VIP)


def test_stale_of_the_environment_is_asked_of_consul(lab: Lab) -> None:
    debug = {"config": {"log_level": "DEBUG"}}
    with site(lab, env={"CONSUL_STALE": "true"}, agent_options=debug) as made:
        made.tag("dns", f"vip={VIP}")
        made.announced()
        assert made.consul.process.wait_line(r"url=\S*/v1/catalog/node/host\?\S*stale")


def test_ebgp_peer_may_be_several_hops_away(lab: Lab) -> None:
    host, mid, tor = lab.host("host"), lab.host("mid"), lab.host("tor")
    lab.link(host, mid, f"{HOST4}/30", "198.51.100.2/30")
    lab.link(mid, tor, "198.51.100.5/30", "198.51.100.6/30")
    mid.sysctl("net.ipv4.ip_forward", 1)
    host.route("default", via="198.51.100.2")
    tor.route("default", via="198.51.100.5")
    bird = Bird(tor, ROUTER_AS, [Peer(HOST4, HOST_AS, multihop=255)])
    Daemon(host, gocast_file(lab, bgp={"peer_ip": "198.51.100.6"}, apps=[{"name": "app", "vip": VIP}]))
    bird.wait_route(VIP)


# -- the UPDATE ------------------------------------------------------------------------------------------------------


def test_update_has_origin_as_path_next_hop_and_global_and_vip_communities(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "vip_communities=65001:7,65000:8")
    site.announced()
    route = site.bird.routes()[VIP]
    assert (route.origin, route.as_path, route.next_hop) == ("igp", (HOST_AS,), HOST4)
    assert route.communities == ("65000:8", "65001:100", "65001:7")
    assert (route.large, route.extended) == ((), ())


def test_ibgp_has_local_preference_100_and_local_ip_as_next_hop(lab: Lab) -> None:
    host, tor = wire(lab)
    host.run("ip", "addr", "add", "198.51.100.9/24", "dev", "tor")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.9", ROUTER_AS)])
    bgp = {"local_as": ROUTER_AS, "local_ip": "198.51.100.9"}
    Daemon(host, gocast_file(lab, bgp=bgp, apps=[{"name": "app", "vip": VIP}]))
    bird.wait_route(VIP)
    route = bird.routes()[VIP]
    assert (route.local_pref, route.as_path, route.next_hop) == (100, (), "198.51.100.9")


# -- Consul tags -----------------------------------------------------------------------------------------------------


def test_tag_enable_gocast_is_needed_and_so_is_a_vip(site: Site) -> None:
    site.consul.register("other", [f"gocast_vip={OTHER}", "gocast_monitor=nonsense"])
    site.tag("without")
    assert "gocast_vip" in site.daemon.wait_line("app consul:without: bad-tag")
    site.tag("dns", f"vip={VIP}")
    site.announced()
    assert set(site.bird.routes()) == {VIP}
    assert "other" not in site.daemon.log()


def test_tag_gocast_monitor_may_be_repeated_and_all_must_pass(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "monitor=port:tcp:5001", "monitor=port:udp:5002", "monitor=consul", checks=[PASSING])
    tcp = listen(site.host, "tcp", "0.0.0.0", 5001)
    site.daemon.wait_line("app consul:dns: monitor-failing")
    assert VIP not in site.bird.routes()
    udp = listen(site.host, "udp", "0.0.0.0", 5002)
    site.announced()
    udp.kill()
    site.gone()
    udp = listen(site.host, "udp", "0.0.0.0", 5002)
    site.announced()
    site.check("critical")
    site.gone()
    site.check("passing")
    site.announced()
    tcp.kill()
    site.gone()
    udp.kill()


def test_tag_gocast_nat_leads_the_vips_port_to_the_hosts_own_address(site: Site) -> None:
    services = [site.serve(8053), site.serve(7000)]
    site.tag("dns", f"vip={VIP}", "nat=udp:53:8053", "nat=tcp:53:8053", "nat=tcp:7000")
    site.announced()
    tor = site.bird.host
    for protocol, port, answer in (("udp", 53, "8053 "), ("tcp", 53, "8053 "), ("tcp", 7000, "7000 ")):
        assert ask(tor, protocol, ADDRESS, port).startswith(answer)
    assert ask(tor, "udp", ADDRESS, 7000, timeout=0.3) == ""
    site.consul.deregister("dns")
    site.gone()
    until(lambda: "8053" not in site.host.run("nft", "list", "ruleset"), 5.0, "the rules are gone")
    for service in services:
        service.kill()


def test_tag_prefix_is_a_setting(lab: Lab) -> None:
    with site(lab, agent={"tag_prefix": "anycast"}) as made:
        made.consul.register("dns", ["enable_anycast", f"anycast_vip={VIP}", "anycast_vip_communities=65001:9"])
        made.tag("other", f"vip={OTHER}")
        made.announced()
        assert set(made.bird.routes()) == {VIP}
        assert made.bird.routes()[VIP].communities == ("65001:100", "65001:9")


# -- monitors --------------------------------------------------------------------------------------------------------


def test_monitor_port_follows_the_listener(site: Site) -> None:
    for kind, port in (("tcp", 5003), ("udp", 5004)):
        name = f"port-{kind}"
        service = listen(site.host, kind, "0.0.0.0", port)
        site.http_register(name, monitor=f"port:{kind}:{port}")
        site.announced()
        service.kill()
        site.gone(deadline=1.0)
        service = listen(site.host, kind, "0.0.0.0", port)
        site.announced()
        site.get("/unregister", name=name)
        site.gone()
        service.kill()


def test_monitor_exec_is_run_by_bash_and_passes_with_status_0(lab: Lab) -> None:
    flag = lab.dir / "up"
    command = f"[[ -e {flag} && a:b == a:* ]]"
    app = {"name": "app", "vip": VIP, "monitors": [f"exec:{command}"]}
    with site(lab, apps=[app], policy={"consul": {"exec": "allow"}}) as made:
        made.tag("dns", f"vip={OTHER}", f"monitor=exec:{command}", "monitor=exec:test 1 = 1")
        made.daemon.wait_line("app config:app: monitor-failing")
        flag.touch()
        made.announced(VIP)
        made.announced(OTHER)
        flag.unlink()
        made.gone(VIP)
        made.gone(OTHER)


def test_monitor_consul_is_the_services_checks_with_warning_as_failing(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "monitor=consul", checks=[PASSING])
    site.announced()
    site.check("warning")
    site.gone()
    site.check("passing")
    site.announced()
    site.check("critical")
    site.gone()


def test_service_without_the_consul_monitor_ignores_consuls_checks(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", checks=[CRITICAL])
    site.announced()
    site.check("warning")
    site.stays(seconds=1.0)


def test_consul_monitor_of_a_service_without_checks_never_passes(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "monitor=consul")
    site.daemon.wait_line("app consul:dns: monitor-failing", deadline=15.0)
    assert VIP not in site.bird.routes()


def test_consul_monitor_of_an_app_over_http_is_the_service_of_its_name(site: Site) -> None:
    site.consul.register("web", [], check=PASSING)
    site.http_register("web", monitor="consul")
    site.announced()
    site.check("critical", "web")
    site.gone()


# -- HTTP ------------------------------------------------------------------------------------------------------------


def test_register_takes_every_parameter_and_unregister_takes_all_away(site: Site) -> None:
    service = site.serve(8053)
    query: dict[str, Any] = {"monitor": ["port:tcp:8053", "port:udp:8053"], "nat": ["tcp:53:8053", "udp:53:8053"]}
    site.http_register("app", vip_communities="65001:5,65001:6", **query)
    site.announced()
    assert site.bird.routes()[VIP].communities == ("65001:100", "65001:5", "65001:6")
    for protocol in ("tcp", "udp"):
        assert ask(site.bird.host, protocol, ADDRESS).startswith("8053 ")
    assert site.get("/unregister", name="app") == Answer(200, "", "text/plain")
    site.gone()
    site.address_goes()
    until(lambda: site.nat_rules(f"{HOST4}:8053") == 0, 5.0, "the rules are gone")
    service.kill()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"name": "app", "vip": "203.0.113.10"}, "VIP '203.0.113.10' has no prefix length"),
        ({"name": "app", "vip": VIP, "monitor": "port:tcp"}, "monitor 'port:tcp'"),
        ({"name": "app", "vip": VIP, "nat": "tcp"}, "NAT rule 'tcp'"),
        ({"name": "app", "vip": VIP, "vip_communities": "65001"}, "community '65001'"),
    ],
)
def test_register_answers_400_with_text_on_bad_input(site: Site, query: dict[str, str], says: str) -> None:
    answer = site.get("/register", **query)
    assert (answer.status, answer.kind) == (400, "text/plain")
    assert says in answer.body


def test_unregister_answers_200_for_an_unknown_app_and_400_without_a_name(site: Site) -> None:
    assert site.get("/unregister", name="nobody") == Answer(200, "", "text/plain")
    answer = site.get("/unregister")
    assert (answer.status, answer.kind) == (400, "text/plain")
    assert "name" in answer.body


def test_info_is_null_before_the_first_announcement_and_then_gobgps_peer(lab: Lab) -> None:
    with site(lab) as made:
        assert made.get("/info") == Answer(200, "null\n", "application/json")
        made.http_register()
        made.announced()
        made.daemon.wait_line(f"vip {VIP}: announced")
        info = made.get("/info").json()
        assert (info["conf"]["neighbor_address"], info["conf"]["peer_as"]) == (TOR4, ROUTER_AS)
        state = info["state"]
        assert (state["session_state"], state["neighbor_address"], state["peer_as"]) == (6, TOR4, ROUTER_AS)
        for direction in ("sent", "received"):
            assert {"open", "update", "keepalive", "total"} <= state["messages"][direction].keys()
        made.bird.disable()
        until(lambda: made.get("/info").json()["state"]["session_state"] != 6, 5.0, "the session is down")


# -- on the host -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label"),
    [("dns", "lo:dns"), ("a-name-of-many-letters", "lo:a-name-of-ma"), ("my größe", "lo:mygre")],
)
def test_vip_is_on_lo_with_the_apps_name_as_its_label(site: Site, name: str, label: str) -> None:
    if not _KEEPS_MARKS:
        pytest.skip("on this kernel the label is the mark")
    site.http_register(name)
    site.announced()
    shown = site.host.run("ip", "-4", "-o", "addr", "show", "dev", "lo", "label", label)
    assert f" {VIP} scope host noprefixroute {label}\\" in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_of_the_daemon_withdraws_and_removes_all(lab: Lab, number: int) -> None:
    apps = [{"name": "app", "vip": VIP, "nats": ["tcp:53:8053"]}]
    with site(lab, apps=apps, nat={"backend": "nft"}) as made:
        made.tag("dns", f"vip={OTHER}", f"vip={VIP6}")
        made.bird.wait_routes({VIP, OTHER, VIP6})
        made.daemon.process.signal(number)
        assert made.daemon.process.wait(15.0) == 0
        assert made.bird.wait_routes(set()) == {}
        assert made.host.addresses() == {"127.0.0.1/8", "::1/128"}
        assert "8053" not in made.host.run("nft", "list", "ruleset")


def test_failing_app_loses_its_route_at_once_and_address_and_nat_after_cleanup_timer(lab: Lab) -> None:
    with site(lab, agent={"cleanup_timer": "2s"}, nat={"backend": "nft"}) as made:
        made.tag("dns", f"vip={VIP}", "monitor=consul", "nat=tcp:53:8053", checks=[PASSING])
        made.announced()
        made.check("critical")
        made.gone(deadline=1.0)
        assert made.has_address()
        assert made.nat_rules(f"{HOST4}:8053") == 1
        made.address_goes()
        assert made.nat_rules(f"{HOST4}:8053") == 0


# -- the faults ------------------------------------------------------------------------------------------------------


def test_fault_01_consul_outage_withdraws_nothing(lab: Lab) -> None:
    with site(lab) as made:
        made.tag("dns", f"vip={VIP}", "monitor=consul", checks=[PASSING])
        made.announced()
        made.consul.kill()
        made.daemon.wait_line("the last good answer stands")
        made.stays(seconds=3.0)


def test_fault_02_catalog_answer_that_is_null_or_empty_removes_no_app(lab: Lab) -> None:
    with site(lab) as made:
        made.tag("dns", f"vip={VIP}")
        made.announced()
        made.daemon.mark()
        made.consul.call("PUT", "/catalog/deregister", {"Node": made.consul.node})
        assert made.consul.call("GET", f"/catalog/node/{made.consul.node}") is None
        made.daemon.wait_line("the last good answer stands")
        made.stays(seconds=2.0)
        made.consul.restart(crash=True)  # an agent that keeps nothing
        assert "dns" not in made.consul.services()
        made.stays(seconds=3.0)


def test_fault_02_catalog_answer_that_acls_filter_removes_no_app(lab: Lab) -> None:
    host, tor = wire(lab)
    bird = Bird(tor, ROUTER_AS, [Peer(HOST4, HOST_AS)])
    guarded = Guarded(host, ALL)
    config = gocast_file(lab, consul={"wait": "1s"})  # a changed policy or token wakes no blocking query
    daemon = Daemon(host, config, node="host", env={"CONSUL_TOKEN": guarded.token["SecretID"]})
    made = Site(lab, host, bird, guarded.consul, daemon)
    made.announced()
    guarded.rules('node_prefix "" { policy = "read" }')
    daemon.wait_line('service "dns" { policy = "read" }', deadline=40.0)
    made.stays(seconds=2.0)


def test_fault_03_status_of_consuls_answer_counts(lab: Lab) -> None:
    host, tor = wire(lab)
    bird = Bird(tor, ROUTER_AS, [Peer(HOST4, HOST_AS)])
    guarded = Guarded(host, ALL)
    config = gocast_file(lab, consul={"wait": "1s"})  # a changed policy or token wakes no blocking query
    daemon = Daemon(host, config, node="host", env={"CONSUL_TOKEN": guarded.token["SecretID"]})
    made = Site(lab, host, bird, guarded.consul, daemon)
    made.announced()
    guarded.delete_token()  # 403 from now on
    daemon.wait_line("does not know our token", deadline=40.0)
    made.stays(seconds=2.0)


def test_fault_04_hanging_commands_delay_nobody(lab: Lab) -> None:
    hanging = [f"exec:sleep {98760 + number}" for number in range(20)]
    apps = [
        {"name": "hanging", "vip": OTHER, "monitors": hanging},
        {"name": "app", "vip": VIP, "monitors": ["port:tcp:5000"]},
    ]
    with site(lab, apps=apps) as made:
        for _ in range(3):
            service = listen(made.host, "tcp", "0.0.0.0", 5000)
            made.announced(deadline=5.0)
            service.kill()
            made.gone(deadline=1.0)
        assert "did not end within 5 s" in made.daemon.wait_line("app config:hanging: monitor-failing")
        assert made.daemon.stop() == 0
        assert "sleep 987" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("value", ["65000", "", "70000:1", "asn:100", "1:2:", "1:2:3:4"])
def test_fault_05_community_that_is_none_refuses_its_app_alone(site: Site, value: str) -> None:
    site.tag("dns", f"vip={VIP}")
    site.announced()
    site.daemon.mark()
    site.tag("bad", f"vip={OTHER}", f"vip_communities={value}")
    assert value in site.daemon.wait_line("app consul:bad: bad-tag")
    assert site.get("/register", name="bad", vip=OTHER, vip_communities=value).status == 400
    site.stays(seconds=0.3)
    assert OTHER not in site.bird.routes()


def test_fault_05_community_of_three_parts_is_a_large_one(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "vip_communities=1:2:3")
    site.announced()
    route = site.bird.routes()[VIP]
    assert (route.communities, route.large) == (("65001:100",), ("1:2:3",))


@pytest.mark.parametrize("query", [{}, {"name": "app"}, {"vip": VIP}, {"name": "", "vip": VIP}])
def test_fault_06_register_without_name_or_vip_is_answered(site: Site, query: dict[str, str]) -> None:
    answer = site.get("/register", **query)
    assert (answer.status, answer.kind) == (400, "text/plain")
    assert "missing" in answer.body


def test_fault_06_consul_monitor_without_consul_is_refused_and_nothing_dies(lab: Lab) -> None:
    apps = [{"name": "file", "vip": OTHER, "monitors": ["consul"]}]
    with site(lab, use_consul=False, apps=apps) as made:
        answer = made.get("/register", name="app", vip=VIP, monitor="consul")
        assert answer.status == 400
        assert "CONSUL_NODE" in answer.body
        assert "CONSUL_NODE" in made.daemon.wait_line("app config:file: monitor-unsupported")
        made.http_register()
        made.announced()
        assert set(made.bird.routes()) == {VIP}


BROKEN = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "20")
        self.end_headers()
        self.wfile.write(b'{"error": "no luck"}')
print("ready", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", 8500), Handler).serve_forever()
"""


def test_fault_06_and_03_error_of_consul_with_a_json_body_is_an_error_and_no_end(lab: Lab) -> None:
    with site(lab) as made:
        made.tag("dns", f"vip={VIP}", "monitor=consul", checks=[PASSING])
        made.announced()
        made.consul.kill()
        script(made.host, BROKEN, name="broken-consul")
        made.daemon.wait_line("the last good answer stands.*500", deadline=20.0)
        made.stays(seconds=2.0)


def test_fault_07_changed_communities_and_nat_are_applied_to_a_running_app(site: Site) -> None:
    services = [site.serve(8053), site.serve(9053)]
    site.tag("dns", f"vip={VIP}", "vip_communities=65001:1", "nat=udp:53:8053")
    site.announced()
    assert ask(site.bird.host, "udp", ADDRESS).startswith("8053 ")
    before = site.bird.counters()
    site.tag("dns", f"vip={VIP}", "vip_communities=65001:2", "nat=udp:53:9053")
    wanted = ("65001:100", "65001:2")
    until(lambda: site.bird.routes()[VIP].communities == wanted, 5.0, "the new community is at BIRD")
    until(lambda: ask(site.bird.host, "udp", ADDRESS).startswith("9053 "), 5.0, "NAT leads to the new port")
    assert site.nat_rules(f"{HOST4}:8053") == 0
    assert site.bird.counters().withdraws == before.withdraws
    for service in services:
        service.kill()


@pytest.mark.parametrize("over", ["tags", "http"])
def test_fault_08_changed_vip_and_monitor_replace_the_old_ones(site: Site, over: str) -> None:
    def register(vip: str, monitor: str) -> None:
        if over == "tags":
            site.tag("app", f"vip={vip}", f"monitor={monitor}")
        else:
            site.http_register("app", vip, monitor=monitor)

    service, other = listen(site.host, "tcp", "0.0.0.0", 5005), listen(site.host, "tcp", "0.0.0.0", 5006)
    register(VIP, "port:tcp:5005")
    site.announced(VIP)
    register(OTHER, "port:tcp:5005")
    site.bird.wait_routes({OTHER})
    site.address_goes(VIP)
    register(OTHER, "port:tcp:5006")
    site.daemon.wait_line("changed .*port:tcp:5006")
    service.kill()
    site.stays(OTHER, seconds=0.5)
    other.kill()
    site.gone(OTHER)


def test_fault_09_three_flaps_leave_one_nat_rule_and_deregistration_none(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "monitor=consul", "nat=tcp:53:8053", checks=[PASSING])
    site.announced()
    for _ in range(3):
        site.check("critical")
        site.gone()
        site.check("passing")
        site.announced()
    assert site.nat_rules(f"{HOST4}:8053") == 1
    site.consul.deregister("dns")
    site.gone()
    site.address_goes()
    assert site.nat_rules(f"{HOST4}:8053") == 0


def test_fault_10_what_a_crash_has_left_is_cleaned_at_the_next_start(lab: Lab) -> None:
    with site(lab, nat={"backend": "nft"}) as made:
        made.tag("dns", f"vip={VIP}", "nat=tcp:53:8053")
        made.http_register("app", OTHER, nat="tcp:54:8054")
        made.bird.wait_routes({VIP, OTHER})
        made.daemon.kill9()
        made.bird.wait_routes(set())
        assert {VIP, OTHER} <= made.host.addresses()
        made.consul.deregister("dns")
        made.daemon.start()
        made.bird.wait_routes({OTHER}, deadline=20.0)
        made.address_goes(VIP)
        assert (made.nat_rules(f"{HOST4}:8053"), made.nat_rules(f"{HOST4}:8054")) == (0, 1)


def test_fault_11_app_that_was_cleaned_up_comes_back_when_it_is_healthy(lab: Lab) -> None:
    apps = [{"name": "file", "vip": OTHER, "monitors": ["port:tcp:5000"]}]
    with site(lab, apps=apps, agent={"cleanup_timer": "500ms"}) as made:
        made.http_register(monitor="port:tcp:5000")
        for _ in range(2):
            service = listen(made.host, "tcp", "0.0.0.0", 5000)
            made.bird.wait_routes({VIP, OTHER})
            service.kill()
            made.bird.wait_routes(set(), deadline=1.0)
            made.address_goes(VIP)
            made.address_goes(OTHER)


def test_fault_12_neither_tags_nor_requests_run_a_command(site: Site) -> None:
    proof = site.lab.dir / "was-here"
    evil = f"touch {proof}"
    site.tag("dns", f"vip={VIP}", f"monitor=exec:{evil}")
    assert "policy.consul.exec: allow" in site.daemon.wait_line("app consul:dns: monitor-not-allowed")
    answer = site.get("/register", name="app", vip=VIP, monitor=f"exec:{evil}")
    assert answer.status == 400
    assert "policy.http.exec: allow" in answer.body
    assert site.get("/register", name="app", vip=VIP, nat=f"tcp:53:$({evil})").status == 400
    site.tag("nat", f"vip={OTHER}", f"nat=tcp:53;{evil}")
    assert "is not a number" in site.daemon.wait_line("app consul:nat: bad-tag")
    site.http_register(f"x; {evil} #", THIRD, nat="tcp:53:8053")  # a name is a name
    site.announced(THIRD)
    assert set(site.bird.routes()) == {THIRD}
    assert not proof.exists()


def test_fault_13_what_is_no_listener_is_none(site: Site) -> None:
    assert site.get("/register", name="app", vip=VIP, monitor="port:tcp:99999").status == 400
    bound = listen(site.host, "tcp", "0.0.0.0", 5007, "bound")
    server = listen(site.host, "tcp", HOST4, 5008)
    client = listen(site.host, "tcp", HOST4, 5008, "connect")
    source = client.wait_line("^from").split()[1]
    for port, name in (("5007", "bound"), (source, "client")):
        site.http_register(name, monitor=f"port:tcp:{port}")
        site.daemon.wait_line(f"app http:{name}: monitor-failing")
        assert site.get("/unregister", name=name).status == 200
    assert VIP not in site.bird.routes()
    for process in (bound, server, client):
        process.kill()


def test_fault_13_stopped_process_is_seen_by_a_monitor_that_asks_it(site: Site) -> None:
    web = script(site.host, WEB, "8099", name="web")
    site.http_register(monitor=f"http:http://{HOST4}:8099/;host=www.example.org;interval=200ms;timeout=300ms")
    site.announced()
    web.pause()
    site.gone()
    web.resume()
    site.announced()
    web.kill()


BINDING = """
import socket
failed = 0
for _ in range(4000):
    with socket.socket() as one:
        try: one.bind(("", 5009)); one.listen()
        except OSError: failed += 1
print("failed", failed, flush=True)
"""


def test_fault_13_port_monitor_never_keeps_a_service_from_starting(site: Site) -> None:
    for number in range(30):
        site.http_register(f"app{number}", monitor="port:tcp:5009;interval=100ms")
    starts = site.host.spawn(sys.executable, "-uc", BINDING, name="starts")
    assert starts.wait_line("^failed", deadline=20.0) == "failed 0"


def test_fault_14_one_failing_check_of_two_is_no_flapping(site: Site) -> None:
    checks = [ttl_check("passing", check_id="one"), ttl_check("passing", check_id="two")]
    site.tag("dns", f"vip={VIP}", "monitor=consul", checks=checks)
    site.announced()
    site.consul.update_check("critical", "two")
    site.gone()
    before = site.bird.counters()
    for _ in range(4):
        site.consul.update_check("passing", "one")
        time.sleep(0.5)
    assert site.bird.counters() == before
    site.consul.update_check("passing", "two")
    site.announced()


def test_fault_14_maintenance_of_the_node_counts(site: Site) -> None:
    """It is a drain: the route has a lower preference for ``drain.wait``, and is withdrawn then."""
    site.tag("dns", f"vip={VIP}", "monitor=consul", checks=[PASSING])
    site.announced()
    site.consul.maintenance(True)
    site.gone()
    site.consul.maintenance(False)
    site.announced()


def test_fault_15_two_instances_of_a_service_are_two(site: Site) -> None:
    for instance, check in (("dns-1", PASSING), ("dns-2", CRITICAL)):
        site.tag("dns", f"vip={VIP}", "monitor=consul", id=instance, checks=[check])
    site.announced()
    site.stays(seconds=2.0)
    site.consul.deregister("dns-1")
    site.gone()
    site.check("passing", "dns-2")
    site.announced()


def test_fault_16_ipv6_vip_over_an_ipv4_session_is_announced_with_its_nat(site: Site) -> None:
    service = site.serve(8053)
    site.tag("dns", f"vip={VIP6}", "nat=udp:53:8053", "nat=tcp:53:8053")
    site.announced(VIP6)
    assert site.bird.routes()[VIP6].next_hop == HOST6
    assert site.has_address(VIP6)
    for protocol in ("udp", "tcp"):
        assert ask(site.bird.host, protocol, ADDRESS6).startswith("8053 ")
    service.kill()


def test_fault_17_host_bits_of_a_vip_are_kept(lab: Lab) -> None:
    policy = {"consul": {"vips": [{"prefix": "198.18.0.0/15", "min": 24}]}}  # the default: single addresses only
    with site(lab, policy=policy) as made:
        made.tag("dns", "vip=198.18.5.5/24")
        made.announced("198.18.5.0/24")
        assert made.has_address("198.18.5.5/32")
        made.tag("whole", "vip=198.18.6.0/24")
        made.announced("198.18.6.0/24")
        assert made.has_address("198.18.6.0/24")


def test_fault_18_unknown_monitor_is_refused_with_its_reason(site: Site) -> None:
    site.tag("dns", f"vip={VIP}", "monitor=prot:tcp:53")
    assert "'prot' is not one of" in site.daemon.wait_line("app consul:dns: bad-tag")
    answer = site.get("/register", name="app", vip=VIP, monitor="prot:tcp:53")
    assert (answer.status, "'prot' is not one of" in answer.body) == (400, True)


def test_fault_18_command_with_an_equals_sign_is_a_monitor(lab: Lab) -> None:
    with site(lab, policy={"consul": {"exec": "allow"}, "http": {"exec": "allow"}}) as made:
        made.tag("dns", f"vip={VIP}", "monitor=exec:test 1 = 0")
        made.http_register("app", OTHER, monitor="exec:test a:b = a:b")
        made.daemon.wait_line("app consul:dns: monitor-failing")
        made.announced(OTHER)
        assert set(made.bird.routes()) == {OTHER}


@pytest.mark.parametrize("name", ["my app", "it's", '"quoted"', "$HOME", "a;b", "a&b", "größe"])
def test_fault_18_name_may_hold_any_printable_character(site: Site, name: str) -> None:
    site.http_register(name)
    site.announced()
    assert site.get("/unregister", name=name).status == 200
    site.gone()


def test_fault_18_missing_consul_query_interval_is_no_busy_loop(lab: Lab) -> None:
    config = gocast_file(lab)
    del config["agent"]["consul_query_interval"]
    with site(lab, config=config, agent_options={"config": {"log_level": "DEBUG"}}) as made:
        made.tag("dns", f"vip={VIP}", "monitor=consul", checks=[PASSING])
        made.announced()
        before = made.consul.process.text().count("url=/v1/")
        time.sleep(3.0)
        assert made.consul.process.text().count("url=/v1/") - before <= 5


def test_fault_19_two_peers_one_with_a_password_and_several_vips_of_one_app(lab: Lab) -> None:
    host, tor = wire(lab)
    bird = Bird(tor, ROUTER_AS, [Peer(HOST4, HOST_AS, password="open sesame"), Peer(HOST6, HOST_AS)])
    peers = [{"address": TOR4, "password": "open sesame"}, {"address": "2001:db8::2"}]
    bgp = {"peer_ip": "", "peers": peers}
    apps = [{"name": "app", "vip": VIP, "vips": [OTHER, VIP6]}]
    Daemon(host, gocast_file(lab, bgp=bgp, apps=apps))
    bird.wait_routes({VIP, OTHER, VIP6})
    until(lambda: len(bird.all_routes()) == 6, 5.0, "both sessions bring all three")


def test_fault_19_reload_is_the_smallest_change_and_a_bad_file_changes_nothing(lab: Lab) -> None:
    stays = {"name": "stays", "vip": VIP}
    with site(lab, apps=[stays, {"name": "goes", "vip": OTHER}]) as made:
        made.bird.wait_routes({VIP, OTHER})
        made.daemon.configure(gocast_file(lab, apps=[stays, {"name": "comes", "vip": THIRD}]))
        made.daemon.process.signal(signal.SIGHUP)
        made.bird.wait_routes({VIP, THIRD})
        made.address_goes(OTHER)
        assert (made.bird.counters().updates, made.bird.counters().withdraws) == (3, 1)
        made.daemon.configure(yaml.safe_dump(gocast_file(lab)) + "nonsense: 1\n")
        made.daemon.process.signal(signal.SIGHUP)
        assert "unknown key 'nonsense'" in made.daemon.wait_line("reload refused, nothing is changed")
        made.stays(seconds=0.5)
