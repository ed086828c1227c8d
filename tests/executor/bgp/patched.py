"""Runs code in a process of its own, where one patch of ExaBGP is applied or none."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_PREAMBLE = """
    import json, os, random, socket, sys, time
    from consulcast.executor.bgp import fingerprint, patches, shortcuts
    called = [lambda: print("called")] if sys.argv[1] == "call_after_privileges" else []
    if sys.argv[1] != "none":
        getattr(patches if hasattr(patches, sys.argv[1]) else shortcuts, sys.argv[1])(*called)
"""

# What is needed to tell ExaBGP's API commands about routes, and to look at what two neighbors are told.
TABLE = """
    from types import SimpleNamespace
    from exabgp.environment import getenv
    from exabgp.logger import log
    log.init(getenv())
    from exabgp.protocol.family import AFI, SAFI
    from exabgp.reactor.api import API
    from exabgp.reactor.asynchronous import ASYNC
    from exabgp.reactor.loop import Reactor as Real
    from exabgp.rib.outgoing import OutgoingRIB

    families = [(AFI.ipv4, SAFI.unicast), (AFI.ipv6, SAFI.unicast)]
    said, ribs = [], {address: OutgoingRIB(True, set(families)) for address in ("198.51.100.2", "198.51.100.20")}

    def neighbor(rib):
        return SimpleNamespace(rib=SimpleNamespace(outgoing=rib), families=lambda: families, remove_self=lambda x: x)

    neighbors = {f"neighbor {address} local-ip 198.51.100.1": neighbor(rib) for address, rib in ribs.items()}
    from exabgp.configuration.configuration import _Configuration

    class Reactor:
        asynchronous = ASYNC()
        configuration = _Configuration()
        _peers = {name: SimpleNamespace(neighbor=each) for name, each in neighbors.items()}
        neighor_rib = Real.neighor_rib
        processes = SimpleNamespace(
            answer_done=lambda service: said.append("done"),
            answer_error=lambda service: said.append("error"),
            write=lambda service, line: said.append(line),
        )
        def peers(self, service=""):
            return list(neighbors)

    reactor = Reactor()
    reactor.configuration.neighbors = neighbors
    api = API(reactor)

    def tell(line):
        api.process(reactor, "api", line)
        while reactor.asynchronous.run():
            pass

    def table(address, parts=1):
        found = {}
        for part in range(parts):
            said.clear()
            tell(f"table {address} {part} {parts}")
            assert said[-1:] == ["done"] and len(said) == 2, said
            answer = json.loads(said[0])
            assert (answer["table"], answer["part"], answer["parts"]) == (address, part, parts)
            assert not found.keys() & answer["routes"].keys()
            found.update(answer["routes"])
        return found
"""


def run(patch: str, code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with one patch, or with ``none``."""
    program = textwrap.dedent(_PREAMBLE) + textwrap.dedent(code)
    command = [sys.executable, "-c", program, patch]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def assert_needed(patch: str, code: str) -> None:
    """``code`` exits 0 with the patch, and fails by an assertion without."""
    with_it = run(patch, code)
    assert with_it.returncode == 0, with_it.stderr
    without = run("none", code)
    assert "AssertionError" in without.stderr, without.stderr
