"""From a monitor's text to what carries it out. `consul` and `port` are not here: events serve all of them at once."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from consulcast.model import MonitorSpec
from consulcast.monitors.command import Programs
from consulcast.monitors.dns import DnsProbe
from consulcast.monitors.exec import ExecProbe
from consulcast.monitors.lanes import Lanes
from consulcast.monitors.probe import Probe
from consulcast.monitors.tcp import TcpProbe


class Resources(Struct, frozen=True):
    """What bounds the probes: places for commands and for connections, quick ones and slow ones; and the commands.

    The slow ones mostly sleep: a hundred commands that hang until their time-out take 50 places, at 10 s and 5 s. Of
    connections there are as many slow places as all sources together may have monitors (policy.py): who has some that
    hang must not keep others' from being looked at.
    """

    commands: Lanes = field(default_factory=lambda: Lanes(16, 128))
    connections: Lanes = field(default_factory=lambda: Lanes(128, 12_000))
    programs: Programs = field(default_factory=Programs)


def _http(spec: MonitorSpec, lanes: Lanes) -> Probe:
    from consulcast.monitors.http import HttpProbe  # with an HTTP client, for which no start should wait in vain

    return HttpProbe(spec, lanes)


_NETWORK: dict[str, Callable[[MonitorSpec, Lanes], Probe]] = {"http": _http, "tcp": TcpProbe, "dns": DnsProbe}


def probe(spec: MonitorSpec, resources: Resources) -> Probe:
    """Make the probe of a monitor. Raises ``BadValue`` for what `notation.monitor` does not make."""
    if spec.kind == "exec":
        return ExecProbe(spec, resources.commands, resources.programs)
    return _NETWORK[spec.kind](spec, resources.connections)
