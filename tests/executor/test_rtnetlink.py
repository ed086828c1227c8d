"""consulcast.executor.rtnetlink: one class of pyroute2, without the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import sys
{before}
from consulcast.executor.rtnetlink import IPRoute, NetlinkError
with IPRoute(ext_ack=True) as ipr:
    assert [link.get_attr("IFLA_IFNAME") for link in ipr.link("get", index=1)] == ["lo"]
    try:
        list(ipr.link("get", index=2**31 - 1))
    except NetlinkError as error:
        assert error.code == 19
    else:
        raise AssertionError("no error")
import pyroute2
assert pyroute2.IPRoute is IPRoute
print(*sorted({{"pyroute2.ndb", "pyroute2.conntrack"}} & sys.modules.keys()))
"""
FAILS_ONCE = """
import importlib
real, asked = importlib.import_module, []
def other(name):
    asked.append(name)
    if len(asked) == 1:
        raise ImportError("another version")
    return real(name)
importlib.import_module = other
"""


def ask(before: str) -> str:
    run = subprocess.run([sys.executable, "-c", ASK.format(before=before)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_kernel_answers_and_no_more_of_pyroute2_is_imported_than_that_needs() -> None:
    assert ask("") == ""


@pytest.mark.parametrize("before", ["import pyroute2", FAILS_ONCE], ids=["it is there already", "another version"])
def test_all_of_pyroute2_serves_as_well(before: str) -> None:
    assert "pyroute2.ndb" in ask(before)
