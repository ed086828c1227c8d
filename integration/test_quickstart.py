"""docs/quickstart.md, line by line: what it has one type is typed, and the router sees what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from integration.lab import Bird, ConsulAgent, Lab, Peer, until

VIP = "203.0.113.10/32"
PAGE = (Path(__file__).parents[1] / "docs/quickstart.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_works_as_it_stands(lab: Lab) -> None:
    host, tor = lab.host("host-1"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    (lab.dir / "bird.conf").write_text(blocks("bird")[0])
    tor.run("bird", "-p", "-c", str(lab.dir / "bird.conf"))
    ConsulAgent(host)
    (configuration,), (service,) = blocks("yaml"), blocks("json")
    # a host's own places, which here are the lab's
    places = f"agent: {{run_dir: {lab.dir}/run, state_dir: {lab.dir}/state}}\n"
    (lab.dir / "consulcast.yaml").write_text(configuration + places)
    (lab.dir / "web.json").write_text(service)
    check, register, look, drain = blocks("sh")
    run, serve = blocks("run")

    def line(text: str) -> list[str]:
        text = text.replace("/etc/consulcast.yaml", str(lab.dir / "consulcast.yaml")).strip()
        return ["sh", "-ec", f"cd {lab.dir}; PATH={Path(sys.executable).parent}:$PATH; {text}"]

    assert "good" in host.run(*line(check))
    host.spawn(*line(run), name="consulcast")
    bird.wait_established(deadline=20.0)
    host.run(*line(register))
    assert bird.routes() == {}, "its check does not pass yet"
    host.spawn(*line(serve), name="web")
    bird.wait_routes({VIP}, deadline=20.0)
    seen = host.run(*line(look))
    assert f"{VIP} is announced to 1 of 1 peers" in seen
    assert "1 of 1 VIPs announced" in seen
    assert f"inet {VIP}" in seen
    off, on = drain.splitlines()
    host.run(*line(off))
    bird.wait_routes(set(), deadline=20.0)
    host.run(*line(on))
    until(lambda: bird.routes().keys() == {VIP}, 20.0, "it is back")
