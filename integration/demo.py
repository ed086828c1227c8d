"""``make dev``: the main job in front of you, with real Consul, real BIRD and the real kernel.

Everything is in network namespaces of its own and goes when the demo ends; nothing on this machine is changed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, NotInTime, Peer, RouteInfo, UpdateTap, until
from integration.lab.consul import ttl_check

SERVICE = "dns"
VIP = "203.0.113.10/32"
TAGS = ["enable_gocast", f"gocast_vip={VIP}", "gocast_monitor=consul", "gocast_vip_communities=65001:53"]
HOST_AS, ROUTER_AS = 65001, 65010
HOST, ROUTER = "198.51.100.1", "198.51.100.2"
KEYS = "f fail   h heal   d deregister   r register   q quit"


class Screen:
    """Prints the story, and between its lines the daemon's log, dimmed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(self, text: str = "") -> None:
        """Print a line of the story."""
        self._print(text)

    def step(self, text: str) -> None:
        """Print what is about to be done."""
        self._print(self._in("1", f"\n▸ {text}"))

    def fail(self, text: str) -> None:
        """Print what went wrong."""
        self._print(self._in("31", text))

    def dim(self, text: str) -> None:
        """Print a line of the daemon's log."""
        self._print(self._in("2", f"    consulcast: {text}"))

    def _in(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _print(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)


class Follower:
    """Shows a growing log file on the screen, from a thread."""

    def __init__(self, screen: Screen, daemon: Daemon) -> None:
        self._screen, self._daemon = screen, daemon
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begin at the log's first line."""
        self._thread.start()

    def stop(self) -> None:
        """Show what is left, and end."""
        self._ending.set()
        self._thread.join(2)

    def _follow(self) -> None:
        with self._daemon.process.log.open(errors="replace") as log:
            rest = ""
            while True:
                ending = self._ending.wait(0.02)
                *lines, rest = (rest + log.read()).split("\n")
                for line in lines:
                    self._screen.dim(line)
                if ending:
                    return


class Demo:
    """The host, the router, Consul, the daemon and the service, and what can be done with them."""

    def __init__(self, lab: Lab, screen: Screen) -> None:
        self.screen = screen
        self.registered = self.healthy = False
        self.host, tor = lab.host("host"), lab.host("tor")
        lab.link(self.host, tor, f"{HOST}/24", f"{ROUTER}/24")
        screen.say(f"host   {HOST}, AS {HOST_AS}: a network namespace, wired to")
        screen.say(f"tor    {ROUTER}, AS {ROUTER_AS}: its top-of-rack router, another one")
        self.tap = UpdateTap(tor)
        self.bird = Bird(tor, ROUTER_AS, [Peer(HOST, HOST_AS)], router_id=ROUTER)
        screen.say(f"BIRD   runs on tor: {_first_line(tor, 'bird', '--version')}")
        self.consul = ConsulAgent(self.host)
        screen.say(
            f"Consul runs on host: {_first_line(self.host, 'consul', 'version')}, agent of node '{self.consul.node}'"
        )
        config = {
            "agent": {
                "consul_addr": f"http://{self.consul.address}",
                "run_dir": str(lab.dir / "run"),
                "state_dir": str(lab.dir / "state"),
            },
            "bgp": {"local_as": HOST_AS, "peer_as": ROUTER_AS, "peer_ip": ROUTER},
        }
        began = time.monotonic()
        self.daemon = Daemon(self.host, config, node=self.consul.node)
        follower = Follower(screen, self.daemon)
        follower.start()
        lab.on_exit(follower.stop)
        until(
            lambda: self.bird.established() or not self.daemon.process.alive,
            15,
            "the BGP session with tor is established",
        )
        if not self.daemon.process.alive:
            raise NotInTime(f"consulcast has ended with exit status {self.daemon.process.returncode}")
        took = time.monotonic() - began
        screen.say(f"consulcast runs on host: its BGP session with tor is up, {took:.1f} s after its start")

    def register(self) -> None:
        """Register the service, healthy."""
        self.screen.step(f"registering service '{SERVICE}' in Consul, with VIP {VIP} and a passing check")
        self._announced(lambda: self.consul.register(SERVICE, TAGS, port=53, check=ttl_check()))
        until(lambda: VIP in self.host.addresses(), 5, f"address {VIP} on the host")
        self.screen.say(f"  address {VIP} is on the host's lo")
        self.registered = self.healthy = True

    def fail(self) -> None:
        """Let the service's check fail."""
        self.screen.step(f"the check of '{SERVICE}' goes critical")
        self._withdrawn(lambda: self.consul.update_check("critical", service_id=SERVICE, output="no answer on port 53"))
        stays = VIP in self.host.addresses()
        self.screen.say(f"  address {VIP} {'stays on the host, for a quick return' if stays else 'is not on the host'}")
        self.healthy = False

    def heal(self) -> None:
        """Let it pass again."""
        self.screen.step(f"the check of '{SERVICE}' passes again")
        self._announced(lambda: self.consul.update_check("passing", service_id=SERVICE))
        self.healthy = True

    def deregister(self) -> None:
        """Remove the service from Consul."""
        self.screen.step(f"deregistering service '{SERVICE}'")
        began = time.monotonic()
        if self.healthy:
            self._withdrawn(lambda: self.consul.deregister(SERVICE))
        else:
            self.consul.deregister(SERVICE)
        until(lambda: VIP not in self.host.addresses(), 10, f"address {VIP} gone from the host")
        self.screen.say(f"  address {VIP} is gone from the host after {time.monotonic() - began:.1f} s (drain time)")
        self.registered = self.healthy = False

    def _announced(self, act: Callable[[], None]) -> None:
        sent = time.time_ns()
        act()
        update = self.tap.wait(VIP, announced=True, after=sent)
        route = self.bird.wait_route(VIP)
        assert route is not None
        self.screen.say(f"  announced: the UPDATE reached the router {_ms(update.at - sent)} after Consul was told")
        self.screen.say(f"  BIRD's table: {_told(route)}")

    def _withdrawn(self, act: Callable[[], None]) -> None:
        sent = time.time_ns()
        act()
        update = self.tap.wait(VIP, announced=False, after=sent)
        self.bird.wait_route(VIP, present=False)
        self.screen.say(f"  withdrawn: the UPDATE reached the router {_ms(update.at - sent)} after Consul was told")
        self.screen.say(f"  BIRD's table: no route to {VIP}")


def play(demo: Demo) -> None:
    """Play the whole story without keys."""
    for name, step in (
        ("registered → announced, address on the host", demo.register),
        ("critical → withdrawn", demo.fail),
        ("passing → announced again", demo.heal),
        ("deregistered → withdrawn, address gone", demo.deregister),
    ):
        try:
            step()
        except NotInTime as error:
            raise NotInTime(f"the step '{name}' did not happen: {error}") from error
        time.sleep(0.5)  # so that the daemon's log lines stand below the step that they belong to


def by_keys(demo: Demo) -> None:
    """Do what the user asks for, key by key, until q."""
    screen = demo.screen
    demo.register()
    screen.say(f"\n{KEYS}")
    with keys() as next_key:
        while (key := next_key()) not in ("q", ""):
            if key in ("f", "h", "d") and not demo.registered:
                screen.say("the service is not registered: r registers it")
            elif key == "f":
                if demo.healthy:
                    demo.fail()
                else:
                    screen.say("it fails already: h heals it")
            elif key == "h":
                if demo.healthy:
                    screen.say("it is healthy: f fails it")
                else:
                    demo.heal()
            elif key == "d":
                demo.deregister()
            elif key == "r":
                if demo.registered:
                    screen.say("it is registered: d deregisters it")
                else:
                    demo.register()
            if key.strip():
                screen.say(f"\n{KEYS}")


@contextlib.contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Yield a call that waits for one key; "" when there are no more. The terminal is put right afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor) if sys.stdin.isatty() else None

    def next_key() -> str:
        select.select([descriptor], [], [])
        return os.read(descriptor, 1).decode(errors="replace").lower()

    try:
        if before is not None:
            tty.setcbreak(descriptor)
        yield next_key
    finally:
        if before is not None:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def main() -> int:
    """Run the demo; returns the exit status: 0, 1 when a step did not happen, 130 on Ctrl-C."""
    screen = Screen()
    if os.geteuid() != 0:
        screen.fail("make dev needs root: it makes network namespaces. Nothing was done.")
        return 1

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    once = "--once" in sys.argv[1:]
    demo = None
    try:
        with Lab() as lab:
            demo = Demo(lab, screen)
            (play if once else by_keys)(demo)
            screen.step("stopping the daemon and removing everything")
            demo.daemon.stop()
    except NotInTime as error:
        screen.fail(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        screen.say("\ninterrupted; all is removed")
        return 130
    screen.say("\nthe whole story happened; all is removed" if once else "\nall is removed")
    return 0


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms"


def _told(route: RouteInfo) -> str:
    path = " ".join(map(str, route.as_path))
    return f"{route.prefix} via {route.next_hop}, AS path {path}, communities {' '.join(route.communities) or 'none'}"


def _first_line(host: Host, *command: str) -> str:
    done = subprocess.run(host.command(*command), capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
