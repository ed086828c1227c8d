"""Whether systemd is about to start us again: then a stop is half of a restart, and peers may keep the routes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from consulcast.executor.nat.command import CommandError, find, run

_TIMEOUT = 2.0  # seconds


def unit_of(cgroup: str) -> str | None:
    """Find our service in the text of /proc/self/cgroup (cgroups(7)); None if it is not in one."""
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controllers == "name=systemd":
            services = [part for part in path.split("/") if part.endswith(".service")]
            if services:
                return services[-1]
    return None


def restarts(jobs: str, unit: str) -> bool:
    """Read the answer of `systemctl list-jobs --plain --no-legend`: number, unit, type and state of each job."""
    return any(line.split()[1:3] == [unit, "restart"] for line in jobs.splitlines())


def restart_is_under_way(environ: Mapping[str, str] = os.environ, cgroup: Path = Path("/proc/self/cgroup")) -> bool:
    """Ask systemd. Whatever is unclear is a no: then all is withdrawn, which is never wrong."""
    if "INVOCATION_ID" not in environ:  # systemd sets it, systemd.exec(5)
        return False
    try:
        unit = unit_of(cgroup.read_text())
        program = find("systemctl")
        if unit is None or program is None:
            return False
        command = (program, "list-jobs", "--plain", "--no-legend", unit)
        answer = run(command, "", _TIMEOUT)
    except (OSError, ValueError, CommandError):
        return False
    return answer.status == 0 and restarts(answer.output, unit)
