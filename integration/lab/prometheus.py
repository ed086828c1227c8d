"""A real Prometheus on a host of the lab, with our alerts, that scrapes daemons once a second."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from integration.lab.host import Host
from integration.lab.wait import until

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus-alerts.yaml"
PORT = 9090


class Prometheus:
    """Started at once. ``targets``: addresses with ports, by the name that is shown as `instance`."""

    def __init__(self, host: Host, targets: Mapping[str, str]) -> None:
        self._host = host
        files = host.lab.dir / f"prometheus-{host.name}"
        files.mkdir()
        groups = [{"targets": [where], "labels": {"instance": name}} for name, where in targets.items()]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [{"job_name": "consulcast", "static_configs": groups}],
        }
        (files / "prometheus.yml").write_text(json.dumps(config))  # which is YAML too
        arguments = (f"--config.file={files / 'prometheus.yml'}", f"--storage.tsdb.path={files / 'data'}")
        self.process = host.spawn("prometheus", *arguments, f"--web.listen-address=127.0.0.1:{PORT}")
        until(self._ready, 30.0, "Prometheus is ready")

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask its API, and return the data. Raises ``ValueError`` with what it says against the question."""
        with self._host.inside():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
            connection.connect()
        try:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
            answer = json.load(connection.getresponse())
        finally:
            connection.close()
        if answer["status"] != "success" or answer.get("warnings"):
            raise ValueError(f"{parameters}: {answer.get('error') or answer['warnings']}")
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now. Raises ``ValueError``."""
        data = self.ask("query", query=expression)
        return list(data["result"]) if data["resultType"] == "vector" else [data]

    def series(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Evaluate an expression over a time. Raises ``ValueError``."""
        times = {"start": str(start), "end": str(end), "step": str(step)}
        return list(self.ask("query_range", query=expression, **times)["result"])

    def _ready(self) -> bool:
        try:
            return bool(self.query("vector(1)"))
        except (OSError, ValueError, http.client.HTTPException):
            return False
