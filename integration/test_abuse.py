"""Who may register services writes anything into every field of a tag: what the router, the host and the daemon see."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.gocast_site import Site, site
from integration.lab import Lab
from integration.lab.consul import ttl_check
from integration.test_stories import OTHER

MINE = "203.0.113.10/32"  # of a service that was there before

TOUCHES = [
    ";touch {}",
    "$(touch {})",
    "`touch {}`",
    "|touch {}",
    "&&touch {}",
    "\ntouch {}\n",
    "'; touch {}; '",
    '"; touch {}; "',
]
UNPRINTABLE = [
    "\x00",
    "\x1b[2J",
    "\r\n2026-01-01 INFO forged",
    "\u202egnp.exe",
    "\u2028x",
    "\x85x",
    "\u0660",
    "\U000e0001",
]
FIELDS = {
    "vip": (f"vip={OTHER}{{}}",),
    "nat": (f"vip={OTHER}", "nat=tcp:53:8053{}"),
    "nat-protocol": (f"vip={OTHER}", "nat=tcp{}:53"),
    "communities": (f"vip={OTHER}", "vip_communities=65000:1{}"),
    "port": (f"vip={OTHER}", "monitor=port:tcp:53{}"),
    "http": (f"vip={OTHER}", "monitor=http:http://127.0.0.1:1/{}"),
    "host": (f"vip={OTHER}", "monitor=tcp:127.0.0.1{}:1"),
    "dns": (f"vip={OTHER}", "monitor=dns:127.0.0.1:example.org{}"),
    "option": (f"vip={OTHER}", "monitor=port:tcp:53;interval=1s{}"),
    "consul": (f"vip={OTHER}", "monitor=consul{}"),
    "exec": (f"vip={OTHER}", "monitor=exec:@check{}"),
    "kind": (f"vip={OTHER}", "monitor={}:53"),
}


@pytest.fixture
def attacked(lab: Lab) -> Iterator[Site]:
    """A host with a running service, and an attacker who may register any other."""
    with site(lab) as made:
        made.tag("mine", f"vip={MINE}", "monitor=consul", checks=[ttl_check()])
        made.announced(MINE)
        yield made
        assert made.alive()


def untouched(site: Site, mark: Path, rules: str) -> None:
    """Nobody but the service that was there is announced; nothing was run; every log line is one of ours."""
    time.sleep(1.0)
    assert set(site.bird.routes()) == {MINE}
    assert not mark.exists()
    assert site.host.run("nft", "list", "ruleset") == rules
    assert OTHER not in site.host.addresses()
    lines = site.daemon.log().splitlines()
    assert all(line.isprintable() and len(line) < 5000 for line in lines)
    assert not [line for line in lines if line.startswith("2026-01-01 INFO forged")]


@pytest.mark.parametrize("texts", [TOUCHES, UNPRINTABLE], ids=["shell", "unprintable"])
def test_whatever_stands_in_a_field_of_a_tag_is_a_value_or_refuses_that_app(
    attacked: Site,
    tmp_path: Path,
    texts: list[str],
) -> None:
    mark, rules, before = tmp_path / "was-here", attacked.host.run("nft", "list", "ruleset"), attacked.bird.counters()
    names = [f"{field}-{number}" for field in FIELDS for number in range(len(texts))]
    for name in names:
        field, _, number = name.rpartition("-")
        attacked.tag(name, *(tag.replace("{}", texts[int(number)].format(mark)) for tag in FIELDS[field]))
    for name in names:
        attacked.daemon.wait_line(rf"app consul:{name}: (bad-tag|monitor-not-allowed|monitor-failing)")
    untouched(attacked, mark, rules)
    assert attacked.bird.counters() == before
    for name in names:
        attacked.consul.deregister(name)
    attacked.tag("good", f"vip={OTHER}")
    attacked.announced(OTHER)


def test_names_that_are_paths_or_that_nobody_can_print_are_names(attacked: Site, tmp_path: Path) -> None:
    files = {path for path in attacked.lab.dir.rglob("*") if path.suffix != ".log"}
    names = [
        *(
            "../../../../tmp/cc-owned",
            "/etc/passwd",
            "..",
            "a/../../b",
            "%2e%2e%2f",
            "-rf",
            "~root",
            "json",
            "#",
            "{0}%s",
        ),
        *("日本語", "e\u0301", "\u202egnp.exe", "a\x1b[2J", "a\r\n2026-01-01 INFO forged", "\u2028", "\U000e0001"),
    ]
    vips = {name: f"203.0.113.{100 + number}/32" for number, name in enumerate(names)}
    for number, (name, vip) in enumerate(vips.items()):
        attacked.tag(name, f"vip={vip}", id=f"{name}" if "/" not in name else f"id-{number}")
    attacked.bird.wait_routes({MINE, *vips.values()}, deadline=30.0)
    assert {app["name"] for app in attacked.get("/v1/apps").json()["apps"]} == {"mine", *names}
    new = {path.name for path in attacked.lab.dir.rglob("*") if path not in files and path.suffix != ".log"}
    assert not new, "a name has become a file"
    assert not Path("/tmp/cc-owned").exists()
    lines = attacked.daemon.log().splitlines()
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("2026-01-01 INFO forged")]
    metrics = attacked.get("/metrics")
    assert metrics.status == 200
    assert all(line.isprintable() for line in metrics.body.split("\n"))


def test_a_tag_of_a_megabyte_is_refused_in_a_line(attacked: Site) -> None:
    before = attacked.bird.counters()
    attacked.tag("huge", f"vip={OTHER}", f"vip={'9' * (1 << 20)}")  # Consul takes it
    assert len(attacked.daemon.wait_line("app consul:huge: bad-tag")) < 1000
    time.sleep(0.5)
    assert set(attacked.bird.routes()) == {MINE}
    assert attacked.bird.counters() == before
    attacked.tag("good", f"vip={OTHER}")
    attacked.announced(OTHER)


DEAF = """
import socket, time
server = socket.create_server(("127.0.0.1", 9099), backlog=4096)
print("ready", flush=True)
time.sleep(600)
"""


def test_monitors_that_hang_keep_nobody_elses_from_being_looked_at(attacked: Site) -> None:
    attacked.host.spawn(sys.executable, "-c", DEAF, name="deaf").wait_line("ready")
    team = attacked.serve(8053)
    attacked.tag("team", f"vip={OTHER}", "monitor=tcp:198.51.100.1:8053;interval=1s;fall=1")
    attacked.announced(OTHER)
    for number in range(6):
        hanging = [f"monitor=http:http://127.0.0.1:9099/{number}/{each};timeout=300s" for each in range(64)]
        attacked.tag(f"evil{number}", f"vip=198.18.0.{number + 1}/32", *hanging)
    attacked.daemon.wait_line("app consul:evil5: registered")
    time.sleep(5.0)  # by then all of them hang
    team.stop()
    attacked.gone(OTHER, deadline=10.0)
