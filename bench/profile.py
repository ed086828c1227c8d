"""The part ``profile``, when it is named: what the daemon's processor time goes to, with a thousand apps.

The daemon has a sampler in it (bench/profiled.py). One that looks from outside sees native frames, too, and needs no
restart: ``py-spy record --pid PID --native --output out.svg``, if it is there.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench import arrivals
from bench.parts import Part, Run
from bench.population import consul_monitored, prefixes
from bench.report import Cell, Table
from bench.world import Place, Site, populate
from integration.lab import Lab, Process, until

APPS = 1000
PHASES = {
    "start": "start until a thousand are announced",
    "changes": "one app fails and recovers",
    "services": "a service comes and goes",
    "all": "all fail and recover",
    "idle": "rest",
}
CHANGES, SERVICES, ALL, REST = 12, 5, 3, 30.0  # events of each kind; seconds
SHOWN = 16
NOTE = f"""\
Per cent of the samples in each phase, with {APPS:,} Consul-monitored apps, by the module that the processor was in when
the sample was taken. Native code counts as its caller."""
CALLED_NOTE = "Itself and all that it has called; functions of consulcast that take a tenth of some phase."


def play(run: Run) -> None:
    """Measure."""
    found: dict[str, Mapping[str, Any]] = {}
    with Lab() as lab:
        site = Site(lab, 1)
        (place,) = site.places
        members = consul_monitored(APPS, place.number)
        populate({place: members})
        path = lab.dir / "profile"
        after = time.time_ns()
        daemon = _daemon(place, path)
        arrivals.wait(site.tap, prefixes(members), announced=True, after=after, deadline=60.0)
        try:
            for number, phase in enumerate(PHASES, 1):
                run.say(PHASES[phase])
                _phase(phase, site, place, prefixes(members))
                daemon.signal(signal.SIGUSR1)
                file = Path(f"{path}-{number}")
                until(file.exists, 10.0, "the profile is written")
                found[phase] = json.loads(file.read_text())
        finally:
            run.add(_by_module(found))
            run.add(_by_function(found))


def _daemon(place: Place, path: Path) -> Process:
    config = place.host.lab.dir / "profiled.yaml"
    config.write_text(yaml.safe_dump(place.config()))
    command = (sys.executable, "-m", "bench.profiled", "run", "--config", str(config))
    return place.host.spawn(*command, env={"CONSUL_NODE": place.consul.node, "PROFILE": str(path)})


def _phase(phase: str, site: Site, place: Place, everyone: set[str]) -> None:
    if phase == "changes":
        for number in range(2 * CHANGES):
            _put(place, "/v1/agent/check/update/service:consul-0007", {"Status": ("critical", "passing")[number % 2]})
            time.sleep(1.1)  # the pace at which consulcast asks
    elif phase == "services":
        tags = ["enable_gocast", "gocast_vip=203.0.113.99/32", "gocast_monitor=consul"]
        check = {"TTL": "600s", "Status": "passing"}
        for _ in range(SERVICES):
            _put(place, "/v1/agent/service/register", {"Name": "dns", "Tags": tags, "Check": check})
            time.sleep(2.2)
            _put(place, "/v1/agent/service/deregister/dns", None)
            time.sleep(2.2)
    elif phase == "all":
        for number in range(2 * ALL):
            site.tap.clear()
            after = time.time_ns()
            _put(place, "/v1/agent/check/update/host", {"Status": ("critical", "passing")[number % 2]})
            arrivals.wait(site.tap, everyone, announced=number % 2 == 1, after=after)
    elif phase == "idle":
        time.sleep(REST)


def _put(place: Place, path: str, body: Mapping[str, object] | None) -> None:
    place.agent.request("PUT", path, None if body is None else json.dumps(body))
    response = place.agent.getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status}")


def _by_module(found: Mapping[str, Mapping[str, Any]]) -> Table:
    own: dict[str, Counter[str]] = {phase: Counter() for phase in found}
    for phase, said in found.items():
        for name, count in said["own"].items():
            own[phase][name.partition(":")[0]] += count
    totals = {phase: max(1, counts.total()) for phase, counts in own.items()}

    def shares(module: str) -> list[float]:
        return [100 * own[phase][module] / totals[phase] for phase in found]

    modules = sorted(set().union(*own.values()), key=lambda module: -max(shares(module)))
    rows: list[list[Cell]] = [["processor, s", *(float(said["cpu"]) for said in found.values())]]
    rows.append(["samples", *(counts.total() for counts in own.values())])
    rows += [[f"`{module}`", *shares(module)] for module in modules[:SHOWN]]
    return Table("By module, %", ("", *(PHASES[phase] for phase in found)), rows, NOTE)


def _by_function(found: Mapping[str, Mapping[str, Any]]) -> Table:
    totals = {phase: max(1, sum(said["own"].values())) for phase, said in found.items()}

    def shares(name: str) -> list[float]:
        return [100 * said["all"].get(name, 0) / totals[phase] for phase, said in found.items()]

    names = {name for said in found.values() for name in said["all"] if name.startswith("consulcast.")}
    large = sorted((name for name in names if max(shares(name)) >= 10), key=lambda name: -sum(shares(name)))
    rows: list[list[Cell]] = [
        [f"`{name.removeprefix('consulcast.').replace(':', '.')}`", *shares(name)] for name in large[: 2 * SHOWN]
    ]
    return Table("By function of consulcast, %", ("", *(PHASES[phase] for phase in found)), rows, CALLED_NOTE)


PART = Part("profile", "Profile", 150, play, extra=True)
