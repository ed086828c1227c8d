"""The part ``endpoints``, when it is named: which of Consul's queries is parked beside neighbours that change.

Each of the queries that could tell what a host has to know is asked over and over, with its index, for some seconds,
while the checks of 500 other nodes change; how many of its answers say what the last one said? Then the daemon's own
watch, with and without what it does about such answers: how late is the news of a change of one's own?
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

from bench.neighbours import NODES, flapping
from bench.parts import Part, Run
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Place, Site
from integration.lab import Lab, Process
from integration.lab.consul import ttl_check

CHANGES = 300  # of neighbours' checks per second, while queries are compared
SECONDS = 4.0  # for each
PAUSE = 0.005  # seconds from an answer to the next query: what a client takes to act on it
QUERIES = {
    "catalog/node/NODE": "as it is used, for tags",
    "health/node/NODE": "as it is used, for checks",
    'health/node/NODE?filter=ServiceName=="dns"': "the filter works on the answer, not on what is watched",
    "health/node/NODE?cached": "not an endpoint that the agent's cache has",
    "health/checks/dns": "no index but the table's, either",
    "health/service/dns": "an index of its own, but a query for each service",
    "health/service/dns?cached": "through the agent's cache",
    "health/service/web": "of a service that all the others have, as an anycast service is",
}
HEAD = ("query", "answers", "in vain", "KiB", "")
RATES = (50, 200, 500)
WATCHES, EVERY, LENGTH = 10, 3.0, 18.0  # watched nodes of each kind; seconds from change to change of one; seconds
REMEDY_HEAD = (
    "ms from write to news",
    "neighbours' changes/s",
    "events",
    "never told",
    "median",
    "p95",
    "max",
    "requests/min a watch",
)


def play(run: Run) -> None:
    """Measure."""
    rows: list[list[Cell]] = []
    remedies: list[list[Cell]] = []
    with Lab() as lab:
        (place,) = Site(lab, 1).places
        place.consul.register("dns", ["enable_gocast"], check=ttl_check("passing"))
        try:
            if run.wants("queries"):
                with flapping(place, CHANGES):
                    for query, why in QUERIES.items():
                        run.say(query)
                        rows.append([f"`{query}`", *_vain(place, query.replace("NODE", place.consul.node)), why])
            for rate in RATES:
                if run.wants(f"remedy@{rate}"):
                    run.say(f"{rate} changes a second")
                    with flapping(place, rate):
                        remedies += _remedies(place, rate)
        finally:
            note = (
                f"{SECONDS:g} s each, with an index, beside {CHANGES} changes a second of {NODES} other nodes' checks; "
                f"asked again {1000 * PAUSE:g} ms after an answer, as by a client that does something with it."
            )
            run.add(Table("Which queries are parked", HEAD, rows, note))
            note = (
                f"{WATCHES} watches of each kind at the same time, each with a change of its own in {EVERY:g} s or so; "
                "never told: the next change came first."
            )
            run.add(Table("The daemon's watch, without and with its remedy", REMEDY_HEAD, remedies, note))


def _vain(place: Place, query: str) -> tuple[int, int, float]:
    """Ask for some seconds; returns how many answers came, how many of them in vain, and their size altogether."""
    connection = place.agent
    path, _, more = query.partition("?")
    more = more.replace('"', "%22").replace("==", "%3D%3D")
    answers = vain = size = 0
    index, last = "0", b""
    end = time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        wait = f"index={index}&wait={max(1, round(1000 * left))}ms"
        connection.request("GET", f"/v1/{path}?{wait}{'&' if more else ''}{more}")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{query}: {response.status} {body.decode(errors='replace')}")
        index = response.headers["X-Consul-Index"]
        if last and time.monotonic() < end:  # or it is the wait that has ended
            answers, size = answers + 1, size + len(body)
            vain += body == last
        last = body
        time.sleep(PAUSE)
    return answers, vain, size / 1024


@dataclass
class Kind:
    """Watches of one kind, and when each of their nodes was changed."""

    name: str
    process: Process
    written: dict[str, list[float]]

    def times(self) -> tuple[list[float], int, float]:
        """Return the milliseconds from each write to the news of it, how many writes had none before the next one on
        their node, and the requests per minute a watch.
        """
        said = [line.split() for line in self.process.text().splitlines()]
        asked = [int(word) for what, word in said if what == "asked"]
        found, untold = [], 0
        for node, times in self.written.items():
            news = [float(at) for at, word in said if word == node]
            for begin, end in pairwise([*times, math.inf]):
                first = min((at for at in news if begin < at <= end), default=None)
                if first is None:
                    untold += 1
                else:
                    found.append(1000 * (first - begin))
        return found, untold, sum(asked[3:]) * 60 / max(1, len(asked[3:])) / WATCHES


def _remedies(place: Place, rate: float) -> list[list[Cell]]:
    kinds = []
    for name, look in (("without", "0"), ("with", "1")):
        nodes = [f"{name}-{number:05}" for number in range(WATCHES)]
        for node in nodes:
            _write(place, node, "passing")
        arguments = place.consul.address, name, str(WATCHES), look
        process = place.host.spawn(sys.executable, "-m", "bench.told", *arguments, name=f"told-{name}")
        kinds.append(Kind(name, process, {node: [] for node in nodes}))
    time.sleep(4.0)  # they ask in vain at first
    every = [(kind, node) for kind in kinds for node in kind.written]
    turned, end = 0, time.monotonic() + LENGTH
    while time.monotonic() < end:
        random.shuffle(every)
        for kind, node in every:
            time.sleep(random.uniform(0.5, 1.5) * EVERY / len(every))
            kind.written[node].append(time.time())
            _write(place, node, "passing" if turned % 2 else "critical")
        turned += 1
    time.sleep(1.5)
    rows: list[list[Cell]] = []
    for kind in kinds:
        took, untold, asked = kind.times()
        spread = Spread.of(took)
        rows.append([kind.name, round(rate), spread.count, untold, spread.median, spread.p95, spread.most, asked])
        kind.process.kill()
    return rows


def _write(place: Place, node: str, status: str) -> None:
    check = {"Node": node, "CheckID": "web", "Name": "web", "ServiceID": "web", "Status": status}
    service = {"ID": "web", "Service": "web", "Port": 80}
    body = {"Node": node, "Address": "198.18.255.1", "Service": service, "Check": check}
    place.agent.request("PUT", "/v1/catalog/register", json.dumps(body))
    place.agent.getresponse().read()


PART = Part(
    "endpoints",
    "Which queries are parked",
    130,
    play,
    ("queries", *(f"remedy@{rate}" for rate in RATES)),
    extra=True,
)
