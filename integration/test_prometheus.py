"""Alerts and dashboard, by promtool and before a real Prometheus that scrapes real daemons."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from integration.lab import Lab, until
from integration.lab.prometheus import ALERTS, Prometheus
from integration.monitored_site import BROKEN, OTHER, VIP, Site, filled, named, panels

TESTS = Path(__file__).parent / "prometheus-alerts-test.yaml"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_well_formed_and_each_alert_does_what_its_tests_say() -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(TESTS))


def test_each_alert_is_tested_both_ways_and_says_what_to_do() -> None:
    tested = {test["name"] for test in yaml.safe_load(TESTS.read_text())["tests"]}
    for rule in rules():
        assert {f"{rule['alert']} fires", f"{rule['alert']} is quiet"} <= tested
        assert rule["labels"]["severity"] in ("critical", "warning")
        said = rule["annotations"]
        assert said["summary"]
        assert "docs/reasons.md#" in said["description"], rule["alert"]
        assert said["command"]


def test_every_expression_of_alerts_and_dashboard_works_on_what_real_daemons_say(lab: Lab) -> None:
    site = Site(lab)
    site.wait_up()
    prometheus = site.prometheus
    until(lambda: len(prometheus.query('up{job="consulcast"} == 1')) == 2, 30, "both hosts are scraped")
    until(lambda: len(prometheus.query("consulcast_consul_synced == 1")) == 2, 30, "Consul has answered")
    expressions = [rule["expr"] for rule in rules()]
    expressions += [filled(target["expr"]) for panel in panels() for target in panel["targets"]]
    for expression in expressions:
        prometheus.query(expression)
        for metric, labels in named(expression):
            for label in labels or {"job"}:
                assert prometheus.query(f'count({metric}{{{label}!=""}})'), (metric, label, expression)
    _loaded(prometheus)

    site.listener.close()
    until(
        lambda: prometheus.query(f'consulcast_vip_announced{{vip="{OTHER}", reason="monitor-failing"}} == 0'),
        30,
        "Prometheus knows that the VIP went, and why",
    )
    assert prometheus.query(f'max by (vip) (consulcast_vip_announced{{vip="{VIP}"}}) == 1')
    assert prometheus.query('sum(consulcast_event_to_update_seconds_count{what="withdraw", cause="monitor"}) == 1')
    assert prometheus.query('consulcast_apps{state="refused", source="consul", reason="bad-tag"} == 1')
    site.bird.disable("right")
    until(
        lambda: {("ConsulcastIsolated", "right"), ("ConsulcastAppsRefused", "left")} <= _pending(prometheus),
        30,
        "the alerts wait for their time",
    )
    assert any(vip == BROKEN for _, vip in _pending(prometheus, "vip"))


def _loaded(prometheus: Prometheus) -> None:
    """Every alert is evaluated, and none in vain."""

    def evaluated() -> bool:
        found = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert [rule["lastError"] for rule in found if rule.get("lastError")] == []
        return len(found) == len(rules()) and all(rule["health"] == "ok" for rule in found)

    until(evaluated, 30, "all alerts are evaluated")


def _pending(prometheus: Prometheus, label: str = "instance") -> set[tuple[str, str]]:
    alerts = prometheus.ask("alerts")["alerts"]
    return {(alert["labels"]["alertname"], alert["labels"].get(label, "")) for alert in alerts}
