"""The Docker image: built from the Dockerfile as it is, started as GoCast's README says, looked at from BIRD."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.lab import Bird, Host, Lab, Peer, until
from integration.lab.engine import Engine, NoEngine, own_engine
from integration.lab.image import PATIENCE, PROJECT, NoBaseImage, build_image

VIP, VIP6 = "203.0.113.10/32", "2001:db8:53::10/128"

COMPILERS = "gcc cc g++ c++ clang tcc as ld make"
# Every module has byte code that is taken without a look at the module: its flags are 1 (PEP 552).
BYTE_CODE = """
import importlib.util, pathlib, sys
modules = list(pathlib.Path(sys.prefix, "lib").rglob("*.py"))
assert len(modules) > 1000, len(modules)
for module in modules:
    compiled = pathlib.Path(importlib.util.cache_from_source(module))
    if not compiled.exists() or compiled.read_bytes()[4:8] != bytes([1, 0, 0, 0]):
        print(module)
"""


@dataclass(frozen=True)
class Built:
    """The image, and an engine that has it, whose network is a host of the lab."""

    engine: Engine
    host: Host
    image: str
    client: Any

    def output(self, *command: str) -> str:
        """Run a command in a container of the image, and return what it prints."""
        said = self.client.containers.run(
            self.image, command[1:], entrypoint=command[0], network_mode="none", remove=True, stderr=True
        )
        return str(said.decode())


@pytest.fixture(scope="module")
def built(engine: Engine) -> Iterator[Built]:
    """The image on an engine of our own: `--net host` and what the daemon does there must not be the machine's."""
    with contextlib.ExitStack() as stack:
        if engine.host is None:
            try:
                engine = own_engine(stack.enter_context(Lab()))
            except NoEngine as why:
                if os.environ.get("CI"):
                    raise
                pytest.skip(f"no Docker engine: {why}")
        assert engine.host is not None
        try:
            image = build_image(engine)
        except NoBaseImage as why:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(why))
        client = stack.enter_context(contextlib.closing(engine.client(PATIENCE)))
        yield Built(engine, engine.host, image, client)


def config(backend: str) -> dict[str, Any]:
    return {
        "agent": {"listen_addr": "", "drain_time": "100ms"},
        "bgp": {"local_as": 65001, "peers": [{"address": "198.51.100.2", "peer_as": 65010}]},
        "nat": {"backend": backend},
        "apps": [
            {
                "name": "dns",
                "vips": [VIP, VIP6],
                "monitors": ["port:udp:8053", "exec:exit 0"],
                "nats": ["udp:53:8053"],
            }
        ],
    }


def nat_rules(host: Host, backend: str) -> list[str]:
    command = ["nft", "list", "ruleset"] if backend == "nft" else ["iptables-legacy-save", "-t", "nat"]
    return [line for line in host.run(*command).splitlines() if "203.0.113.10" in line and "8053" in line]


@pytest.mark.parametrize(
    ("arguments", "path", "backend"),
    [
        pytest.param([], "/etc/consulcast.yaml", "nft", id="default-command-nft"),
        pytest.param(["-config=/config.yaml", "-logtostderr"], "/config.yaml", "iptables", id="gocasts-call-iptables"),
    ],
)
def test_container_announces_a_config_app_and_docker_stop_withdraws_it(
    built: Built, lab: Lab, arguments: list[str], path: str, backend: str
) -> None:
    host, tor = built.host, lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, asn=65010, peers=[Peer("198.51.100.1", asn=65001)])
    with host.inside():
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind(("198.51.100.1", 8053))
    lab.on_exit(service.close)
    file = lab.dir / "config.yaml"
    file.write_text(yaml.safe_dump(config(backend)))
    container = built.client.containers.run(
        built.image,
        arguments,
        detach=True,
        network_mode="host",
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN"] if backend == "nft" else ["NET_ADMIN", "NET_RAW"],  # Docker gives NET_RAW unasked
        volumes={str(file): {"bind": path, "mode": "ro"}},
    )
    try:
        bird.wait_route(VIP, deadline=20.0)
        bird.wait_route(VIP6)
        assert {VIP, VIP6} <= host.addresses()
        until(lambda: nat_rules(host, backend), 10.0, "the NAT rule is there")
        container.stop(timeout=10)
        bird.wait_route(VIP, present=False, deadline=1.0)
        assert container.wait()["StatusCode"] == 0, "it ended by itself, in order"
        assert not {VIP, VIP6} & host.addresses()
        assert nat_rules(host, backend) == []
    finally:
        lab.log("container").write_bytes(container.logs())
        container.remove(force=True)


# Of each process in the container: who it is, and what it has and may get.
SETS = (
    "cd /proc; for p in [0-9]*; do tr '\\0' ' ' <$p/cmdline; grep -E '^(Uid|Cap|NoNewPrivs|Seccomp:)' $p/status; done"
)


def test_container_has_net_admin_alone_and_no_writable_root_and_exabgp_has_nothing(built: Built, lab: Lab) -> None:
    host, tor = built.host, lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, asn=65010, peers=[Peer("198.51.100.1", asn=65001)])
    settings = config("nft")
    settings["apps"][0]["monitors"] = ["exec:! grep -E '^Cap(Inh|Amb):.*[1-9a-f]' /proc/self/status"]
    file = lab.dir / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    file.chmod(0o600)
    container = built.client.containers.run(
        built.image,
        detach=True,
        network_mode="host",
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={"/run": "", "/tmp": "", "/var/lib/consulcast": ""},
        volumes={str(file): {"bind": "/etc/consulcast.yaml", "mode": "ro"}},
    )
    try:
        bird.wait_route(VIP, deadline=20.0)
        until(lambda: nat_rules(host, "nft"), 10.0, "the NAT rule is there")
        said = container.exec_run(["sh", "-c", SETS]).output.decode()
        daemon, exabgp = (processes(said, pattern) for pattern in ("consulcast run", "executor.bgp"))
        assert len(daemon) == 1, said
        assert len(exabgp) == 2, f"ExaBGP and its relay: {said}"
        net_admin, nothing = f"{1 << 12:016x}", f"{0:016x}"
        assert {daemon[0][name] for name in ("CapPrm", "CapEff", "CapBnd")} == {net_admin}
        for one in exabgp:
            assert {one[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {nothing}
            assert one["NoNewPrivs"] == "1"
        assert container.stop(timeout=10) is None
        assert container.wait()["StatusCode"] == 0
        bird.wait_route(VIP, present=False, deadline=1.0)
    finally:
        lab.log("container").write_bytes(container.logs())
        container.remove(force=True)


def test_compose_brings_it_up_and_down_in_order(built: Built, lab: Lab) -> None:
    host, tor = built.host, lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, asn=65010, peers=[Peer("198.51.100.1", asn=65001)])
    settings, state = config("nft"), lab.dir / "state"
    settings["apps"][0]["monitors"] = ["exec:exit 0"]
    (lab.dir / "config.yaml").write_text(yaml.safe_dump(settings))
    state.mkdir()
    # only where the host's side of the volumes is; merging goes by the container's side
    here = [f"{lab.dir}/config.yaml:/etc/consulcast.yaml:ro", f"{state}:/var/lib/consulcast"]
    (lab.dir / "here.yaml").write_text(yaml.safe_dump({"services": {"consulcast": {"volumes": here}}}))
    assert built.client.images.get(built.image).tag("consulcast", "latest")

    def compose(*command: str) -> str:
        files = ("-f", str(PROJECT / "deploy/docker-compose.yaml"), "-f", str(lab.dir / "here.yaml"))
        done = subprocess.run(
            ["docker-compose", "-p", "test", *files, *command],
            env={**os.environ, "DOCKER_HOST": built.engine.url, "CONSUL_NODE": "host"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    compose("up", "-d", "--no-build")
    try:
        bird.wait_route(VIP, deadline=20.0)
        assert {VIP, VIP6} <= host.addresses()
        (container,) = built.client.containers.list(filters={"label": "com.docker.compose.project=test"})
        assert "CONSUL_NODE=host" in container.attrs["Config"]["Env"]
        os.kill(daemon_in(host), signal.SIGKILL)  # not by Docker, which would take that for a wish: it is started again
        bird.wait_route(VIP, present=False, deadline=20.0)
        bird.wait_route(VIP, deadline=30.0)
        compose("stop")
        bird.wait_route(VIP, present=False, deadline=1.0)
        assert container.wait()["StatusCode"] == 0, "it ended by itself, in order"
        assert not {VIP, VIP6} & host.addresses()
        assert any(state.iterdir()), "its state is on the host"
    finally:
        lab.log("compose").write_text(compose("logs", "--no-color"))
        compose("down")


def daemon_in(host: Host) -> int:
    """The id, on the machine, of the daemon that a container has on this host."""
    (pid,) = [pid for pid in host.pids() if b"consulcast\0run" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pid


def processes(said: str, pattern: str) -> list[dict[str, str]]:
    """What ``SETS`` says of the processes whose command line matches."""
    found = re.findall(r"^(.*?) Uid:.*\n((?:\w+:\s+\w+\n)+)", said, re.MULTILINE)
    return [dict(re.findall(r"(\w+):\s+(\w+)", sets)) for command, sets in found if re.search(pattern, command)]


def test_image_says_its_version(built: Built) -> None:
    assert built.output("consulcast", "--version").startswith("consulcast, version ")


def test_image_has_no_compiler(built: Built) -> None:
    assert built.output("sh", "-c", f"for name in {COMPILERS}; do command -v $name; done; true") == ""


def test_image_has_byte_code_of_every_module(built: Built) -> None:
    assert built.output("/opt/consulcast/bin/python", "-c", BYTE_CODE) == ""


def test_image_leaves_out_what_it_was_built_with(built: Built) -> None:
    left = built.output("sh", "-c", "ls /src /wheels /opt/consulcast/bin/pip /var/lib/apt/lists/* 2>/dev/null; true")
    assert left == ""
