"""The daemon beside its parts."""

from __future__ import annotations

import gevent
import pytest

from consulcast import config
from consulcast.daemon import Daemon

FILE = "bgp: {local_as: 65001, peer_as: 65010, peer_ip: 198.51.100.2}\n"


def test_reload_that_is_asked_for_during_the_start_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(config.parse("c.yaml", FILE), "c.yaml")
    reloaded: list[str] = []
    monkeypatch.setattr(daemon, "reload", lambda: reloaded.append("once"))
    asked = daemon._spawn(daemon._reload_when_up)
    gevent.sleep(0)
    assert reloaded == []
    daemon._up.set()
    asked.join(1.0)
    assert (reloaded, daemon._stop.is_set()) == (["once"], False)
