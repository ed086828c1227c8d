"""Nothing secret leaves the daemon: canaries in every place that takes one, and a search of all that comes out."""

from __future__ import annotations

import http.client
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer, until
from integration.test_stories import HOST_AS, OTHER, ROUTER_AS, VIP, settings

CANARIES = {
    "bgp.peers[0].password": "canary-md5-in-the-file",
    "bgp.peers[1].password_file": "canary-md5-of-its-own-file",
    "consul.token": "canary-consul-token-in-the-file",
    "CONSUL_TOKEN": "canary-consul-token-of-gocast",
    "CONSUL_HTTP_TOKEN": "canary-consul-token-of-consul",
    "api.tokens_file": "canary-api-token-in-plain",
    "Authorization": "canary-api-token-that-is-wrong",
    "a password in a monitor's URL": "canary-password-in-a-url",
    "a broken file's password": "canary-md5-in-a-broken-file",
}
PROBES = ("/ping", "/healthz", "/readyz", "/v1/openapi.json")
URLS = (*PROBES, "/v1/apps", "/v1/vips", "/v1/peers", "/info", "/metrics", "/")


class World:
    """A daemon that is full of secrets, and everything that it says."""

    def __init__(self, lab: Lab, host: Host, daemon: Daemon) -> None:
        self.lab, self.host, self.daemon = lab, host, daemon
        self.said: list[tuple[str, str]] = []  # where, what

    def ask(self, method: str, path: str, token: str = "", body: bytes | None = None) -> int:
        """Ask, and keep the whole answer."""
        with self.host.inside():
            connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
            connection.connect()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        self.said.append((f"{method} {path}", f"{response.getheaders()} {response.read().decode()}"))
        connection.close()
        return response.status

    def descendants(self) -> list[int]:
        """Every process below the daemon."""
        found, left = [], [self.daemon.process.pid]
        while left:
            pid = left.pop()
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                left += (below := [int(child) for child in children.read_text().split()])
                found += below
        return found

    def look_at_processes(self) -> int:
        """Keep command lines and environments of all children, and the daemon's own command line."""
        pids = self.descendants()
        for pid in pids:
            try:
                for name in ("cmdline", "environ"):
                    self.said.append((f"/proc/{pid}/{name}", Path(f"/proc/{pid}/{name}").read_bytes().decode()))
            except (FileNotFoundError, ProcessLookupError):
                continue
        own = Path(f"/proc/{self.daemon.process.pid}/cmdline").read_bytes().decode()
        self.said.append(("the daemon's own command line", own))
        return len(pids)


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS, password=CANARIES["bgp.peers[0].password"])])
    consul = ConsulAgent(host)
    tools = lab.dir / "tools"  # an nft that tells what it is given
    tools.mkdir()
    recorded = lab.dir / "recorded"
    recorded.mkdir(0o700)
    nft = tools / "nft"
    nft.write_text(f'#!/bin/sh\n(env; echo "$@") >>{recorded}/nft\nPATH=/usr/sbin:/sbin:/usr/bin:/bin exec nft "$@"\n')
    nft.chmod(0o755)
    files = {"tokens": f"deploy read,register {CANARIES['api.tokens_file']}\n"}
    files["md5"] = CANARIES["bgp.peers[1].password_file"] + "\n"
    for name, text in files.items():
        (lab.dir / name).write_text(text)
        (lab.dir / name).chmod(0o600)
    daemon = Daemon(host, config(lab), node=consul.node, env=environment(tools))
    made = World(lab, host, daemon)
    daemon.wait_line("peer 198.51.100.2 .*: up", 20.0)
    until(lambda: (recorded / "nft").exists() and (recorded / "exec").exists(), 20.0, "both kinds of children ran")
    yield made
    assert "Traceback" not in daemon.log()


def config(lab: Lab) -> dict[str, Any]:
    peers = [
        {"address": "198.51.100.2", "password": CANARIES["bgp.peers[0].password"]},
        {"address": "198.51.100.3", "password_file": str(lab.dir / "md5")},
    ]
    command = f"exec:(env; cat /proc/self/cmdline) >>{lab.dir}/recorded/exec; sleep 3"
    apps = [
        {"name": "natted", "vip": VIP, "nats": ["tcp:80:8080"]},
        {"name": "watched", "vip": OTHER, "monitors": [{"monitor": command, "interval": "1s", "timeout": "10s"}]},
    ]
    made = settings(lab, apps=apps)
    made["bgp"] = {"local_as": HOST_AS, "peer_as": ROUTER_AS, "peers": peers}
    made["nat"] = {"backend": "nft"}
    made["consul"] = {"token": CANARIES["consul.token"]}
    made["api"] = {"tokens_file": str(lab.dir / "tokens"), "listen": [f"unix://{lab.dir}/api.sock"]}
    return made


def environment(tools: Path) -> dict[str, str]:
    secrets = {name: CANARIES[name] for name in ("CONSUL_TOKEN", "CONSUL_HTTP_TOKEN")}
    return {**secrets, "PATH": f"{tools}:{os.environ['PATH']}"}


def test_no_secret_in_log_answer_argument_environment_or_open_file(world: World, lab: Lab) -> None:
    token, wrong = CANARIES["api.tokens_file"], CANARIES["Authorization"]
    for path in URLS:
        for credential in ("", token, wrong):
            world.ask("GET", path, credential)
    secret_url = "http:http://user:" + CANARIES["a password in a monitor's URL"] + "@127.0.0.1/"
    body = f'{{"vips": ["203.0.113.12/32"], "monitors": ["{secret_url}"]}}'.encode()
    assert world.ask("PUT", "/v1/apps/url", token, body) == 400
    assert world.ask("GET", f"/register?name=url&vip=203.0.113.12/32&monitor={secret_url}", token) == 400
    assert world.ask("GET", f"/register?name=a&vip=203.0.113.12/32&token={token}") == 401
    assert world.ask("PUT", "/v1/apps/a", token, b'{"vips": ["203.0.113.12/32"]}') == 200
    assert world.ask("POST", "/v1/reload", token) == 204

    good, broken = world.daemon.config.read_text(), CANARIES["a broken file's password"]
    for text in (f"[{broken}]", f"'{broken}\"'", f'"{broken}', f"{broken}: {broken}", "é" + broken):
        world.daemon.configure(good.replace(CANARIES["bgp.peers[0].password"], text))
        assert world.ask("POST", "/v1/reload", token) == 409
        world.daemon.mark()
        world.daemon.process.signal(signal.SIGHUP)
        world.daemon.wait_line("reload refused")
    world.daemon.configure(good)

    until(lambda: len(world.descendants()) >= 3, 10.0, "ExaBGP, its relay and a monitor's command run")
    assert world.look_at_processes() >= 3
    recorded = {name: (lab.dir / "recorded" / name).read_text() for name in ("nft", "exec")}
    assert "PATH=" in recorded["nft"]
    assert "PATH=" in recorded["exec"]
    world.said += [("the daemon's log", world.daemon.log()), *recorded.items()]
    world.said += [(str(log), log.read_text(errors="replace")) for log in (lab.dir / "run" / "bgp").glob("*.log*")]
    assert any("exabgp.log" in where for where, _ in world.said)
    leaks = [(where, place) for where, what in world.said for place, secret in CANARIES.items() if secret in what]
    assert leaks == []


def test_files_with_secrets_are_private(world: World, lab: Lab) -> None:
    holders = []
    for top in (lab.dir / "run", lab.dir / "state"):
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
        for path in top.rglob("*"):
            mode = path.lstat().st_mode
            assert not mode & 0o077, f"{path} has mode {stat.S_IMODE(mode):04o}"
            if stat.S_ISREG(mode) and any(secret in path.read_text(errors="replace") for secret in CANARIES.values()):
                holders.append(path.name)
    assert holders == ["exabgp.conf"]  # the search finds what it looks for: ExaBGP has to know the passwords
    assert stat.S_IMODE((lab.dir / "api.sock").stat().st_mode) == 0o600
    world.daemon.stop()
    assert not list((lab.dir / "run").rglob("exabgp.conf"))
