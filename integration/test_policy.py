"""Who may not announce it does not, told at the router: an attacker who can register services, and the file's rules."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.bgp_speaker import Speaker, route
from integration.gocast_site import Site, gocast_file, site
from integration.lab import Bird, Daemon, Lab, Peer, until
from integration.lab.consul import ttl_check
from integration.test_bgp_sessions import HOST4, peer, two
from integration.test_stories import OTHER, VIP

MINE = "203.0.113.10/32"  # of a service that was there before
DNS = [{"name": "dns-*", "vips": ["203.0.113.64/28"]}]


@pytest.fixture
def attacked(lab: Lab) -> Iterator[Site]:
    """A host with a running service, and an attacker who may register any other."""
    policy = {"services": DNS, "reserved": ["203.0.113.200/32"], "consul": {"max_apps": 200}}
    with site(lab, policy=policy) as made:
        made.tag("mine", f"vip={MINE}", "monitor=consul", checks=[ttl_check()])
        made.announced(MINE)
        yield made
        assert made.alive()


def refused(site: Site, name: str, reason: str, *tags: str) -> str:
    """Register a service; it is refused for ``reason``, and nothing else changes. Returns the log's line."""
    before = site.bird.counters()
    site.daemon.mark()
    site.tag(name, *tags)
    line = site.daemon.wait_line(rf"app consul:{name}: {reason} \(refused: ")
    time.sleep(0.3)
    assert site.bird.counters() == before
    assert set(site.bird.routes()) == {MINE}
    site.consul.deregister(name)
    return line


def test_attackers_prefix_is_refused_and_nothing_else_changes(attacked: Site) -> None:
    addresses = attacked.host.addresses()
    for number, (vip, rule) in enumerate(
        {
            "0.0.0.0/0": "default route",
            "0.0.0.0/1": "shorter than /8",
            "::/0": "default route",
            "127.0.0.1/32": "loopback",
            "169.254.169.254/32": "link-local",
            "198.51.100.2/32": "198.51.100.2, which this host or a peer of it",  # the router
            "198.51.100.1/32": "198.51.100.1, which this host or a peer of it",  # the host
            "2001:db8::1/128": "2001:db8::1, which this host or a peer of it",
            "198.51.100.0/24": "198.51.100.1",
            "198.18.0.0/24": "policy.consul.vips",
            "10.0.0.5/24": "policy.consul.vips",
            "203.0.113.64/32": "policy.services[0]",  # another team's
            "203.0.113.200/32": "policy.reserved[0]",
        }.items()
    ):
        line = refused(attacked, f"evil{number}", "vip-not-allowed", f"vip={vip}")
        assert rule in line
    assert attacked.host.addresses() == addresses
    attacked.tag("dns-1", "vip=203.0.113.64/32")
    attacked.announced("203.0.113.64/32")


def test_attackers_ports_communities_and_commands_are_refused(attacked: Site, tmp_path: Path) -> None:
    vip, mark = f"vip={OTHER}", tmp_path / "was-here"
    assert "policy.consul.nat_dest" in refused(attacked, "ssh", "nat-not-allowed", vip, "nat=tcp:2222:22")
    line = refused(attacked, "hole", "community-not-allowed", vip, "vip_communities=blackhole")
    assert "policy.consul.communities" in line
    for command in (f"touch {mark}", "@anything"):
        line = refused(attacked, "shell", "monitor-not-allowed", vip, f"monitor=exec:{command}")
        assert "policy.consul.exec" in line
    assert "write exec:@NAME" in refused(attacked, "shell", "bad-tag", vip, f"monitor=exec:@x;touch {mark}")
    answer = attacked.get("/register", name="app", vip=OTHER, monitor=f"exec:touch {mark}")
    assert answer.status in (400, 409)
    assert "policy.http.exec" in answer.body
    for name in (f"a;touch {mark}", f"$(touch {mark})", f"`touch {mark}`", 'a"b', "a'b", "a\nINFO forged line"):
        attacked.tag(name, vip, f"nat=tcp:53:8053;touch {mark}")
        attacked.tag(name, vip, "nat=tcp:53:8053", id=f"{name}-2")
    attacked.announced(OTHER)
    assert OTHER.partition("/")[0] in attacked.host.run("nft", "list", "ruleset") + attacked.host.run(
        "iptables-legacy-save", check=False
    )
    time.sleep(1.0)
    assert not mark.exists()
    assert "\nINFO forged" not in attacked.daemon.log()
    assert attacked.daemon.log().isprintable() or all(line.isprintable() for line in attacked.daemon.log().splitlines())


def test_address_of_consul_is_no_vip(lab: Lab) -> None:
    config = gocast_file(lab, agent={"consul_addr": "http://203.0.113.10:8500"})
    with site(lab, config=config) as made:  # that Consul does not answer: of its address the file alone tells
        assert made.get("/register", name="app", vip=OTHER).status == 200
        made.announced(OTHER)
        answer = made.get("/register", name="app2", vip=VIP)
        assert answer.status >= 400
        assert "203.0.113.10, which this host or a peer of it, or Consul, uses" in answer.body
        assert set(made.bird.routes()) == {OTHER}


def test_address_that_the_host_gets_later_and_a_peer_without_a_route_are_no_vips(lab: Lab) -> None:
    peers = [{"address": "198.51.100.2"}, {"address": "192.0.2.77"}]
    config = gocast_file(lab, bgp={"peer_ip": "", "peers": peers})
    with site(lab, config=config) as made:
        made.tag("peer", "vip=192.0.2.77/32")
        made.daemon.wait_line("app consul:peer: vip-not-allowed")
        made.tag("dns", f"vip={VIP}")
        made.announced(VIP)
        made.host.run(
            "ip", "address", "add", VIP, "dev", made.host.run("ip", "-o", "route", "get", "198.51.100.2").split()[2]
        )
        made.daemon.wait_line("app consul:dns: vip-not-allowed", deadline=45.0)
        made.bird.wait_routes(set())


def test_narrower_policy_withdraws_what_it_no_longer_allows_and_a_wider_one_takes_it(lab: Lab) -> None:
    apps = [{"name": "file", "vip": "198.18.5.0/24"}]
    with site(lab, apps=apps) as made:

        def reload(**policy: Any) -> None:
            made.daemon.configure(gocast_file(lab, apps=apps, policy=policy))
            made.daemon.mark()
            made.daemon.process.signal(signal.SIGHUP)
            made.daemon.wait_line("reloaded")

        made.tag("dns-1", f"vip={VIP}")
        made.tag("web", f"vip={OTHER}")
        made.bird.wait_routes({VIP, OTHER, "198.18.5.0/24"})
        before = made.bird.counters()
        reload(services=[{"name": "dns-*", "vips": ["203.0.113.0/24"]}], config={"vips": ["0.0.0.0/0"]})
        made.bird.wait_routes({VIP})
        made.address_goes(OTHER)
        assert "policy.services[0]" in made.daemon.wait_line("app consul:web: vip-not-allowed")
        assert "policy.config.vips" in made.daemon.wait_line("app config:file: vip-not-allowed")
        changed = made.bird.counters() - before
        assert (changed.updates, changed.withdraws) == (0, 2), "the one that stays sees nothing"
        reload()
        made.bird.wait_routes({VIP, OTHER, "198.18.5.0/24"})
        assert (made.bird.counters() - before).withdraws == 2


def test_whole_prefix_in_a_tag_is_refused_unless_the_file_allows_it(lab: Lab) -> None:
    with site(lab) as made:
        made.tag("whole", "vip=198.18.6.0/24")
        line = made.daemon.wait_line("app consul:whole: vip-not-allowed")
        assert "not in policy.consul.vips (0.0.0.0/0 of length /32, ::/0 of length /128)" in line
        policy = {"consul": {"vips": [{"prefix": "198.18.0.0/15", "min": 24}]}}
        made.daemon.configure(gocast_file(lab, policy=policy))
        made.daemon.process.signal(signal.SIGHUP)
        made.announced("198.18.6.0/24")


def test_named_command_is_run_with_its_arguments_and_as_its_user(lab: Lab) -> None:
    flag = lab.dir / "up"
    commands = {
        "up": {"argv": ["/usr/bin/test", "-e"], "arguments": [str(lab.dir) + "/[a-z]+"], "user": "nobody"},
        "who": {"argv": ["/bin/sh", "-c", 'test "$(id -un)" = nobody'], "user": "nobody"},
    }
    with site(lab, commands=commands, policy={"consul": {"exec": "commands"}}) as made:
        made.tag("dns", f"vip={VIP}", f"monitor=exec:@up {flag};interval=200ms", "monitor=exec:@who")
        made.daemon.wait_line("app consul:dns: monitor-failing")
        flag.touch()
        made.announced()
        made.tag("evil", f"vip={OTHER}", "monitor=exec:@up /etc/shadow")
        assert "commands.up.arguments[0]" in made.daemon.wait_line("app consul:evil: monitor-not-allowed")
        flag.unlink()
        made.gone()


def test_five_thousand_services_at_once_take_nothing_from_those_that_were_there(attacked: Site) -> None:
    before = attacked.bird.counters()
    for number in range(5000):
        attacked.consul.register(
            f"evil{number}",
            ["enable_gocast", f"gocast_vip=198.18.{number // 250}.{number % 250 + 1}/32"],
        )
    attacked.daemon.wait_line("more apps of consul refused: too-many-apps", deadline=60.0)
    until(lambda: len(attacked.bird.routes()) == 200, 60.0, "the source has what it may hold")
    attacked.check("critical", "mine")
    began = time.monotonic()
    attacked.gone(MINE, deadline=10.0)
    print(f"withdrawn {time.monotonic() - began:.3f} s after its check failed, beside 5,000 services")
    attacked.check("passing", "mine")
    attacked.announced(MINE)
    assert len(attacked.bird.routes()) == 200
    assert (attacked.bird.counters() - before).withdraws == 1


def test_ten_thousand_tags_and_a_megabyte_in_one_are_refused_in_a_line(attacked: Site) -> None:
    many = [f"vip=198.18.{number // 250}.{number % 250 + 1}/32" for number in range(10_000)]
    assert "more than 64 tags of gocast_vip" in refused(attacked, "many", "bad-tag", *many)
    assert "at most 8256 are taken" in refused(attacked, "long", "bad-tag", f"vip={'9' * 400_000}")
    assert max(map(len, attacked.daemon.log().splitlines())) < 5000


def test_monitor_that_calls_the_daemons_own_urls_changes_nothing(attacked: Site) -> None:
    """A program on this host may register. Who writes a tag is not one, though his probe comes from here."""
    calls = {
        "adds": f"register?name=evil&vip={OTHER}",
        "adds-by-name": f"register?name=evil&vip={OTHER}",
        "removes": "unregister?name=friend",
    }
    friend = "203.0.113.12/32"
    attacked.http_register("friend", friend)
    attacked.announced(friend)
    for number, (name, call) in enumerate(calls.items()):
        host = "localhost" if name == "adds-by-name" else "127.0.0.1"
        attacked.tag(name, f"vip=203.0.113.{20 + number}/32", f"monitor=http:http://{host}:8080/{call};interval=1s")
        assert "403" in attacked.daemon.wait_line(f"app consul:{name}: monitor-failing")
    assert {app["name"] for app in attacked.get("/v1/apps").json()["apps"]} == {"mine", "friend", *calls}
    assert set(attacked.bird.routes()) == {MINE, friend}
    attacked.http_register("evil", OTHER)  # by a program on this host
    attacked.announced(OTHER)


def test_check_that_has_consul_call_the_daemons_own_urls_gets_no_vip_of_another_name(attacked: Site) -> None:
    """Consul's agent makes the check from this host, with whatever headers its author wants."""
    for number, vip in enumerate(("203.0.113.65/32", OTHER)):
        url = f"http://127.0.0.1:8080/register?name=dns-{number}&vip={vip}"
        check = {"HTTP": url, "Interval": "1s", "Name": "call", "Header": {"User-Agent": ["curl/8"]}}
        attacked.consul.register(f"evil{number}", [], id=f"evil{number}", checks=[check])
    attacked.announced(OTHER)  # which is for anybody: SECURITY.md
    answers = attacked.get("/v1/apps").json()["apps"]
    assert {app["name"] for app in answers} == {"mine", "dns-1"}
    assert set(attacked.bird.routes()) == {MINE, OTHER}
    answer = attacked.get("/register", name="dns-0", vip="203.0.113.65/32")
    assert "policy.services[0] keeps it" in answer.body


def test_routes_of_a_peer_are_neither_kept_nor_installed(lab: Lab) -> None:
    host, tor = two(lab)
    many = [f"198.18.{n // 256}.{n % 256}/32" for n in range(20_000)] + ["0.0.0.0/0", "2001:db8:99::/48"]
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)], announces=many)
    before = host.run("ip", "route", "show", "table", "all") + host.run("ip", "-6", "route", "show", "table", "all")
    bird.stop()
    speaker = Speaker(host, peer())
    speaker.set([route(VIP)])

    def resident() -> int:
        lines = Path(f"/proc/{speaker.exabgp()}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    until(lambda: speaker.exabgp() is not None, 10.0, "ExaBGP runs")
    time.sleep(1.0)
    empty = resident()
    bird.start()
    bird.wait_route(VIP, deadline=20.0)
    session = bird.peer().session
    until(lambda: "20001 exported" in str(bird.command(f"show protocols all {session}")), 20.0, "all is told")
    speaker.set([route(VIP), route(OTHER)])
    bird.wait_route(OTHER, deadline=20.0)  # ExaBGP has read what came before
    assert resident() - empty < 10_000, "KiB: 20,000 routes in a table are several times that"
    after = host.run("ip", "route", "show", "table", "all") + host.run("ip", "-6", "route", "show", "table", "all")
    assert after == before


def test_daemon_installs_no_route_of_a_peer(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)], announces=["198.18.9.0/24", "0.0.0.0/0"])
    app = {"name": "app", "vip": VIP}
    Daemon(host, gocast_file(lab, apps=[app]))
    bird.wait_route(VIP)
    time.sleep(1.0)
    assert "198.18.9.0" not in host.run("ip", "route", "show", "table", "all")
