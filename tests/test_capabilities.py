"""What a process may do, seen from the children it starts. As root or not: each test is right with either."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from consulcast.capabilities import Capability, Sets

SHOW = "print(open('/proc/self/status').read())"


def run(code: str) -> dict[str, int]:
    """Run code in a process of its own, then a child of it, and return the child's sets."""
    child = f"import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {SHOW!r}], text=True))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{child}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^(Cap\w+|NoNewPrivs):\s+(\w+)", done.stdout, re.MULTILINE))
    return {key: int(value, 16) for key, value in found.items()}


def test_what_is_read_is_what_the_kernel_shows() -> None:
    with open("/proc/thread-self/status") as file:
        shown = dict(re.findall(r"^(Cap\w+):\s+(\w+)", file.read(), re.MULTILINE))
    sets = Sets.read()
    assert [sets.inheritable, sets.permitted, sets.effective] == [
        int(shown[key], 16) for key in ("CapInh", "CapPrm", "CapEff")
    ]


def test_nothing_is_left_once_all_is_given_up() -> None:
    found = run("from consulcast import capabilities; capabilities.give_up()")
    assert found["NoNewPrivs"] == 1
    assert found["CapPrm"] == found["CapEff"] == found["CapAmb"] == found["CapInh"] == 0
    if os.geteuid() == 0:
        assert found["CapBnd"] == 0


def test_root_keeps_what_it_is_told_to_keep() -> None:
    found = run(
        "from consulcast import capabilities\n"
        "capabilities.give_up([capabilities.Capability.DAC_READ_SEARCH, capabilities.Capability.NET_RAW])"
    )
    wanted = 1 << Capability.DAC_READ_SEARCH | 1 << Capability.NET_RAW
    assert found["CapEff"] == (wanted & Sets.read().permitted if os.geteuid() == 0 else 0)


def test_without_net_admin_there_is_no_start() -> None:
    code = "from consulcast import capabilities; capabilities.give_up(); capabilities.take_up()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "CapabilityError: CAP_NET_ADMIN is missing" in done.stderr


def test_privileges_of_exabgp_are_none() -> None:
    found = run("from consulcast.executor.bgp import privileges; privileges.drop()")
    assert (found["CapEff"], found["NoNewPrivs"]) == (0, 1)
