"""The lab itself: what the other tests build on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import pytest

from bench import bgp
from integration.conftest import StartConsul
from integration.lab import (
    Bird,
    Consul,
    ConsulAgent,
    Frr,
    Gobgp,
    Host,
    Lab,
    NotInTime,
    Peer,
    Router,
    UpdateTap,
    janitor,
    until,
)
from integration.lab.bird import Counters
from integration.lab.consul import ttl_check
from integration.lab.container import ConsulContainer
from integration.lab.engine import own_engine

VIP = "203.0.113.10/32"


def two(lab: Lab) -> tuple[Host, Host]:
    """Make a host (198.51.100.1) and its top-of-rack router (198.51.100.2)."""
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    return host, tor


def gone(pid: int) -> bool:
    """Tell whether a process has ended, waited for or not."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_two_hosts_reach_each_other_and_nothing_else(lab: Lab) -> None:
    host, tor = two(lab)
    assert {"198.51.100.1/24", "2001:db8::1/64"} <= host.addresses("tor")
    assert tor.addresses("lo") == {"127.0.0.1/8", "::1/128"}
    host.run("sh", "-c", "ip route get 198.51.100.2 && ip route get 2001:db8::2")
    with pytest.raises(RuntimeError, match="unreachable"):
        host.run("ip", "route", "get", "192.0.2.1")


def test_a_socket_made_inside_a_host_stays_there(lab: Lab) -> None:
    host, tor = two(lab)
    with tor.inside():
        server = socket.create_server(("198.51.100.2", 80))
    with host.inside():
        client = socket.create_connection(("198.51.100.2", 80), timeout=5)
    with server, client:
        client.sendall(b"hello")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
    assert not os.path.exists("/sys/class/net/tor"), "the thread is back on the machine's own network"


def test_a_pulled_cable_stops_traffic_and_keeps_the_addresses(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    link = lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    before = host.addresses("tor")
    link.down()
    with pytest.raises(RuntimeError):
        host.run("ip", "route", "get", "198.51.100.2")
    link.up()
    assert {a for a in before if not a.startswith("fe80")} <= host.addresses("tor")


def test_the_end_of_a_lab_leaves_nothing() -> None:
    with Lab() as lab:
        host, _ = two(lab)
        stubborn = host.spawn("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        stubborn.wait_line("ready")
        stray = int(host.run("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"))
        stubborn.stop(timeout=0.2)
        assert stubborn.returncode == -signal.SIGKILL
        assert stray in host.pids()
    assert not Path("/run/netns", host.netns).exists()
    assert not lab.dir.exists()
    assert gone(stray)


A_RUN = """
import sys
from integration.lab import Lab
lab = Lab()
host, tor = lab.host("host"), lab.host("tor")
lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
ours = host.spawn("sleep", "1000").pid
orphan = host.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").strip()
print(lab.prefix, lab.dir, ours, orphan, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run() -> Iterator[subprocess.Popen[str]]:
    """Another run, with a lab: what it prints tells of it, and it ends when its standard input does."""
    command = [sys.executable, "-c", A_RUN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        yield other
        other.kill()
        other.wait()
        janitor.sweep()


def test_what_a_killed_run_left_is_swept_by_the_next(run: subprocess.Popen[str]) -> None:
    assert run.stdout is not None
    prefix, folder, ours, orphan = run.stdout.readline().split()
    writable = [top for top in Path("/sys/fs/cgroup").glob("*/") if os.access(top, os.W_OK)]
    groups = [top / prefix.rstrip("-") for top in writable[:1]]
    for group in groups:
        (group / "inner").mkdir(parents=True)  # as a Docker engine leaves them
    run.kill()
    until(lambda: gone(run.pid), 5, "it is killed")  # and not waited for: a corpse owns nothing
    found = janitor.left()
    assert {f"{prefix}host", f"{prefix}tor"} <= set(found.namespaces)
    assert Path(folder) in found.folders
    assert set(groups) <= set(found.groups)
    assert int(orphan) in found.pids
    with Lab():
        assert not list(Path("/run/netns").glob(f"{prefix}*"))
        assert not Path(folder).exists()
        assert not any(group.exists() for group in groups)
        assert gone(int(orphan))
    until(lambda: gone(int(ours)), 5, "it is gone")  # at whoever's hands
    assert not any(name.startswith(prefix) for name in janitor.left().namespaces)


def test_what_a_living_run_has_is_left_alone(run: subprocess.Popen[str]) -> None:
    assert run.stdout is not None
    prefix, folder, *pids = run.stdout.readline().split()
    swept = janitor.sweep()
    assert not any(name.startswith(prefix) for name in swept.namespaces)
    assert Path("/run/netns", f"{prefix}host").exists()
    assert Path(folder).exists()
    assert not any(gone(int(pid)) for pid in pids)


def test_a_process_that_got_a_dead_owners_id_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    this = janitor.Owner.this()
    former = Path(tempfile.mkdtemp(prefix=janitor.Owner(this.pid, this.started - 1).prefix(1)))
    own = Path(tempfile.mkdtemp(prefix=this.prefix(1)))
    foreign = tmp_path / "cc-1-not-ours"
    foreign.mkdir()
    assert janitor.sweep().folders == (former,)
    assert not former.exists()
    assert own.exists()
    assert foreign.exists()


def test_a_folder_that_is_to_be_kept_outlives_its_lab_and_every_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("LAB_KEEP", "1")
    with Lab() as lab:
        lab.log("daemon").write_text("why")
    this = janitor.Owner.this()
    dead = lab.dir.rename(tmp_path / f"{janitor.Owner(this.pid, this.started - 1).prefix(1)}x")
    janitor.sweep()
    assert (dead / "01-daemon.log").read_text() == "why"


def test_wait_line_reads_from_the_mark(lab: Lab) -> None:
    process = lab.host("host").spawn("sh", "-c", "echo one; sleep 0.2; echo two")
    assert process.wait_line("^one") == "one"
    process.mark()
    assert process.wait_line("o") == "two"
    with pytest.raises(NotInTime, match="ended with 0"):
        process.wait_line("three")


def test_consul_answers_on_its_host(consul: Consul) -> None:
    consul.register("dns", ["a=b"], check=ttl_check())
    assert consul.services()["dns"]["Tags"] == ["a=b"]
    consul.update_check("critical", service_id="dns")
    assert {c["Status"] for c in consul.checks() if c["ServiceID"] == "dns"} == {"critical"}
    consul.maintenance(True, "dns")
    assert any(c["CheckID"] == "_service_maintenance:dns" for c in consul.checks())


def test_frozen_consul_takes_connections_and_answers_nothing(consul: Consul) -> None:
    consul.pause()
    with pytest.raises(TimeoutError):
        consul.call("GET", "/status/leader", timeout=0.5)
    consul.resume()
    until(consul.ready, 5, "it answers again")


def test_crashed_consul_comes_back_empty(consul: Consul) -> None:
    consul.register("dns")
    consul.kill()
    with pytest.raises((OSError, HTTPException)):
        consul.services()
    consul.start()
    assert "dns" not in consul.services()


def test_persistent_consul_keeps_its_services(start_consul: StartConsul, host: Host) -> None:
    consul = start_consul(host, persistent=True)
    consul.register("dns")
    consul.restart(crash=True)
    until(lambda: "dns" in consul.services(), 10, "the service is back")


def test_forgetful_consul_agent_starts_anew(host: Host) -> None:
    consul = ConsulAgent(host, persistent=True)
    consul.register("dns")
    consul.stop()
    consul.forget()
    consul.start()
    assert "dns" not in consul.services()


def test_reconfigured_consul_agent_has_the_services_of_its_configuration_and_no_others(host: Host) -> None:
    consul = ConsulAgent(host)
    consul.register("dns")
    consul.reconfigure({"services": [{"name": "web"}]})
    until(lambda: set(consul.services()) == {"consul", "web"}, 15.0, "web alone")
    consul.reconfigure({"services": [{"name": "mail"}]})
    until(lambda: set(consul.services()) == {"consul", "mail"}, 15.0, "mail alone")


def test_own_engine_leaves_the_machine_as_it_was() -> None:
    def seen() -> list[str]:
        commands = (["ip", "-br", "link"], ["ip", "route", "show", "table", "all"], ["nft", "list", "ruleset"])
        text = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        text += [line for line in mounts if "netns" not in line]  # labs of other runs come and go
        return [*text, *(str(p) for p in Path("/sys/fs/cgroup").glob("*/cc-*"))]

    before = seen()
    with Lab() as lab:
        engine = own_engine(lab)
        consul = ConsulContainer(engine, lab.host("host"))
        assert consul.services() is not None
        assert engine.host is not None
        assert "docker0" in engine.host.run("ip", "-br", "link")
        containerd = engine.host.pids()
    assert seen() == before
    assert all(gone(pid) for pid in containerd)


ROUTERS: list[Callable[[Host, int, Sequence[Peer]], Router]] = [Bird, Frr, Gobgp]


@pytest.mark.parametrize("make", ROUTERS)
def test_router_learns_and_forgets(lab: Lab, make: Callable[[Host, int, Sequence[Peer]], Router]) -> None:
    host, tor = two(lab)
    router = make(tor, 65010, [Peer("198.51.100.1", 4200000001)])
    assert router.routes() == {}
    assert not router.established()
    with UpdateTap(tor) as tap:
        with host.inside():
            session = bgp.connect("198.51.100.2", 4200000001, "198.51.100.1")
        with session:
            router.wait_established()
            sent = time.time_ns()
            session.sendall(bgp.announcement(VIP, 4200000001, "198.51.100.1"))
            route = router.wait_route(VIP)
            assert route is not None
            assert (route.next_hop, route.as_path, route.origin) == ("198.51.100.1", (4200000001,), "igp")
            assert 0 < tap.wait(VIP).at - sent < 100_000_000
            session.sendall(bgp.withdrawal(VIP))
            router.wait_route(VIP, present=False)
            assert (tap.count(VIP), tap.lost()) == (2, 0)
            session.sendall(bgp.announcement(VIP, 4200000001, "198.51.100.1"))
            router.wait_route(VIP)
        router.wait_route(VIP, present=False)


def test_bird_counts_what_a_session_brings_and_can_refuse_it(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    with host.inside():
        session = bgp.connect("198.51.100.2", 65001, "198.51.100.1")
    with session:
        bird.wait_established()
        before = bird.counters()
        session.sendall(bgp.announcement(VIP, 65001, "198.51.100.1") + bgp.withdrawal(VIP))
        until(lambda: bird.counters() - before == Counters(updates=1, withdraws=1), 5, "one update and one withdraw")
        bird.disable()
        bird.wait_down()
        bird.enable()
