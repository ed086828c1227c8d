"""Whatever dies, what is at BIRD in the end is what is wanted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Lab, Peer, UpdateTap, until
from integration.test_bgp_sessions import HOST4, VIP4, VIP6, peer, two

ROUTES = [route(VIP4, "65000:1"), route(VIP6), *(route(f"198.18.0.{n}/32") for n in range(50))]
PREFIXES = {told["prefix"] for told in ROUTES}


@pytest.fixture
def bird_and_speaker(lab: Lab) -> tuple[Bird, Speaker]:
    """A speaker that has announced ROUTES to a BIRD."""
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.set(ROUTES)
    bird.wait_routes(PREFIXES)
    speaker.wait_settled()
    return bird, speaker


def _ended(pid: int | None) -> bool:
    """Tell whether a process has ended, though nobody may have asked for its exit status."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_same_table_again_sends_no_update(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    with UpdateTap(bird.host) as tap:
        for _ in range(20):
            speaker.set(ROUTES)
        speaker.set([*ROUTES, route("198.18.1.1/32")])  # shows that what was sent before it has been seen
        tap.wait("198.18.1.1/32")
        assert [update.announced | update.withdrawn for update in tap.updates()] == [{"198.18.1.1/32"}]


def test_all_routes_are_back_after_the_router_was_restarted(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    time.sleep(0.2)  # End-of-RIB follows the routes; a router that has closed by then resets, and its Cease is lost
    bird.stop()
    until(lambda: speaker.state(VIP4) == "handed-over", 10, "the session is down")
    speaker.set(ROUTES[:-1])
    bird.start()
    bird.wait_routes(PREFIXES - {ROUTES[-1]["prefix"]}, deadline=20)
    assert speaker.state(VIP4) == "announced"
    assert speaker.peers()[0]["flaps"] == "1"
    assert "cease" in speaker.peers()[0]["last_error"]


def test_all_routes_are_back_after_exabgp_was_killed_and_what_was_dropped_meanwhile_is_not(
    bird_and_speaker: tuple[Bird, Speaker],
) -> None:
    bird, speaker = bird_and_speaker
    for dropped in (1, 2, 3):
        pid = speaker.exabgp()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: speaker.exabgp() != pid, 5, "its end is seen")  # type: ignore[misc]
        speaker.set(ROUTES[dropped:])
        bird.wait_routes({told["prefix"] for told in ROUTES[dropped:]}, deadline=20)
        speaker.wait_settled()


def test_no_route_is_lost_or_sent_again_when_the_relay_was_killed(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    with UpdateTap(bird.host) as tap:
        pid = speaker.relay()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        speaker.set([*ROUTES[1:], route("198.18.1.1/32")])
        tap.wait("198.18.1.1/32", deadline=20)
        bird.wait_routes((PREFIXES | {"198.18.1.1/32"}) - {VIP4})
        speaker.wait_settled()
        assert tap.count(VIP6) == 0
    assert speaker.relay() != pid
    assert speaker.peers()[0]["flaps"] == "0"


def test_a_relay_that_is_killed_in_a_batch_costs_neither_the_session_nor_a_route(
    bird_and_speaker: tuple[Bird, Speaker],
) -> None:
    bird, speaker = bird_and_speaker
    first = speaker.exabgp()
    many = [*ROUTES, *(route(f"198.18.{n // 250 + 1}.{n % 250}/32") for n in range(2000))]
    for table in (many, ROUTES, many):  # ExaBGP ends at the sixth within 64 s
        relay = until(speaker.relay, 10, "a relay")
        speaker.set(table)
        os.kill(relay, signal.SIGKILL)
        speaker.wait_settled()
        bird.wait_routes({told["prefix"] for told in table}, deadline=20)
    assert speaker.exabgp() == first
    assert speaker.peers()[0]["flaps"] == "0"


def test_a_relay_that_is_killed_again_and_again_ends_exabgp_and_the_routes_are_back(
    bird_and_speaker: tuple[Bird, Speaker],
) -> None:
    bird, speaker = bird_and_speaker
    first = speaker.exabgp()
    for _ in range(14):  # ExaBGP gives up at the sixth within 64 s by the wall clock
        pid = until(speaker.relay, 10, "a relay")
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: speaker.relay() not in (pid, None), 20, "another relay")  # type: ignore[misc]
        if speaker.exabgp() != first:
            break
    assert speaker.exabgp() != first
    speaker.wait_settled()
    bird.wait_routes(PREFIXES, deadline=20)


def test_the_routes_are_gone_at_once_when_the_daemon_is_killed(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    exabgp = speaker.exabgp()
    speaker.process.kill()
    bird.wait_routes(set(), deadline=1.0)
    until(lambda: _ended(exabgp), 5, "ExaBGP has ended too")


def test_the_relay_alone_ends_exabgp_when_the_daemon_closes_the_connection(
    bird_and_speaker: tuple[Bird, Speaker],
) -> None:
    """The kernel's signal at the parent's death is not in play here: the daemon lives on, and starts another."""
    bird, speaker = bird_and_speaker
    first = speaker.exabgp()
    speaker.call("hang-up")
    until(lambda: speaker.exabgp() not in (first, None), 10, "another ExaBGP")
    bird.wait_routes(PREFIXES, deadline=20)


def test_an_exabgp_that_hangs_is_replaced(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    first = speaker.exabgp()
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    speaker.set(ROUTES[1:])
    until(lambda: speaker.exabgp() not in (first, None), 30, "another ExaBGP")
    bird.wait_routes(PREFIXES - {VIP4}, deadline=20)


def test_a_stop_in_order_withdraws_first_and_says_why(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    exabgp = speaker.exabgp()
    with UpdateTap(bird.host) as tap:
        assert speaker.process.stop() == 0
        tap.wait(VIP4, announced=False)
    bird.process.wait_line("Received: Administrative shutdown")
    assert bird.routes() == {}
    assert _ended(exabgp)
    assert {path.name for path in speaker.run_dir.iterdir()} == {"exabgp.log"}


def test_an_exabgp_that_the_patches_were_not_written_for_is_told(lab: Lab) -> None:
    host, tor = two(lab)
    Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(), env={"PYTHONPATH": _shadow(lab)})
    speaker.process.wait_line("ExaBGP has ended: exit status 1, error: .*install exabgp==5.0.15")
    assert "install exabgp==5.0.15" in speaker.call("last-child-error")


def _shadow(lab: Lab) -> str:
    """Make a directory that makes every Python find an ExaBGP that differs from the known one."""
    shadow = lab.dir / "shadow"
    shadow.mkdir()
    changed = "from exabgp.reactor.delay import Delay\nDelay.increase = lambda self: None\n"
    (shadow / "sitecustomize.py").write_text(changed)
    return str(shadow)
