"""The commands against a daemon with Consul and a router; and a daemon that only observes, beside one that acts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.lab import Lab, Process, until
from integration.lab.unprivileged import as_user, private_directory
from integration.test_stories import OTHER, VIP, World, settings, world

PROGRAM = shutil.which("consulcast", path=str(Path(sys.executable).parent)) or "consulcast"


def call(made: World, *arguments: str) -> tuple[int, str]:
    """Run a command on the host; the daemon is found by its file."""
    with made.host.inside():
        command = [PROGRAM, *arguments, "--config", str(made.daemon.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def told(made: World, *arguments: str) -> Any:
    return json.loads(call(made, *arguments, "--json")[1])


@pytest.fixture
def spine(lab: Lab) -> Iterator[World]:
    with world(lab) as made:
        yield made


def test_status_follows_what_the_router_has(spine: World) -> None:
    spine.register()
    spine.announced()
    until(lambda: call(spine, "status", "--quiet")[0] == 0, 10.0, "all that is wanted is announced")
    found = told(spine, "status")
    assert [(vip["vip"], vip["state"]) for vip in found["vips"]] == [(VIP, "announced")]
    assert found["daemon"] == f"unix://{spine.lab.dir}/run/api.sock"
    spine.check("critical")
    spine.gone()
    status, output = call(spine, "status")
    assert status == 1
    assert "monitor-failing" in output
    assert "Consul (node " in output
    spine.daemon.stop()
    status, output = call(spine, "status")
    assert status == 4
    assert "systemctl status consulcast" in output


def test_events_are_followed_over_a_restart_of_the_daemon(spine: World) -> None:
    following = spine.host.spawn(PROGRAM, "events", "-f", "--config", str(spine.daemon.config), name="events")
    spine.register()
    following.wait_line(f"vip {VIP}: announced", 10.0)
    spine.daemon.restart()
    spine.announced()
    following.mark()
    spine.check("critical")
    following.wait_line(f"vip {VIP}: monitor-failing, was announced", 15.0)
    assert following.stop() in (0, 1, -15)


def test_a_reload_by_command_and_a_file_that_is_bad(spine: World) -> None:
    good = settings(spine.lab, apps=[{"name": "ntp", "vip": OTHER}])
    spine.daemon.configure(good)
    assert call(spine, "reload") == (0, "reloaded\n")
    spine.announced(OTHER)
    spine.daemon.configure({**good, "bgp": {**good["bgp"], "origin": "nonsense"}})
    url = f"unix://{spine.lab.dir}/run/api.sock"
    done = subprocess.run([PROGRAM, "reload", "--url", url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "bgp.origin" in done.stderr
    assert OTHER in spine.bird.routes()


def test_plan_says_what_the_reload_then_does(spine: World) -> None:
    url = f"unix://{spine.lab.dir}/run/api.sock"

    def planned(*arguments: str) -> tuple[int, dict[tuple[str, str], str]]:
        with spine.host.inside():
            command = [PROGRAM, "plan", "--json", "--exit-code", *(arguments or ("--url", url))]
            env = {"CONSUL_NODE": spine.consul.node, "PATH": "/usr/bin:/bin"}
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)
        steps = json.loads(done.stdout)["steps"]
        return done.returncode, {(step["subject"], step["action"]): step["detail"] for step in steps}

    spine.register()
    spine.announced()
    until(lambda: call(spine, "status", "--quiet")[0] == 0, 10.0, "all that is wanted is announced")
    assert planned() == (0, {})
    before = spine.bird.counters()
    new = {"name": "ntp", "vip": OTHER}
    spine.daemon.configure(settings(spine.lab, apps=[new], bgp={"communities": ["65000:9"]}))
    status, steps = planned()
    assert status == 1
    assert steps == {
        ("config:ntp", "add"): f"vips {OTHER}",
        (OTHER, "add"): "communities 65000:9",
        (VIP, "change"): "communities +65000:9",
    }
    time.sleep(1)
    assert spine.bird.counters() == before
    assert planned("--config", str(spine.daemon.config))[1].keys() == {
        *{("198.51.100.2", "add"), ("config:ntp", "add"), ("consul:dns", "add"), (VIP, "add"), (OTHER, "add")},
    }
    assert call(spine, "reload")[0] == 0
    spine.bird.wait_routes({VIP, OTHER})
    until(lambda: spine.bird.routes()[VIP].communities == ("65000:9",), 10.0, "the community is at BIRD")
    assert planned() == (0, {})
    waits = settings(spine.lab, apps=[new], bgp={"communities": ["65000:9"]})
    waits["agent"]["vip_device"] = "nowhere0"  # counts from the next start: what comes with it is planned as it is done
    waits["bgp"]["peers"] = [{"address": waits["bgp"].pop("peer_ip")}, {"address": "198.51.100.77"}]
    spine.daemon.configure(waits)
    assert planned() == (1, {("198.51.100.77", "add"): "AS 65010"})
    assert call(spine, "reload")[0] == 0


def test_drain_waits_until_the_router_has_lost_the_route(spine: World) -> None:
    spine.register()
    spine.announced()
    status, output = call(spine, "drain", "dns", "--for", "10m", "--reason", "new kernel", "--wait", "30")
    assert status == 0, output
    assert output.startswith("drained: dns until ")
    assert VIP not in spine.bird.routes()
    assert call(spine, "status", "--quiet")[0] == 0, "what is drained is not wanted"
    assert "new kernel" in call(spine, "status")[1]
    assert call(spine, "drain", "nothing-here")[0] == 3
    assert call(spine, "undrain", "dns")[0] == 0
    spine.announced()
    assert call(spine, "undrain", "dns")[0] == 3


def observe(made: World) -> tuple[Process, str]:
    """Observe with the file of the daemon that acts, but for the directory; and with much to tell others."""
    config = yaml.safe_load(made.daemon.config.read_text())
    config["publish"] = {"kv": "told/", "service": "told"}
    config["hooks"] = {"on_change": ["/usr/bin/touch", str(made.lab.dir / "hook-ran")]}
    config["agent"]["run_dir"] = str(made.lab.dir / "observe")
    file = made.lab.dir / "observe.yaml"
    file.write_text(yaml.safe_dump(config))
    env = {"CONSUL_NODE": made.consul.node}
    command = (PROGRAM, "run", "--observe", "--config", str(file))
    return made.host.spawn(*command, name="observer", env=env), f"unix://{made.lab.dir}/observe/api.sock"


def test_observing_beside_one_that_acts_touches_nothing(spine: World) -> None:
    spine.register("dns", "gocast_nat=udp:53:8053")
    spine.announced()
    until(lambda: call(spine, "status", "--quiet")[0] == 0, 10.0, "all that is wanted is announced")

    def host() -> tuple[str, ...]:
        shown = ("ip", "-d", "addr"), ("ip", "route", "show", "table", "all"), ("nft", "list", "ruleset")
        return tuple(spine.host.run(*command) for command in shown)

    before, counters = host(), spine.bird.counters()
    observer, url = observe(spine)
    observer.wait_line(f"vip {VIP}: would-announce", 20.0)
    with spine.host.inside():
        done = subprocess.run([PROGRAM, "status", "--json", "--url", url], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(vip["state"], vip["reason"]) for vip in found["vips"]] == [("observed", "would-announce")]
    assert [peer["last_error"] for peer in found["peers"]] == ["observing: no session is opened"]
    children = Path(f"/proc/{observer.pid}/task/{observer.pid}/children").read_text()
    assert children == "", "no ExaBGP"
    assert (host(), spine.bird.counters()) == (before, counters)

    spine.check("critical")
    observer.wait_line(f"vip {VIP}: monitor-failing", 10.0)
    spine.gone()
    spine.check("passing")
    spine.announced()
    assert not (spine.lab.dir / "hook-ran").exists()
    assert "told" not in spine.consul.services()
    assert not spine.consul.call("GET", "/kv/", keys="1")
    observer.mark()
    before, counters = host(), spine.bird.counters()
    assert observer.stop() == 0
    assert (host(), spine.bird.counters()) == (before, counters)
    assert "announced" not in observer.text().replace("would be announced", "")
    assert not (spine.lab.dir / "state" / "last-words").exists(), "those are the other daemon's"


def test_observing_needs_no_right(spine: World) -> None:
    spine.register()
    spine.announced()
    directory = private_directory(spine.lab.dir / "nobody")
    config = yaml.safe_load(spine.daemon.config.read_text())
    config["agent"]["run_dir"] = str(directory / "run")
    file = spine.lab.dir / "nobody.yaml"
    file.write_text(yaml.safe_dump(config))
    command = (*as_user(spine.lab), PROGRAM, "run", "--observe", "--config", str(file))
    observer = spine.host.spawn(*command, name="observer", env={"CONSUL_NODE": spine.consul.node})
    observer.wait_line(f"vip {VIP}: would-announce", 20.0)
    assert observer.stop() == 0
