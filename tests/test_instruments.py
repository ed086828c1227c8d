"""What the parts count and time."""

from __future__ import annotations

from ipaddress import ip_address

from consulcast.instruments import Instruments
from consulcast.latency import Cause, What
from consulcast.web.metrics import measured


def figures(made: Instruments) -> dict[str, float]:
    found = {}
    for metric in map(measured, made.all()):
        assert metric.documentation
        for sample in metric.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix('consulcast_')}{{{labels}}}"] = sample.value
    return found


def test_everything_that_may_happen_is_there_with_0_before_it_does() -> None:
    made = Instruments()
    made.peer(ip_address("198.51.100.2"))
    seen = figures(made)
    assert seen["updates_total{kind=withdraw,peer=198.51.100.2}"] == 0
    assert seen["monitor_looks_total{kind=dns,result=failed}"] == 0
    assert seen["event_to_update_seconds_count{cause=consul,what=announce}"] == 0
    assert (seen["hook_runs_total{result=failed}"], seen["hook_changes_dropped_total{}"]) == (0, 0)
    assert not any(name.endswith("_created{}") or "_created{" in name for name in seen)


def test_what_is_counted_is_shown() -> None:
    made = Instruments()
    made.updated(ip_address("198.51.100.2"), True)
    made.looked("port", True, 0.002)
    made.looked("exec", None, 0.002)
    made.served(What.WITHDRAW, Cause.MONITOR, 0.0021)
    made.turned(0.3)
    seen = figures(made)
    assert seen["updates_total{kind=announce,peer=198.51.100.2}"] == 1
    assert seen["monitor_looks_total{kind=port,result=passed}"] == 1
    assert seen["monitor_looks_total{kind=exec,result=none}"] == 1
    assert seen["monitor_look_duration_seconds_bucket{kind=port,le=0.0025}"] == 1
    assert seen["event_to_update_seconds_bucket{cause=monitor,le=0.002,what=withdraw}"] == 0
    assert seen["event_to_update_seconds_bucket{cause=monitor,le=0.003,what=withdraw}"] == 1
    assert seen["hub_lateness_seconds_bucket{le=0.25}"] == 0
    assert seen["hub_lateness_seconds_count{}"] == 1


def test_buckets_go_from_half_a_millisecond_to_ten_seconds() -> None:
    bounds = [name for name in figures(Instruments()) if name.startswith("event_to_update_seconds_bucket{cause=http,")]
    assert "event_to_update_seconds_bucket{cause=http,le=0.0005,what=announce}" in bounds
    assert "event_to_update_seconds_bucket{cause=http,le=10.0,what=announce}" in bounds
