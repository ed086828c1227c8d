"""``make dev ONCE=1`` and ``make bench``: they run, and they say so when something does not happen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BREAK_THE_VIP = "import integration.demo as demo; demo.TAGS[1] = 'gocast_vip=nonsense'; raise SystemExit(demo.main())"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_demo_plays_the_whole_story() -> None:
    done = run("-m", "integration.demo", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    words = (
        "announced: the UPDATE",
        "withdrawn: the UPDATE",
        "203.0.113.10/32 is gone from the host",
        "all is removed",
    )
    assert [word for word in words if word not in done.stdout] == []


def test_demo_names_the_step_that_did_not_happen() -> None:
    done = run("-c", BREAK_THE_VIP, "--once")
    assert done.returncode == 1
    assert "the step 'registered → announced, address on the host' did not happen" in done.stdout
    assert "bad-tag" in done.stdout, "the daemon's reason is on the screen"


def test_bench_plays_one_measure_on_both_sides(tmp_path: Path) -> None:
    done = run("-m", "bench", "critical", "--rounds", "2", "--json", str(tmp_path / "samples.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((tmp_path / "samples.json").read_text())["latency"]["samples"]
    assert {name: len(times) for name, times in samples.items()} == {
        "critical → withdraw, consulcast": 2,
        "critical → withdraw, floor": 2,
    }
