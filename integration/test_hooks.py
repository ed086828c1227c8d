"""A hook in the whole of it: what it is told, at the side of what the router sees."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from integration.lab import Bird, ConsulAgent, Daemon, Lab, Peer, until
from integration.lab.consul import ttl_check

VIP = "203.0.113.10/32"
PAGE = Path(__file__).parents[1] / "docs/hooks.md"


def start(lab: Lab, hooks: dict[str, Any]) -> tuple[Bird, ConsulAgent, Daemon]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    consul = ConsulAgent(host)
    config = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "drain_time": "100ms"},
        "bgp": {"local_as": 65001, "peers": [{"address": "198.51.100.2", "peer_as": 65010}]},
        "hooks": hooks,
    }
    return bird, consul, Daemon(host, config, node=consul.node)


def program(lab: Lab, text: str) -> str:
    path = lab.dir / "hook"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def register(consul: ConsulAgent, name: str = "dns", vip: str = VIP) -> None:
    consul.register(name, ["enable_gocast", f"gocast_vip={vip}", "gocast_monitor=consul"], check=ttl_check())


def test_a_hook_is_told_of_a_vips_life_up_to_the_stop(lab: Lab) -> None:
    told = lab.dir / "told"
    hook = program(lab, f"#!/bin/sh\ncat >>{told}\n")
    bird, consul, daemon = start(lab, {"on_change": [hook], "kinds": ["vip", "daemon"]})
    register(consul)
    bird.wait_routes({VIP}, deadline=20.0)
    consul.update_check("critical", service_id="dns")
    bird.wait_routes(set())
    consul.update_check("passing", service_id="dns")
    bird.wait_routes({VIP})
    assert daemon.stop() == 0
    events = [json.loads(line) for line in told.read_text().splitlines()]
    assert (events[0]["kind"], events[0]["reason"]) == ("daemon", "started")
    of_vip = [event["reason"] for event in events if event["subject"] == VIP]
    assert re.fullmatch("(announced) (monitor-failing) (announced) withdrawing", " ".join(of_vip)), of_vip
    assert [event["number"] for event in events] == sorted(event["number"] for event in events)


def test_one_that_hangs_holds_up_nothing(lab: Lab) -> None:
    pids = lab.dir / "pids"
    hook = program(lab, f"#!/bin/sh\necho $$ >>{pids}\nexec sleep 1000\n")
    bird, consul, daemon = start(lab, {"on_change": [hook], "timeout": "3s", "queue": 1})
    register(consul)
    bird.wait_routes({VIP}, deadline=20.0)
    until(pids.exists, 10.0, "the hook runs")
    for number in range(20):
        register(consul, f"more-{number}", f"198.18.0.{number}/32")
    bird.wait_routes({VIP, *(f"198.18.0.{number}/32" for number in range(20))}, deadline=20.0)
    daemon.wait_line("hooks.on_change is slower than what happens", 10.0)
    assert daemon.stop(timeout=20.0) == 0
    assert not [pid for pid in pids.read_text().split() if Path("/proc", pid).exists()]


def test_the_pages_script_works_as_it_stands(lab: Lab) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    folder = lab.dir / "announcements"
    folder.mkdir()
    hook = program(lab, script.replace("/var/lib/announcements", str(folder)))
    bird, consul, daemon = start(lab, {"on_change": [hook]})
    register(consul)
    bird.wait_routes({VIP}, deadline=20.0)
    state = folder / "203.0.113.10_32"
    until(lambda: state.exists() and json.loads(state.read_text())["reason"] == "announced", 10.0, "it is written")
    assert "hooks.on_change failed" not in daemon.log()
