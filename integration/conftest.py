"""Fixtures of the integration tests: a lab for each test, a Docker engine for the run, Consul in both its ways."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from integration.lab import Consul, ConsulAgent, Host, Lab, janitor
from integration.lab.container import ConsulContainer
from integration.lab.engine import Engine, NoEngine, machines_engine, own_engine


def pytest_configure() -> None:
    """Refuse to run without root; let SIGTERM and SIGHUP end the run as Ctrl-C does, with everything cleaned up.

    What a run that could not do so has left goes first.
    """
    if os.geteuid() != 0:
        pytest.exit("integration/ needs root: it makes network namespaces", returncode=4)

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    janitor.sweep()


# Files of minutes, the longest first: of those that are begun last, one would go on alone when all others have ended.
LONGEST = ("chaos/test_one_agent.py", "test_stories.py", "test_gocast_contract.py", "test_crash.py", "test_explain.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files begun first; within a file, and among the others, the order stays."""
    folder = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        name = str(item.path.relative_to(folder)) if item.path.is_relative_to(folder) else ""
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab of the test's own. When the test fails, the last lines of every program's log are in the report."""
    with Lab() as made:
        yield made
        report = getattr(request.node, "call_report", None)
        if report is not None and report.failed:
            report.sections.append(("the lab's logs", made.tail()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the report of a test's phases for its fixtures."""
    report = yield
    setattr(item, f"{report.when}_report", report)
    return report


@pytest.fixture
def host(lab: Lab) -> Host:
    """The host that the daemon runs on: 198.51.100.1, 2001:db8::1; its default gateway is ``tor``."""
    return lab.host("host")


@pytest.fixture
def tor(lab: Lab, host: Host) -> Host:
    """The top-of-rack router: 198.51.100.2, 2001:db8::2."""
    tor = lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    host.route("default", via="198.51.100.2")
    host.route("default", via="2001:db8::2")
    return tor


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The machine's Docker engine where one answers, else one of our own for this run."""
    found = machines_engine()
    if found is not None:
        yield found
        return
    with Lab() as lab:
        try:
            own = own_engine(lab)
        except NoEngine as why:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Docker engine: {why}")
        yield own


class StartConsul(Protocol):
    """``ConsulAgent``'s parameters, for either way of running it."""

    def __call__(self, host: Host, node: str = "", *, persistent: bool = False) -> Consul:
        """Start an agent on a host and wait until it is ready."""


@pytest.fixture(params=["binary", "container"])
def start_consul(request: pytest.FixtureRequest) -> StartConsul:
    """Starts Consul: the test runs once with the local binary and once with a container."""
    if request.param == "binary":
        return ConsulAgent
    engine: Engine = request.getfixturevalue("engine")

    def start(host: Host, node: str = "", *, persistent: bool = False) -> Consul:
        return ConsulContainer(engine, host, node, persistent=persistent)

    return start


@pytest.fixture
def consul(start_consul: StartConsul, host: Host) -> Consul:
    """A Consul agent on ``host``, at 127.0.0.1:8500, whose node is named ``host``; once in each way."""
    return start_consul(host)
