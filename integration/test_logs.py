"""The log of a real daemon: one object a line, a reason in each, and silence while nothing changes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from integration.lab import Bird, ConsulAgent, Daemon, Lab, Peer
from integration.lab.consul import ttl_check

SECONDS = 30
JSON = {"CONSULCAST_LOG_FORMAT": "json"}


def lines(daemon: Daemon) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.log().splitlines()]


def settings(lab: Lab, name: str, peer: str, **more: Any) -> dict[str, Any]:
    directory = lab.dir / name
    directory.mkdir()
    agent = {"run_dir": str(directory / "run"), "state_dir": str(directory / "state")}
    return {"agent": agent, "bgp": {"local_as": 65001, "peer_as": 65010, "peer_ip": peer}, **more}


def test_every_line_is_an_object_with_a_reason_and_nothing_is_said_twice(lab: Lab) -> None:
    quiet, troubled, tor = lab.host("quiet"), lab.host("troubled"), lab.host("tor")
    lab.link(quiet, tor, "198.51.100.1/30", "198.51.100.2/30")
    lab.link(troubled, tor, "198.51.100.5/30", "198.51.100.6/30")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001, name="quiet"), Peer("198.51.100.5", 65001, name="troubled")])
    consuls = ConsulAgent(quiet), ConsulAgent(troubled)
    tags = ["enable_gocast", "gocast_monitor=consul", "gocast_vip=203.0.113.1/32"]
    clock = {"name": "clock", "vip": "203.0.113.2/32", "monitors": ["exec:date +%s%N; exit 1"]}
    here = Daemon(quiet, settings(lab, "quiet", "198.51.100.2"), node=consuls[0].node, env=JSON)
    there = Daemon(troubled, settings(lab, "troubled", "198.51.100.6", apps=[clock]), node=consuls[1].node, env=JSON)
    for consul in consuls:
        consul.register("dns", tags, check=ttl_check())
    for daemon in (here, there):
        daemon.wait_line("vip 203.0.113.1/32: announced", 30.0)
    there.wait_line("vip 203.0.113.2/32: monitor-failing", 30.0)

    consuls[1].stop()
    there.wait_line("consul-stale", 60.0)
    bird.disable("troubled")
    there.wait_line("peer-down", 30.0)
    time.sleep(12)  # what all of this leads to is said by then
    before = [len(lines(daemon)) for daemon in (here, there)]
    time.sleep(SECONDS)
    said = [lines(daemon)[known:] for daemon, known in zip((here, there), before, strict=True)]
    assert said == [[], []]

    for daemon in (here, there):
        daemon.stop()
        found = lines(daemon)
        assert [line for line in found if not line.get("reason") or "Z" not in line["ts"]] == []
    reasons = {(line["reason"], line.get("vip") or line.get("peer") or line.get("app")) for line in lines(here)}
    assert ("announced", "203.0.113.1/32") in reasons
    assert ("passing", "consul:dns") in reasons
    assert ("peer-up", "198.51.100.2") in reasons
    assert {"started", "consul-synced", "stopping", "stopped"} <= {reason for reason, _ in reasons}
    assert Path(f"/proc/{here.process.pid}").exists() is False
