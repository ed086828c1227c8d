"""What the daemon's parts are asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from consulcast.explain.collect import Collector
from consulcast.model import AppKey, Health, Intent, Reason, Source, Verdict, VerdictKey
from consulcast.monitors import spec

KEY = VerdictKey(AppKey(Source.CONFIG, "web"), spec.read("exec:/bin/false"))


def verdict(detail: str) -> Verdict:
    return Verdict(Health.FAILING, Reason.MONITOR_FAILING, detail, 900.0)


def test_a_monitor_s_result_is_that_of_its_last_look() -> None:
    """The planning is told when a monitor's health changes, and not of each look."""
    core = SimpleNamespace(
        registered=SimpleNamespace(apps=(), refused=()),
        asked=(),
        health={},
        verdicts={KEY: verdict("exit status 1: the first")},
        stale={},
        plan=SimpleNamespace(intents=tuple[Intent, ...]()),
        consul=None,
        complete=True,
    )
    parts: Any = SimpleNamespace(verdicts={KEY: verdict("exit status 1: the last")})
    reconciler: Any = SimpleNamespace(translations=lambda: (None, {}))
    speaker: Any = SimpleNamespace(child_trouble="")
    collector = Collector(cast(Any, core), parts, reconciler, speaker, cast(Any, None), "lo", cast(Any, None))
    assert collector._facts().verdicts[KEY].detail == "exit status 1: the last"
