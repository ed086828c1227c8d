"""The daemon started again with `bgp.graceful_restart`, told at the router; and what is no restart."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from integration.lab import Lab, Process, UpdateTap, until
from integration.test_stories import OTHER, VIP, VIP6, World, world

NAT = "gocast_nat=udp:53:8053"


@pytest.fixture
def spine(lab: Lab) -> Iterator[World]:
    with world(lab, bgp={"graceful_restart": "60s"}) as made:
        yield made


@dataclass
class Watch:
    """Everything that happens to the host's addresses and NAT rules."""

    addresses: Process
    rules: Process

    def text(self) -> str:
        return self.addresses.text() + "".join(
            line for line in self.rules.text().splitlines(keepends=True) if "delete" in line and "somebody" not in line
        )


def watch(spine: World) -> Watch:
    made = Watch(
        spine.host.spawn("ip", "monitor", "address", name="ip-monitor"),
        spine.host.spawn("nft", "monitor", name="nft-monitor"),
    )

    def sees() -> bool:
        spine.host.run("ip", "addr", "replace", "198.18.7.7/32", "dev", "lo")
        spine.host.run("nft", "add", "table", "ip", "somebody")
        spine.host.run("nft", "delete", "table", "ip", "somebody")
        return "198.18.7.7" in made.addresses.text() and "somebody" in made.rules.text()

    until(sees, 10, "they see what happens", every=0.1)
    return made


def leave(spine: World) -> None:
    spine.daemon.process.signal(signal.SIGUSR2)
    assert spine.daemon.process.wait(10.0) == 0


def test_restart_takes_nothing_from_router_or_host(spine: World) -> None:
    spine.register("dns", NAT)
    spine.register("web", vip=VIP6)
    spine.register("ntp", vip=OTHER)
    spine.bird.wait_routes({VIP, VIP6, OTHER})
    spine.daemon.wait_line("NAT added")
    seen = watch(spine)
    with UpdateTap(spine.bird.host) as tap:
        for _ in range(3):
            leave(spine)
            tap.clear()
            spine.daemon.start()
            until(lambda: len(tap.ends_of_rib()) == 2, 20, "End-of-RIB of both families")
            assert spine.bird.routes().keys() == {VIP, VIP6, OTHER}
            updates = tap.updates()
            assert [update for update in updates if update.withdrawn] == []
            assert max(update.at for update in updates) <= min(end.at for end in tap.ends_of_rib())
    assert "Deleted" not in seen.text()
    assert "203.0.113" not in seen.text(), "no address was even touched"
    assert "delete" not in seen.text()


def test_what_went_between_end_and_start_is_withdrawn_and_its_address_goes_after_the_route(spine: World) -> None:
    spine.register()
    spine.register("ntp", vip=OTHER)
    spine.bird.wait_routes({VIP, OTHER})
    leave(spine)
    spine.consul.deregister("ntp")
    assert spine.bird.routes().keys() == {VIP, OTHER}
    spine.daemon.start()
    while OTHER in spine.bird.routes():
        assert spine.has_address(OTHER), "the address goes after the route"
        time.sleep(0.01)
    assert spine.has_address(OTHER), "and after the drain time"
    spine.address_goes(OTHER)
    assert VIP in spine.bird.routes()
    assert spine.has_address(VIP)


def test_what_failed_between_end_and_start_is_withdrawn(spine: World) -> None:
    spine.register()
    spine.register("ntp", vip=OTHER)
    spine.bird.wait_routes({VIP, OTHER})
    leave(spine)
    spine.check("critical", "ntp")
    spine.daemon.start()
    spine.bird.wait_routes({VIP}, deadline=20)


def test_consul_that_does_not_answer_after_a_restart_costs_no_route(spine: World) -> None:
    spine.register()
    spine.announced()
    leave(spine)
    spine.consul.pause()
    with UpdateTap(spine.bird.host) as tap:
        spine.daemon.start()
        spine.daemon.wait_line("peer 198.51.100.2 AS65010: up", deadline=20)
        time.sleep(3)
        assert VIP in spine.bird.routes()
        assert spine.has_address()
        assert tap.ends_of_rib() == []
        spine.consul.resume()
        until(lambda: len(tap.ends_of_rib()) == 2, 30, "End-of-RIB")
        assert VIP in spine.bird.routes()


def test_stop_withdraws_all_in_order(spine: World) -> None:
    spine.register("dns", NAT)
    spine.announced()
    with UpdateTap(spine.bird.host) as tap:
        spine.daemon.process.signal(signal.SIGTERM)
        tap.wait(VIP, announced=False)
        assert spine.has_address(), "the address stays for the drain time"
        assert spine.daemon.process.wait(10.0) == 0
    assert not spine.has_address()
    assert spine.bird.routes() == {}
    spine.bird.process.wait_line("Received: Administrative shutdown")


def test_killed_daemon_loses_its_routes_at_once_all_the_same(spine: World) -> None:
    spine.register()
    spine.announced()
    spine.daemon.kill9()
    spine.gone(deadline=1.0)


def test_restart_is_a_stop_where_it_is_not_asked_for(lab: Lab) -> None:
    with world(lab) as spine:
        spine.register()
        spine.announced()
        leave(spine)
        spine.daemon.wait_line("SIGUSR2 without bgp.graceful_restart is a stop like any other")
        spine.gone()
        assert not spine.has_address()


def test_what_failed_while_the_daemon_stood_still_is_not_announced_again(lab: Lab) -> None:
    with world(lab, bgp={"lease": "2s"}) as spine:
        spine.register()
        spine.register("ntp", vip=OTHER)
        spine.bird.wait_routes({VIP, OTHER})
        spine.daemon.process.pause()
        spine.check("critical", "ntp")
        spine.bird.wait_routes(set(), deadline=10)
        with UpdateTap(spine.bird.host) as tap:
            spine.daemon.process.resume()
            spine.announced(VIP, deadline=20)
            time.sleep(1)
            assert tap.count(OTHER) == 0
