"""Nodes whose checks change all the time: ``python -m integration.flapping CONSUL NODES RATE [NAME [known]]``.

Registers NODES nodes with one service and one check each in the catalog of the agent at CONSUL (``host:port``), unless
they are known already; prints ``ready``, and then turns one check after the other, RATE times a second altogether,
until it is ended. Once a second it prints how many it has turned.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time


class Flapping:
    """The nodes, and a thread that turns their checks."""

    def __init__(self, consul: str, nodes: int, rate: float, name: str) -> None:
        self._connection = http.client.HTTPConnection(consul, timeout=10)
        self._nodes, self._name, self.rate, self.turned = nodes, name, rate, 0

    def register(self) -> None:
        """Make the nodes known."""
        for number in range(self._nodes):
            self._put(number, "passing")

    def run(self) -> None:
        """Turn checks for ever."""
        due = time.monotonic()
        while True:
            due = max(due, time.monotonic() - 1) + 1 / self.rate if self.rate > 0 else time.monotonic() + 0.1
            time.sleep(max(0.0, due - time.monotonic()))
            if self.rate > 0:
                status = "passing" if self.turned // self._nodes % 2 else "critical"
                self._put(self.turned % self._nodes, status)
                self.turned += 1

    def _put(self, number: int, status: str) -> None:
        node = f"{self._name}-{number:05}"
        body = {
            "Node": node,
            "Address": f"198.18.{number // 250}.{number % 250 + 1}",
            "Service": {"ID": "web", "Service": "web", "Port": 80},
            "Check": {"Node": node, "CheckID": "web", "Name": "web", "ServiceID": "web", "Status": status},
        }
        self._connection.request("PUT", "/v1/catalog/register", json.dumps(body))
        response = self._connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise RuntimeError(f"catalog/register: {response.status} {said.decode(errors='replace')}")


def main() -> None:
    """Register, say so, and turn."""
    consul, nodes, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    flapping = Flapping(consul, nodes, rate, sys.argv[4] if len(sys.argv) > 4 else "neighbour")
    if "known" not in sys.argv[5:]:
        flapping.register()
    print("ready", flush=True)
    threading.Thread(target=flapping.run, daemon=True).start()
    while True:
        time.sleep(1)
        print(flapping.turned, flush=True)


if __name__ == "__main__":
    main()
