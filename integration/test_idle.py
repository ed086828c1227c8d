"""What the daemon does while nothing happens: next to nothing."""

from __future__ import annotations

import re
import time

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer
from integration.lab.consul import ttl_check
from integration.lab.forks import descendants, drain, forks

APPS = 10
SECONDS = 60


def test_idle_daemon_forks_nothing_polls_nothing_and_asks_consul_six_times_a_minute(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    consul = ConsulAgent(host, config={"log_level": "DEBUG"})  # which logs every request
    config = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state")},
        "bgp": {"local_as": 65001, "peer_as": 65010, "peer_ip": "198.51.100.2"},
    }
    daemon = Daemon(host, config, node=consul.node)
    tags = ["enable_gocast", "gocast_monitor=consul"]
    for number in range(APPS):
        consul.register(f"app-{number}", [*tags, f"gocast_vip=203.0.113.{number}/32"], check=ttl_check("passing"))
    bird.wait_routes({f"203.0.113.{number}/32" for number in range(APPS)}, deadline=30.0)
    time.sleep(10)

    family = {daemon.process.pid, *descendants(daemon.process.pid)}
    logged, turned = consul.process.log.stat().st_size, _turns(host)
    with forks() as events:
        end, forked = time.monotonic() + SECONDS, list[int]()
        while time.monotonic() < end:  # others' forks, too, are waiting to be read, and there is room for so many
            time.sleep(0.2)
            forked += [child for parent, child in drain(events) if parent in family]
    with consul.process.log.open("rb") as log:
        log.seek(logged)
        requests = re.findall(r"agent\.http: Request finished: method=\w+ url=(\S+)", log.read().decode())
    turns = _turns(host) - turned

    assert forked == []
    assert len(requests) <= 6 * SECONDS / 60, requests
    assert requests, "the requests are not found in Consul's log"
    # ExaBGP's heartbeat and questions 36, each answer and each sweep a dozen; a poll once a second would add 60
    assert turns < 1.5 * SECONDS, f"{turns} turns of the hub in {SECONDS} s"


def _turns(host: Host) -> int:
    """How often the daemon's event loop has turned: each is a time that something woke it."""
    figures = host.run("curl", "-sf", "http://127.0.0.1:8080/metrics")
    (count,) = re.findall(r"^consulcast_hub_lateness_seconds_count (\S+)", figures, re.MULTILINE)
    return int(float(count))
