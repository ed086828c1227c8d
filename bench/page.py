"""``make bench-page``: how late the daemon's hub is with many apps, changes all the time and open browsers.

A host with APPS apps of the file and a router. Every 200 ms an app over HTTP comes or goes; every 5 s the port of a
hundred apps closes or opens. A ticker in the daemon's hub notes how late it is (bench/ticker.py): without a browser,
with the page open in real Chromiums, and with a client besides that reads the API once a second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.world import LISTENER_PORT, listening
from integration.lab import Bird, Lab, Peer
from integration.lab.browser import browser, watched

ADDRESS, ROUTER = "198.51.100.1", "198.51.100.2"
HOST_AS, ROUTER_AS = 65001, 65010
MONITORED = 100  # apps whose port comes and goes
URL = "http://127.0.0.1:8080/"


class Site:
    """The host, its router and the daemon."""

    def __init__(self, lab: Lab, apps: int) -> None:
        self.host, tor = lab.host("host"), lab.host("tor")
        lab.link(self.host, tor, f"{ADDRESS}/24", f"{ROUTER}/24")
        self.bird = Bird(tor, ROUTER_AS, [Peer(ADDRESS, HOST_AS)])
        self.ticks = lab.dir / "ticks"
        config = {
            "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "cleanup_timer": "1h"},
            "bgp": {
                "local_as": HOST_AS,
                "peer_as": ROUTER_AS,
                "peer_ip": ROUTER,
                "damping": {"enabled": False},
            },
            "apps": [_app(number) for number in range(apps)],
        }
        file = lab.dir / "page.yaml"
        file.write_text(yaml.safe_dump(config))
        env = {"TICKS": str(self.ticks), "PYTHONPATH": os.getcwd()} | {
            key: value for key, value in os.environ.items() if key.startswith("GEVENT_")
        }
        command = (sys.executable, "-m", "bench.ticker", "run", "--config", str(file))
        self.daemon = self.host.spawn(*command, name="consulcast", env=env)
        self.bird.wait_established()
        prefix = f"198.18.{(apps - 1) // 250}.{(apps - 1) % 250 + 1}/32"
        self.bird.wait_route(prefix, deadline=60.0)

    def late(self, begin: float, end: float) -> list[float]:
        """Return the ticks' delays in milliseconds, between two times."""
        lines = (line.split() for line in self.ticks.read_text().splitlines())
        return [float(tick) for at, *ticks in lines if begin <= float(at) <= end for tick in ticks]


def _app(number: int) -> dict[str, object]:
    monitors = [f"port:tcp:{LISTENER_PORT}"] if number < MONITORED else []
    return {"name": f"app-{number:04}", "vip": f"198.18.{number // 250}.{number % 250 + 1}/32", "monitors": monitors}


@contextlib.contextmanager
def _always(site: Site, pause: float, *urls: str) -> Iterator[None]:
    """Ask the daemon for one URL after the other, for as long as the block lasts."""
    with site.host.inside():
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=30)
        connection.connect()
    over = threading.Event()

    def ask() -> None:
        while True:
            for url in urls:
                if over.wait(pause):
                    return
                connection.request("GET", url)
                connection.getresponse().read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        connection.close()


def _changes(site: Site) -> contextlib.AbstractContextManager[None]:
    return _always(site, 0.2, "/register?name=comes&vip=203.0.113.10/32", "/unregister?name=comes")


def _live(site: Site, seconds: float) -> tuple[float, float]:
    """Let time go by, with the listener coming and going. Returns when it began and ended."""
    begin = time.time()
    while time.time() < begin + seconds:
        listener = listening(site.host, [LISTENER_PORT])
        time.sleep(5)
        listener.kill()
        time.sleep(5)
    return begin, time.time()


def _row(name: str, late: list[float]) -> str:
    cuts = statistics.quantiles(late, n=1000, method="inclusive")
    figures = (statistics.median(late), cuts[989], cuts[998], max(late))
    return f"| {name:33} | {len(late):6} | " + " | ".join(f"{figure:6.1f}" for figure in figures) + " |"


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench.page", description=__doc__)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--browsers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30, help="of each part")
    options = parser.parse_args()
    rows, wrong = [], []
    with Lab() as lab:
        site = Site(lab, options.apps)
        with _changes(site):
            rows.append(_row("no browser", site.late(*_live(site, options.seconds))))
            with browser(site.host) as chromium:
                pages = [chromium.new_context().new_page() for _ in range(options.browsers)]
                for page in pages:
                    wrong.append(watched(page))
                    page.goto(URL)
                for page in pages:
                    page.wait_for_selector("#live.on")
                rows.append(_row(f"{options.browsers} browsers", site.late(*_live(site, options.seconds))))
                with _always(site, 0.5, "/v1/apps", "/v1/vips"):
                    rows.append(_row("and the API asked", site.late(*_live(site, options.seconds))))
                states = [page.text_content("#live") for page in pages]
        print(f"{options.apps} apps; every browser at the end: {', '.join(sorted(set(map(str, states))))}")
        trouble = [text for texts in wrong for text in texts]
        if trouble:
            print(f"in the browsers' consoles: {trouble}")
        log = Path(site.daemon.log).read_text(errors="replace")
        if keep := os.environ.get("KEEP_LOG"):
            Path(keep).write_text(log)
    print("| ms late, of a tick every 5 ms      | ticks  | median | p99    | p99.9  | most   |")
    print("|-----------------------------------|--------|--------|--------|--------|--------|")
    print("\n".join(rows))
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
