"""The floor: the thinnest program that could do consulcast's job for one service.

Two raw long polls, one BGP session, one ``select``. No registry, no address on the host, no care of any kind: it
believes every answer. What consulcast takes longer than this is the price of its care.

Run as ``python -m bench.floor CONSUL_PORT NODE SERVICE PREFIX ROUTER LOCAL ASN``; it prints ``ready`` when the session
is up.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
from typing import Any

from bench import bgp


class Poll:
    """One blocking query, for ever."""

    def __init__(self, port: int, path: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.path = path
        self.index = "0"
        self.ask()

    def ask(self) -> None:
        """Send the query."""
        wait = "" if self.index == "0" else f"?index={self.index}&wait=30s"
        self.connection.request("GET", self.path + wait)

    def answer(self) -> Any:
        """Read the answer, ask again, and return it."""
        response = self.connection.getresponse()
        body = response.read()
        self.index = response.headers["X-Consul-Index"]
        self.ask()
        return json.loads(body)


def main() -> None:
    """Announce the prefix while the service is tagged and none of its checks fails."""
    port, node, service, prefix, router, local, asn = sys.argv[1:]
    session = bgp.connect(router, int(asn), local)
    announce = bgp.announcement(prefix, int(asn), local)
    withdraw = bgp.withdrawal(prefix)
    catalog = Poll(int(port), f"/v1/catalog/node/{node}")
    health = Poll(int(port), f"/v1/health/node/{node}")
    tagged = failing = announced = False
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select(
            [session, catalog.connection.sock, health.connection.sock], [], [], bgp.HOLD_TIME / 3
        )
        if catalog.connection.sock in readable:
            services = (catalog.answer() or {}).get("Services", {})
            tagged = service in services and "enable_gocast" in services[service]["Tags"]
        if health.connection.sock in readable:
            failing = any(check["ServiceID"] == service and check["Status"] != "passing" for check in health.answer())
        if (tagged and not failing) is not announced:
            announced = not announced
            session.sendall(announce if announced else withdraw)
        if session in readable and not session.recv(65536):
            sys.exit("the router closed the session")
        if not readable or session in readable:
            session.sendall(bgp.message(bgp.KEEPALIVE))


if __name__ == "__main__":
    main()
