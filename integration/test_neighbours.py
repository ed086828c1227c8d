"""A busy datacenter: what others write does not keep our blocking queries from being parked."""

from __future__ import annotations

import re
import sys
import time

from integration.consul_watcher import Watcher
from integration.lab import ConsulAgent, ConsulRelay, Host
from integration.lab.consul import ttl_check
from integration.lab.consul_relay import Reply, Wrong

TAGS = ["enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=consul"]
SECONDS = 8.0
FAR = 0.02  # seconds to the servers, in which some neighbour has always written something


def test_our_queries_are_parked_beside_neighbours_whose_checks_change_all_the_time(host: Host) -> None:
    consul = ConsulAgent(host, config={"log_level": "DEBUG"})  # which logs every request
    consul.register("dns", TAGS, check=ttl_check("passing"))
    neighbours = host.spawn(sys.executable, "-m", "integration.flapping", consul.address, "100", "300")
    neighbours.wait_line("^ready", 30.0)
    relay = ConsulRelay(consul)
    relay.set(Wrong(change=_late))
    watcher = Watcher(consul, settings={"address": relay.address}, wait=30.0)
    watcher.until(lambda state: state.health.get("dns") == "passing")
    time.sleep(4)  # it asks in vain at first

    logged = consul.process.log.stat().st_size
    time.sleep(SECONDS)
    with consul.process.log.open("rb") as log:
        log.seek(logged)
        lines = log.read().decode()
    assert len(re.findall(r"url=/v1/catalog/register", lines)) > 30 * SECONDS, "the neighbours are not busy"
    asked = re.findall(rf"url=/v1/health/node/{consul.node}\S* ", lines)
    assert len(asked) < SECONDS / 2, asked  # once a second, if each answer is in vain

    consul.update_check("critical", service_id="dns")
    watcher.until(lambda state: state.health.get("dns") == "failing", 5.0)
    consul.update_check("passing", service_id="dns")
    watcher.until(lambda state: state.health.get("dns") == "passing", 5.0)


def _late(_: str, reply: Reply) -> Reply:
    time.sleep(FAR)
    return reply
