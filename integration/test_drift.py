"""What somebody else undoes on the host is put back at once, and no route suffers: the real kernel, and BIRD to ask."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integration.lab import Bird, Daemon, Host, Lab, Peer, until

HOST_AS, ROUTER_AS = 65001, 65010
V4, V6, PREFIX4, PREFIX6 = "203.0.113.10/32", "2001:db8:53::10/128", "198.18.7.0/24", "2001:db8:7::/64"
ALL = {V4, V6, PREFIX4, PREFIX6}
MINE, MINE6 = "203.0.113.99/32", "2001:db8:53::99/128"  # the operator's


@dataclass
class World:
    """A host with the daemon, and its router."""

    host: Host
    bird: Bird
    daemon: Daemon
    device: str

    def ip(self, *words: str) -> None:
        """Be the operator."""
        self.host.run("ip", *words)

    def has(self, address: str) -> bool:
        return address in self.host.addresses(self.device)

    def whole(self) -> bool:
        """Whether all stands on the host, IPv6's local route too."""
        routes = self.host.run("ip", "-6", "route", "show", "table", "local", "dev", self.device)
        return self.host.addresses(self.device) >= ALL and f"local {PREFIX6} " in routes

    def put_back(self, deadline: float = 3.0) -> None:
        until(self.whole, deadline, f"all is put back; the daemon says: {self.daemon.log()[-2000:]}")

    def drifts(self) -> list[str]:
        return [line for line in self.daemon.log().splitlines() if "drift: " in line]


@contextlib.contextmanager
def world(lab: Lab, device: str = "lo", **agent: Any) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    if device != "lo":
        host.run("ip", "link", "add", device, "up", "type", "bridge")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    config = {
        "agent": {
            "run_dir": str(lab.dir / "run"),
            "state_dir": str(lab.dir / "state"),
            "vip_device": device,
            "listen_addr": "",
            **agent,
        },
        "bgp": {"local_as": HOST_AS, "peer_as": ROUTER_AS, "peer_ip": "198.51.100.2"},
        "apps": [{"name": f"app-{number}", "vip": vip} for number, vip in enumerate(sorted(ALL))],
    }
    daemon = Daemon(host, config)
    bird.wait_routes(ALL, deadline=20.0)
    made = World(host, bird, daemon, device)
    made.put_back()
    yield made
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()
    assert not host.addresses(device) & ALL
    assert "2001:db8:7::" not in host.run("ip", "-6", "route", "show", "table", "all")


def test_address_removed_by_hand_is_back_at_once_and_no_route_suffers(lab: Lab) -> None:
    with world(lab) as made:
        for address in (V4, V6, PREFIX4, PREFIX6):
            made.ip("addr", "del", address, "dev", "lo")
            made.put_back()
        assert made.bird.counters().withdraws == 0
        assert [line.partition("drift: ")[2] for line in made.drifts()] == [
            f"address {address} removed by somebody else" for address in (V4, V6, PREFIX4, PREFIX6)
        ]


def test_addresses_flushed_at_once_are_one_line_and_what_is_not_ours_is_left_as_it_is(lab: Lab) -> None:
    with world(lab) as made:
        made.ip("addr", "add", MINE, "dev", "lo")
        made.ip("addr", "flush", "dev", "lo", "scope", "host")
        made.put_back()
        assert made.has(MINE)
        assert not made.has("127.0.0.1/8")
        assert made.bird.counters().withdraws == 0
        assert 1 <= len(made.drifts()) <= 2, "the first event is obeyed at once, the rest together"


def test_loopback_down_withdraws_and_up_again_announces_with_the_addresses_back(lab: Lab) -> None:
    with world(lab) as made:
        made.ip("link", "set", "lo", "down")
        made.bird.wait_routes(set())
        made.daemon.wait_line(rf"vip {V4}: address-failed \(device lo is down: ip link set lo up\)")
        time.sleep(0.5)
        assert not made.has(V6), "nothing is added to a device that is down"
        made.ip("link", "set", "lo", "up")
        made.bird.wait_routes(ALL)
        made.put_back()
        assert made.bird.counters().withdraws == len(ALL)
        (line,) = made.drifts()
        assert "device was down or gone and is up again" in line


def test_device_deleted_and_made_again_gets_its_addresses_again(lab: Lab) -> None:
    with world(lab, "vips0") as made:
        for _ in range(2):
            made.ip("link", "del", "vips0")
            made.bird.wait_routes(set())
            made.daemon.wait_line("address-failed .no network device 'vips0'")
            made.daemon.mark()
            made.ip("link", "add", "vips0", "type", "bridge")
            time.sleep(0.2)
            assert made.bird.routes() == {}, "it is there, and down"
            made.ip("link", "set", "vips0", "up")
            made.bird.wait_routes(ALL)
            made.put_back()
        # an address of a device that is about to go may be seen to go first
        assert len([line for line in made.drifts() if "device was down or gone" in line]) == 2
        made.ip("link", "set", "vips0", "down")
        made.ip("link", "set", "vips0", "name", "other0")
        made.bird.wait_routes(set())
        made.ip("link", "set", "other0", "name", "vips0")
        made.ip("link", "set", "vips0", "up")
        made.bird.wait_routes(ALL)


def test_address_that_an_operator_took_over_is_used_and_never_removed(lab: Lab) -> None:
    with world(lab) as made:
        made.ip("addr", "replace", V4, "dev", "lo")
        made.daemon.wait_line(f"address {V4} is somebody else's now")
        made.ip("addr", "del", V6, "dev", "lo")
        made.put_back()
        made.bird.wait_routes(ALL)
        assert made.bird.counters().withdraws == 0
        assert made.daemon.stop() == 0
        assert made.has(V4)
        made.ip("addr", "del", V4, "dev", "lo")
        made.daemon.start()
        made.bird.wait_routes(ALL, deadline=20.0)


def test_local_route_of_a_whole_prefix_of_which_no_event_tells_comes_back_by_the_sweep(lab: Lab) -> None:
    with world(lab) as made:
        made.ip("-6", "route", "del", "local", PREFIX6, "dev", "lo", "table", "local")
        until(made.drifts, 40.0, "it is seen to be gone")  # by a look for another reason, if there is one just then
        made.put_back(deadline=40.0)
        assert made.bird.counters().withdraws == 0
        (line,) = made.drifts()
        assert PREFIX6 in line


def test_former_run_killed_between_address_and_route_of_a_prefix_is_made_whole_or_cleaned_up(lab: Lab) -> None:
    with world(lab) as made:
        made.daemon.kill9()
        made.ip("-6", "route", "del", "local", PREFIX6, "dev", "lo", "table", "local")  # made second
        made.daemon.start()
        made.bird.wait_routes(ALL, deadline=20.0)
        made.put_back()
        made.daemon.kill9()
        made.ip("addr", "del", PREFIX6, "dev", "lo")  # the route alone is left
        config = made.daemon.config.read_text()
        made.daemon.configure(config.replace(PREFIX6, "2001:db8:8::/64"))
        made.daemon.start()
        until(
            lambda: "2001:db8:7::" not in made.host.run("ip", "-6", "route", "show", "table", "all"),
            20.0,
            "the route that nobody wants is gone",
        )
        made.daemon.stop()
        assert "2001:db8:8::" not in made.host.run("ip", "-6", "route", "show", "table", "all")


WATCH = """
from gevent import monkey; monkey.patch_all()
import functools, json, os, subprocess, sys
import gevent
from consulcast.executor.own_changes import OwnChanges
from consulcast.executor import device_events, netlink
room = int(sys.argv[1])
device_events.Subscription = functools.partial(netlink.Subscription, room=room)
told = []
events = device_events.DeviceEvents("lo", OwnChanges(lambda: 0), lambda kind: told.append(str(kind)), gevent.spawn)
events.start()
gevent.sleep(0.1)
with open(sys.argv[2], "w") as file:
    file.writelines(f"addr add 198.18.{n // 250}.{n % 250}/32 dev lo\\n" for n in range(1000))
wait = monkey.get_original("os", "waitpid")  # the hub does not turn meanwhile: nobody reads
wait(os.posix_spawnp("ip", ["ip", "-batch", sys.argv[2]], os.environ), 0)
gevent.sleep(0.3)
after = list(told); told.clear()
subprocess.run(["ip", "addr", "del", "198.18.0.1/32", "dev", "lo"], check=True)
gevent.sleep(0.3)
print(json.dumps([after, told])); sys.stdout.flush(); os._exit(0)
"""


@pytest.mark.parametrize(("room", "first"), [(4096, {"address", "netlink"}), (1 << 20, {"address"})])
def test_events_that_come_faster_than_they_are_read_are_told_as_lost_and_hearing_goes_on(
    lab: Lab, room: int, first: set[str]
) -> None:
    host = lab.host("host")
    done = host.run(sys.executable, "-c", WATCH, str(room), str(lab.dir / "batch"))
    burst, after = json.loads(done)
    assert set(burst) == first
    assert len(burst) <= 4, "a thousand events are a few looks"
    assert after == ["address"]
