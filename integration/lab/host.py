"""Hosts as network namespaces, and the links between them."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from integration.lab import janitor
from integration.lab.process import Process

_libc = ctypes.CDLL(None, use_errno=True)
_count = itertools.count(1)


class Host:
    """A network namespace: a machine of its own as far as the network goes. Files and processes are the machine's."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.netns = f"{lab.prefix}{name}"
        _ip("netns", "add", self.netns)
        self.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 0)
        _ip("-n", self.netns, "link", "set", "lo", "up")

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs ``command`` on this host."""
        return ["ip", "netns", "exec", self.netns, *command]

    def run(self, *command: str, check: bool = True, timeout: float = 30.0) -> str:
        """Run a command to its end and return what it printed (stdout). Raises on failure, with stderr."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise RuntimeError(f"{self.name}: {' '.join(command)}: exit {done.returncode}: {said}")
        return done.stdout

    def spawn(self, *command: str, name: str = "", env: Mapping[str, str] | None = None) -> Process:
        """Start a program that runs until it is stopped, or the lab ends."""
        name = name or Path(command[0]).name
        return self.lab.spawn(f"{self.name}-{name}", self.command(*command), env)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread on this host. A socket that is made meanwhile stays there for good."""
        with contextlib.ExitStack() as stack:
            here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, here)
            there = os.open(janitor.NAMESPACES / self.netns, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, there)
            _setns(there)
            stack.callback(_setns, here)
            yield

    def sysctl(self, key: str, value: int | str) -> None:
        """Set a sysctl of the network namespace."""
        with self.inside():
            Path("/proc/sys", *key.split(".")).write_text(str(value))

    def addresses(self, device: str = "lo") -> set[str]:
        """Return the addresses on a device, with their prefix lengths, as text."""
        lines = self.run("ip", "-o", "addr", "show", "dev", device).splitlines()
        return {line.split()[3] for line in lines}

    def route(self, destination: str, via: str) -> None:
        """Add a static route, such as ``route("default", via="198.51.100.2")``."""
        _ip("-n", self.netns, *(["-6"] if ":" in via else []), "route", "replace", destination, "via", via)

    def pids(self) -> list[int]:
        """Return the ids of all processes on this host, whoever started them."""
        return janitor.pids_in(self.netns)


class Link:
    """A cable between two hosts. Each end's device is named for the host at the other end."""

    def __init__(self, left: Host, right: Host, addresses: tuple[str, ...]) -> None:
        self.left, self.right = left, right
        _ip(
            "-n", left.netns, "link", "add", right.name, "type", "veth", "peer", "name", left.name, "netns", right.netns
        )
        self._addresses = list(zip(itertools.cycle((left, right)), addresses, strict=False))
        for host, device in ((left, right.name), (right, left.name)):
            host.sysctl(f"net.ipv6.conf.{device}.accept_dad", 0)
            host.sysctl(f"net.ipv6.conf.{device}.keep_addr_on_down", 1)
            _ip("-n", host.netns, "link", "set", device, "up")
        for host, address in self._addresses:
            device = right.name if host is left else left.name
            _ip("-n", host.netns, "addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))

    def down(self) -> None:
        """Pull the cable."""
        _ip("-n", self.left.netns, "link", "set", self.right.name, "down")

    def up(self) -> None:
        """Plug it in again."""
        _ip("-n", self.left.netns, "link", "set", self.right.name, "up")

    def remove(self) -> None:
        """Take it away, if it is there still."""
        command = ["ip", "-n", self.left.netns, "link", "delete", self.right.name]
        subprocess.run(command, capture_output=True, check=False)


class Lab:
    """Everything that one test makes; removed, in reverse order, when the ``with`` block ends."""

    def __init__(self) -> None:
        janitor.sweep()
        self.prefix = janitor.Owner.this().prefix(next(_count))
        self.dir = Path(tempfile.mkdtemp(prefix=self.prefix))  # short: paths of unix sockets are at most 107 bytes
        self.dir.chmod(0o711)  # FRR's own user reaches its folder in it
        self.processes: list[Process] = []
        self._in_turn: list[Process] = []
        self._hosts: list[Host] = []
        self._links: list[Link] = []
        self._exit = contextlib.ExitStack()
        self._logs = itertools.count(1)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, remove the namespaces and the files.

        The processes are killed, all at once: nobody looks any more, and an end in order takes a drain time and more.
        """
        for process in self.processes:
            if process not in self._in_turn:
                process.signal(signal.SIGKILL)
        try:
            self._exit.close()
        finally:
            for link in self._links:
                link.remove()  # the kernel takes its time with what goes together with a namespace
            self._links.clear()
            for host in self._hosts:
                janitor.remove_namespace(host.netns)
            self._hosts.clear()
            if os.environ.get("LAB_KEEP"):
                janitor.keep(self.dir)
            else:
                shutil.rmtree(self.dir, ignore_errors=True)

    def host(self, name: str) -> Host:
        """Make a host with its loopback device up.

        The name becomes a device's name at its neighbours: 15 letters at most.
        """
        host = Host(self, name)
        self._hosts.append(host)
        return host

    def link(self, left: Host, right: Host, *addresses: str) -> Link:
        """Connect two hosts; ``addresses`` go to the left and the right end in turn."""
        self._links.append(Link(left, right, addresses))
        return self._links[-1]

    def spawn(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None, *, in_turn: bool = False
    ) -> Process:
        """Start a program on the machine itself; see ``Host.spawn`` for one on a host.

        ``in_turn``: at the lab's end others still need it, so that it ends after what was made after it.
        """
        process = Process(name, command, self.log(name), env)
        if in_turn:
            self._in_turn.append(process)
        self.on_exit(process.stop)
        self.processes.append(process)
        return process

    def log(self, name: str) -> Path:
        """Return a new file for a log; each start of a program has its own."""
        return self.dir / f"{next(self._logs):02d}-{name}.log"

    def on_exit(self, call: Callable[[], object]) -> None:
        """Have ``call`` called when the lab ends; the last one first."""
        self._exit.callback(call)

    def tail(self, lines: int = 30) -> str:
        """Return the last lines of every log, for a failed test's report."""
        parts = []
        for log in sorted(self.dir.glob("*.log")):
            text = log.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"==> {log.name}\n" + "\n".join(text))
        return "\n".join(parts)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _setns(namespace: int) -> None:
    if _libc.setns(namespace, 0x40000000):  # CLONE_NEWNET; os.setns is there from Python 3.12 on
        raise OSError(ctypes.get_errno(), "setns")
