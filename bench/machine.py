"""The machine that it was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path


def describe() -> str:
    """Say in one line what may matter: processors, memory, kernel, versions."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    processors = f"{os.cpu_count()} × {model[1].strip() if model else platform.machine()}"
    virtual = (
        " (virtual)" if re.search(r"^flags.*\bhypervisor\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE) else ""
    )
    return ", ".join(
        [
            f"{processors}{virtual}",
            f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "memory unknown",
            f"Linux {'.'.join(platform.release().split('.')[:2])}",
            f"Python {platform.python_version()}",
            *(f"{name} {importlib.metadata.version(name)}" for name in ("exabgp", "gevent")),
            _version("consul", "version", of=r"Consul v(\S+)", name="Consul"),
            _version("bird", "--version", of=r"BIRD version (\S+)", name="BIRD"),
        ]
    )


def commit() -> str:
    """Name the commit that is measured, and say so if the files are not as it has them (those in docs/ aside)."""
    where = Path(__file__).parents[1]
    try:
        head = _git(where, "rev-parse", "--short=8", "HEAD")
        changed = _git(where, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    except (OSError, subprocess.SubprocessError):
        return "commit unknown"
    return f"commit {head}{' with changes' if changed else ''}"


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", where, *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def load() -> float:
    """Return the load average over a minute."""
    return os.getloadavg()[0]


def _version(*command: str, of: str, name: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return f"no {name}"
    found = re.search(of, done.stdout + done.stderr)
    return f"{name} {found[1]}" if found else f"{name} of unknown version"
