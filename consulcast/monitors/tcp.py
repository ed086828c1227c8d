"""Monitor ``tcp``: passing while a connection can be made."""

from __future__ import annotations

from consulcast.model import MonitorSpec
from consulcast.monitors import targets
from consulcast.monitors.lanes import Lanes, Turn
from consulcast.monitors.network import connect, within
from consulcast.monitors.probe import Look


class TcpProbe:
    """Connects and hangs up."""

    def __init__(self, spec: MonitorSpec, lanes: Lanes) -> None:
        self._endpoint = targets.endpoint(spec)
        self._turn = Turn(lanes)

    def look(self, timeout: float) -> Look:
        """Connect once."""
        with self._turn:
            return within(timeout, self._connect)

    def _connect(self) -> Look:
        with connect(self._endpoint):
            return Look(True, "connected")
