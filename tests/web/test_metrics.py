"""What Prometheus reads."""

from __future__ import annotations

import ipaddress
import re
import time
from pathlib import Path

from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from consulcast import __version__, notation
from consulcast.model import AppKey, Reason, Source, Stale
from consulcast.registration import Registration
from consulcast.web.view import AppState, AppView, ConsulView, QueryView, VipView
from tests.web.daemon import Daemon

KEY = AppKey(Source.CONSUL, "dns-1")


def figures(client: FlaskClient) -> dict[str, float]:
    """Each sample as it is written, without the labels of the version."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix('consulcast_')}{{{labels}}}"] = sample.value
    return found


def test_apps_vips_peers_and_repairs_are_counted(client: FlaskClient, daemon: Daemon) -> None:
    client.put("/v1/apps/web", json={"vips": ["203.0.113.10/32", "203.0.113.11/32"]})
    client.put("/v1/apps/dns", json={"vips": ["203.0.113.10/32"]})
    daemon.others = [AppView(KEY, Registration("dns"), AppState.FAILING, Reason.CONSUL_STALE)]
    seen = figures(client)
    assert any(name.startswith("build_info{") and f"version={__version__}" in name for name in seen)
    assert seen["apps{reason=passing,source=http,state=passing}"] == 2
    assert seen["apps{reason=consul-stale,source=consul,state=failing}"] == 1
    assert seen["vips{reason=announced,state=announced}"] == 3
    assert seen["vip_announced{reason=announced,vip=203.0.113.11/32}"] == 1
    assert seen["peer_up{peer=198.51.100.1}"] == 1
    assert seen["peer_messages_total{direction=sent,peer=198.51.100.1,type=update}"] == 5
    assert seen["peer_messages_total{direction=received,peer=198.51.100.1,type=keepalive}"] == 3
    assert seen["peer_flaps_total{peer=198.51.100.1}"] == 0
    assert (seen["repairs_total{kind=address}"], seen["repairs_total{kind=nat}"]) == (2, 0)
    assert not any(name.startswith("consul_") for name in seen), "Consul is not used"


def test_consul_is_told_in_figures(client: FlaskClient, daemon: Daemon) -> None:
    now = time.monotonic()
    catalog = QueryView(now - 40, returns=7, resets=1, errors={"denied": 2})
    daemon.seen = ConsulView("host", True, None, {"catalog": catalog, "health": QueryView()})
    seen = figures(client)
    assert (seen["consul_synced{}"], seen["consul_stale_seconds{}"], seen["consul_held_apps{}"]) == (1, 0, 0)
    assert 40 <= seen["consul_answer_age_seconds{query=catalog}"] < 60
    assert "consul_answer_age_seconds{query=health}" not in seen, "never answered"
    assert seen["consul_query_returns_total{query=catalog}"] == 7
    assert seen["consul_index_resets_total{query=catalog}"] == 1
    assert seen["consul_errors_total{kind=denied,query=catalog}"] == 2
    assert seen["consul_errors_total{kind=timed-out,query=health}"] == 0
    daemon.seen = ConsulView("host", True, Stale(now - 90, "gone"), {}, {KEY: "the agent still has it registered"})
    seen = figures(client)
    assert 90 <= seen["consul_stale_seconds{}"] < 110
    assert seen["consul_held_apps{}"] == 1


def test_both_formats_are_spoken(client: FlaskClient) -> None:
    assert client.get("/metrics").mimetype == "text/plain"
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.mimetype == "application/openmetrics-text"
    assert answer.text.endswith("# EOF\n")


def test_what_the_parts_measure_is_shown_too(client: FlaskClient, daemon: Daemon) -> None:
    daemon.instruments.looked("http", False, 0.1)
    seen = figures(client)
    assert seen["monitor_looks_total{kind=http,result=failed}"] == 1
    assert seen["process_open_fds{}"] > 0


def test_vip_that_is_not_announced_shows_why(client: FlaskClient, daemon: Daemon) -> None:
    vip = VipView(notation.vip("203.0.113.10/32"), Reason.ADDRESS_FAILED)
    daemon.vips = lambda: [vip]  # type: ignore[method-assign]
    assert figures(client)["vip_announced{reason=address-failed,vip=203.0.113.10/32}"] == 0


def test_the_page_names_each_figure_with_its_kind_and_labels_and_no_other(client: FlaskClient, daemon: Daemon) -> None:
    client.put("/v1/apps/dns", json={"vips": ["203.0.113.10/32"]})
    daemon.seen = ConsulView("host", True, None, {"catalog": QueryView(time.monotonic()), "health": QueryView()})
    daemon.instruments.peer(ipaddress.ip_address("198.51.100.1"))
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    written = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(consulcast_\w+)` \| (\w+) \| ([^|]*)\|", page, re.MULTILINE)
    }
    shown = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        if family.name.startswith("consulcast_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            shown[name] = (family.type, labels)
    assert written == shown
