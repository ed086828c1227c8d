"""The daemon as the web sees it: what it has answered is kept while the parts say the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consulcast import notation
from consulcast.model import App, AppKey, Health, Reason, Refused, Source, Stale, Verdict
from consulcast.status import Status
from consulcast.values import replace
from consulcast.vip_status import DrainPhase, VipStatus
from consulcast.web.view import AppState, VipState

VIP = notation.vip("203.0.113.10/32")
DNS = App(AppKey(Source.CONFIG, "dns"), "dns", (VIP,))
NTP = App(AppKey(Source.CONSUL, "ntp-1"), "ntp", (notation.vip("203.0.113.11/32"),))
PASSING = Verdict(Health.PASSING, Reason.PASSING, since=5.0)


class Parts:
    """What the parts say, to be changed by a test."""

    def __init__(self) -> None:
        self.registered = SimpleNamespace(apps=(DNS, NTP), refused=())
        self.health: dict[AppKey, Verdict] = {DNS.key: PASSING, NTP.key: PASSING}
        self.stale: dict[AppKey, Stale] = {}
        self.drain: Any = None
        self.found = {VIP: VipStatus(VIP, Reason.ANNOUNCED)}

    @property
    def plan(self) -> Any:
        return SimpleNamespace(intents={VIP: SimpleNamespace(vip=VIP, apps=(DNS.key,), drain=self.drain)})

    def status(self) -> dict[Any, VipStatus]:
        return self.found


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def status(parts: Parts) -> Status:
    nothing: Any = SimpleNamespace(held=lambda name: None)
    seen: Any = parts
    return Status(*(seen, seen), *(nothing,) * 9)


def test_an_app_is_as_the_parts_say_and_kept_while_they_do(parts: Parts, status: Status) -> None:
    first = status.apps()
    assert [(app.key, app.state, app.since) for app in first] == [
        (DNS.key, AppState.PASSING, 5.0),
        (NTP.key, AppState.PASSING, 5.0),
    ]
    parts.health = {DNS.key: PASSING, NTP.key: Verdict(Health.FAILING, Reason.MONITOR_FAILING, "critical", 7.0)}
    second = status.apps()
    assert second[0] is first[0]
    assert (second[1].state, second[1].reason, second[1].since) == (AppState.FAILING, Reason.MONITOR_FAILING, 7.0)


@pytest.mark.parametrize("what", ["app", "since", "stale", "verdict"])
def test_nothing_that_an_app_shows_is_old(parts: Parts, status: Status, what: str) -> None:
    status.apps()
    stale = Stale(1.0, "no leader")
    if what == "app":
        parts.registered.apps = (replace(DNS, vips=(notation.vip("203.0.113.99/32"),)), NTP)
        assert status.apps()[0].asked.vips == ("203.0.113.99/32",)
    elif what == "since":
        parts.health = {**parts.health, DNS.key: replace(PASSING, since=9.0)}
        assert status.apps()[0].since == 9.0
    elif what == "stale":
        parts.stale = {DNS.key: stale}
        assert status.apps()[0].stale == stale
    else:
        parts.health = {NTP.key: PASSING}
        assert status.apps()[0].state is AppState.UNKNOWN


def test_what_is_refused_is_there_unless_it_is_taken_as_well(parts: Parts, status: Status) -> None:
    refused = Refused(AppKey(Source.CONSUL, "web-1"), "web", Reason.BAD_TAG, "no VIP")
    parts.registered.refused = (refused, Refused(DNS.key, "dns", Reason.BAD_TAG, "twice"))
    assert [(app.key, app.state) for app in status.apps()][2:] == [(refused.key, AppState.REFUSED)]
    assert status.apps()[2] is status.apps()[2]


def test_a_vip_is_kept_while_route_drain_and_age_are_the_same(parts: Parts, status: Status) -> None:
    (first,) = status.vips()
    assert (first.state, first.apps, first.stale, first.drain) == (VipState.ANNOUNCED, (DNS.key,), None, None)
    assert status.vips()[0] is first
    parts.stale = {DNS.key: Stale(1.0, "no leader")}
    assert status.vips()[0].stale == Stale(1.0, "no leader")
    parts.found = {VIP: VipStatus(VIP, Reason.PEER_DOWN, "no answer")}
    assert status.vips()[0].reason is Reason.PEER_DOWN
    parts.drain = SimpleNamespace(since=1.0, lowered_until=2.0, until=None)
    for flows in (3, 2):  # which two answers about a VIP are not told apart by
        parts.found = {VIP: VipStatus(VIP, Reason.DRAINING, "", DrainPhase.FLOWS, flows)}
        (drained,) = status.vips()
        assert drained.drain is not None
        assert drained.drain.flows == flows
    parts.found = {}
    assert status.vips() == []
