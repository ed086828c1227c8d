"""A host with services, some of them in trouble, and its status page in a real Chromium.

``python -m integration.status_page`` (``make screenshots``) draws the pictures of docs/images from it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer
from integration.lab.browser import Browser, Page, browser
from integration.lab.consul import ttl_check

URL = "http://127.0.0.1:8080/"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
PHONE = {"width": 360, "height": 800}
DESK = {"width": 1280, "height": 900}


class Scene:
    """Six services with VIPs: some announced, one critical, one in maintenance, one that may not have its VIP."""

    def __init__(self, lab: Lab) -> None:
        self.host: Host = lab.host("host")
        tor = lab.host("tor")
        lab.link(self.host, tor, "198.51.100.1/24", "198.51.100.2/24")
        self.bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
        self.consul = ConsulAgent(self.host)
        for number, name in enumerate(("dns", "ntp", "syslog", "ldap", "radius", "web"), 10):
            self.service(name, f"203.0.113.{number}/32")
        self.service("metrics", "0.0.0.0/0")
        config: dict[str, Any] = {
            "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state")},
            "bgp": {"local_as": 65001, "peer_as": 65010, "peer_ip": "198.51.100.2"},
            "drain": {"wait": "0s", "flows": "0s"},
        }
        self.daemon = Daemon(self.host, config, node=self.consul.node)
        self.bird.wait_route("203.0.113.10/32")

    def service(self, name: str, vip: str, status: str = "passing") -> None:
        """Register a service with one check and one VIP."""
        tags = ["enable_gocast", "gocast_monitor=consul", f"gocast_vip={vip}"]
        self.consul.register(name, tags, check=ttl_check(status))

    def trouble(self) -> None:
        """What an operator would look for."""
        self.consul.update_check("critical", service_id="ldap")
        self.consul.maintenance(True, "radius", "new disks")
        self.bird.wait_route("203.0.113.13/32", present=False)
        self.bird.wait_route("203.0.113.14/32", present=False)

    def page(self, chromium: Browser, **how: Any) -> Page:
        """Open the page; ``how`` is the browser's context."""
        page = chromium.new_context(viewport=how.pop("viewport", DESK), **how).new_page()
        page.goto(URL)
        return page


def main() -> int:
    """Draw the pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Lab() as lab:
        scene = Scene(lab)
        scene.trouble()
        with browser(scene.host) as chromium:
            for name, how in (
                ("light", {"color_scheme": "light"}),
                ("dark", {"color_scheme": "dark"}),
                ("phone", {"color_scheme": "light", "viewport": PHONE, "is_mobile": True}),
            ):
                page = scene.page(chromium, **how)
                page.wait_for_timeout(1500)  # until it is live
                page.screenshot(path=IMAGES / f"page-{name}.png", full_page=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
