"""A Docker engine: the machine's, where one answers, else one of our own, shut into a network namespace."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
from dataclasses import dataclass

import docker
from docker.errors import DockerException, ImageNotFound

from integration.lab import janitor
from integration.lab.host import Host, Lab
from integration.lab.process import Process
from integration.lab.wait import until

PUBLISHED_IMAGE = "hashicorp/consul:1.20"
BUILT_IMAGE = "consulcast-consul:local"


class NoEngine(RuntimeError):
    """No Docker engine answers, and none could be started."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers: the machine's (no ``host``), or our own on a host of the lab, with its API at ``url``."""

    host: Host | None
    url: str = ""

    def client(self, timeout: int = 30) -> docker.DockerClient:
        """Return a new client; close it."""
        return docker.from_env(timeout=timeout, **self.where())

    def where(self) -> dict[str, dict[str, str]]:
        """Return what tells ``docker.from_env`` to talk to this engine."""
        return {"environment": {"DOCKER_HOST": self.url}} if self.host else {}


def machines_engine() -> Engine | None:
    """Return the engine that this machine (or ``DOCKER_HOST``) offers, if it answers within 3 s."""
    return Engine(None) if _answers(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock") else None


def own_engine(lab: Lab) -> Engine:
    """Start an engine that ends with the lab. Raises ``NoEngine``.

    Its network is a host of the lab, so its bridges, routes and firewall rules are there and go with it. Its mounts,
    its state and its data (tmpfs) are in a mount namespace of its own, and all its processes in a process namespace
    that the kernel empties when the first of them dies.
    """
    dockerd = shutil.which("dockerd")
    if dockerd is None or os.geteuid() != 0:
        raise NoEngine("dockerd is not installed (integration/setup.sh), or this is not root")
    host = lab.host("engine")
    url = f"unix://{lab.dir}/docker.sock"
    cgroup = lab.prefix.rstrip("-")
    options = [
        f"--host={url}",
        "--config-file=/run/daemon.json",
        "--pidfile=/run/docker.pid",
        "--data-root=/run/data",
        "--exec-root=/run/exec",
        "--bip=198.19.0.1/24",
        "--default-address-pool=base=198.19.128.0/17,size=24",
        "--exec-opt=native.cgroupdriver=cgroupfs",  # works with and without systemd, and leaves folders we can find
        f"--cgroup-parent=/{cgroup}",
    ]
    # a fresh /run hides the machine's containerd, so dockerd starts one of its own
    script = 'mount -t tmpfs -o mode=755 tmpfs /run && echo "{}" >/run/daemon.json && exec "$0" "$@"'
    enter = ["nsenter", f"--net=/run/netns/{host.netns}"]
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    process = lab.spawn("dockerd", [*enter, *alone, "sh", "-c", script, dockerd, *options], in_turn=True)
    lab.on_exit(lambda: _end(process, cgroup))

    def answers() -> bool:
        if not process.alive:
            raise NoEngine(f"dockerd has ended:\n{process.text()[-2000:]}")
        return _answers(url)

    try:
        until(answers, 30.0, "dockerd answers", every=0.05)
    except AssertionError as error:
        raise NoEngine(f"{error}; its log:\n{process.text()[-2000:]}") from error
    return Engine(host, url)


def _answers(url: str) -> bool:
    """Ping an engine, without the client library: that one leaks its socket when nobody answers."""
    kind, _, address = url.partition("://")
    with contextlib.suppress(OSError):
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(3)
            with connection:
                connection.connect(address)
                connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                return b" 200 " in connection.recv(1024)
        name, _, port = address.partition("/")[0].rpartition(":")
        with socket.create_connection((name, int(port)), timeout=3):
            return True
    return False


def consul_image(engine: Engine) -> str:
    """Return an image with Consul that the engine has.

    ``CONSUL_IMAGE`` chooses; otherwise the published one, or else one that is made here from the local binary.
    The published one is pulled through the machine's engine only, and given up after 10 s without an answer.
    """
    with contextlib.closing(engine.client()) as client:
        chosen = os.environ.get("CONSUL_IMAGE", "")
        for name in [chosen] if chosen else [PUBLISHED_IMAGE, BUILT_IMAGE]:
            with contextlib.suppress(ImageNotFound):
                client.images.get(name)
                return name
        if chosen or engine.host is None:
            with contextlib.suppress(*((DockerException, OSError) if not chosen else ())):
                repository, _, tag = (chosen or PUBLISHED_IMAGE).partition(":")
                with contextlib.closing(engine.client(10)) as puller:
                    puller.images.pull(repository, tag or "latest")
                return chosen or PUBLISHED_IMAGE
        name, tag = BUILT_IMAGE.split(":")
        changes = ['ENTRYPOINT ["/usr/bin/consul"]', "EXPOSE 8500"]
        client.api.import_image_from_data(_consul_files(), repository=name, tag=tag, changes=changes)
        return BUILT_IMAGE


def _consul_files() -> bytes:
    """Return a tar file with the local consul binary and the libraries it is linked with."""
    consul = shutil.which("consul")
    if consul is None:
        raise NoEngine("no consul binary to make an image of (integration/setup.sh)")
    linked = subprocess.run(["ldd", consul], capture_output=True, text=True, check=False).stdout
    libraries = [word for line in linked.splitlines() for word in line.split() if word.startswith("/")]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(os.path.realpath(consul), "usr/bin/consul")
        for library in libraries:
            tar.add(os.path.realpath(library), library.lstrip("/"))
        for name, text in (("etc/passwd", "root:x:0:0:root:/:/\n"), ("etc/nsswitch.conf", "hosts: files dns\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        for folder in ("tmp", "consul/data"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
    return buffer.getvalue()


def _end(process: Process, cgroup: str) -> None:
    """End the engine, and remove the empty cgroups that it leaves."""
    process.kill()  # unshare passes no SIGTERM on; there is nothing to end in order
    janitor.remove_groups(janitor.groups_of(cgroup))
