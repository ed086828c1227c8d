"""What flaps is held back: as the router sees it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
import urllib.parse

from integration.lab import Lab, UpdateTap, until
from integration.test_stories import OTHER, VIP, World, world

QUICK = {"half_life": "2s", "suppress": 3000, "reuse": 1000, "max_suppress": "6s"}
FEW = 20  # UPDATEs; the changes are many times that


def ask(made: World, path: str, **query: str) -> None:
    """Call one of GoCast's URLs; unlike Consul's tags, what it says is taken in at any rate."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
    with contextlib.closing(connection):
        with made.host.inside():
            connection.sock = socket.create_connection(("127.0.0.1", 8080), 10)
        connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
        assert connection.getresponse().status == 200


def test_what_flaps_for_ever_is_suppressed_and_comes_back_when_it_is_calm(lab: Lab) -> None:
    with world(lab, bgp={"damping": QUICK}) as made, UpdateTap(made.bird.host) as tap:
        made.register("ntp", vip=OTHER)
        made.announced(OTHER)
        for _ in range(60):
            ask(made, "/register", name="dns", vip=VIP)
            time.sleep(0.03)
            ask(made, "/unregister", name="dns")
            time.sleep(0.03)
        ask(made, "/register", name="dns", vip=VIP)
        made.daemon.wait_line(rf"vip {VIP}: suppressed \(flapped \d+ times; announced again at \S+Z ")
        assert VIP not in made.bird.routes()
        assert tap.count(VIP) <= FEW
        until(made.has_address, 5.0, "its address is there")
        made.announced(deadline=15.0)
        assert tap.count(VIP) <= FEW + 1
        assert tap.count(OTHER) == 1
        assert tap.lost() == 0


def test_restarting_a_few_times_is_not_suppressed_by_default(lab: Lab) -> None:
    with world(lab) as made:
        made.register()
        made.announced()
        for _ in range(4):
            made.check("critical")
            made.gone()
            made.check("passing")
            made.announced()


def test_communities_that_change_all_the_time_never_withdraw_and_the_last_ones_count(lab: Lab) -> None:
    with world(lab, bgp={"damping": QUICK}) as made, UpdateTap(made.bird.host) as tap:
        for number in range(100):
            ask(made, "/register", name="dns", vip=VIP, vip_communities=f"65000:{number}")
        made.daemon.wait_line(rf"vip {VIP}: announced \(its attributes change too often")
        last = ("65000:99",)
        until(lambda: made.bird.routes()[VIP].communities == last, 15.0, "the last communities are at BIRD")
        assert made.bird.counters().withdraws == 0
        assert tap.count(VIP) <= FEW
