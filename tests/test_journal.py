"""One line per change of an app's state, none while nothing changes."""

from __future__ import annotations

import pytest

from consulcast import notation
from consulcast.journal import Journal
from consulcast.model import App, AppKey, Health, MonitorSpec, Reason, Refused, Source, Verdict
from consulcast.registry import Registered

KEY = AppKey(Source.CONSUL, "dns")


def app(communities: str = "65000:1") -> App:
    vips = (notation.vip("203.0.113.10/32"),)
    return App(KEY, "dns", vips, (MonitorSpec("consul"),), communities=notation.communities(communities))


def verdict(health: Health) -> Verdict:
    return Verdict(health, Reason.PASSING if health is Health.PASSING else Reason.MONITOR_FAILING, health.value)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_life_of_an_app(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    journal = Journal()
    journal.record(Registered((app(),)), {KEY: verdict(Health.PASSING)})
    assert lines(caplog) == [
        "app consul:dns: registered (service dns, vip 203.0.113.10/32, monitor consul, community 65000:1)",
        "app consul:dns: passing (passing)",
    ]
    journal.record(Registered((app(),)), {KEY: verdict(Health.PASSING)})
    assert lines(caplog) == []
    journal.record(Registered((app("65000:2"),)), {KEY: verdict(Health.FAILING)})
    changed, failing = lines(caplog)
    assert changed.startswith("app consul:dns: changed (")
    assert failing == "app consul:dns: monitor-failing (failing)"
    journal.record(Registered(), {})
    assert lines(caplog) == ["app consul:dns: removed"]


def test_unknown_tags_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    journal = Journal()
    for _ in range(3):
        journal.record(Registered((App(KEY, "dns", (), ignored=("gocast_vpi=x",)),)), {})
    (line,) = lines(caplog)
    assert "app consul:dns: unknown-tag" in line
    assert "gocast_vpi=x" in line


def test_refusal_is_told_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    journal = Journal()
    refused = Refused(KEY, "dns", Reason.BAD_TAG, "tag 'x': no")
    for _ in range(3):
        journal.record(Registered((), (refused,)), {})
    assert lines(caplog) == ["app consul:dns: bad-tag (refused: tag 'x': no)"]
    journal.record(Registered((app(),), (refused,)), {})
    journal.record(Registered((app(),), (Refused(KEY, "dns", Reason.BAD_TAG, "other"),)), {})
    assert "its last readable registration stands" in lines(caplog)[-1]


def test_crowd_of_refused_apps_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    crowd = tuple(
        Refused(AppKey(Source.CONSUL, f"s{n}"), f"s{n}", Reason.TOO_MANY_APPS, "policy.consul.max_apps: 1")
        for n in range(5000)
    )
    journal = Journal()
    journal.record(Registered((), crowd), {})
    found = lines(caplog)
    Journal().record(Registered((), crowd[:11]), {})
    assert lines(caplog)[-1] == "1 more app of consul refused: too-many-apps"
    assert found[-1] == "4990 more apps of consul refused: too-many-apps"
    assert len(found) == 11
    journal.record(Registered((), crowd), {})
    assert lines(caplog) == []
