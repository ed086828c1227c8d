"""The apps that hosts of the bench have."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bench.arrivals import last
from bench.population import consul_monitored, definitions, mixed, port_monitored, ports, prefixes, with_tags
from bench.start import by_package
from consulcast import tags
from consulcast.model import App, AppKey, Source
from integration.lab import Update


def test_mixture_is_half_consul_a_quarter_ports_a_tenth_nat_and_both_families() -> None:
    members = mixed(1000, 0)
    assert sum(one.monitor == "consul" for one in members) == 500
    assert len(ports(members)) == len(set(ports(members))) == 250
    assert sum(bool(one.nat) for one in members) == 100
    for monitor in ("consul", "port", ""):
        versions = [ip_network(one.prefix).version for one in members if one.monitor.partition(":")[0] == monitor]
        assert 0.4 < versions.count(6) / len(versions) < 0.6, monitor


def test_no_two_apps_on_any_two_hosts_have_one_vip() -> None:
    everybody = [mixed(1000, 0), mixed(1000, 5), consul_monitored(1000, 17), port_monitored(1000, 17)]
    assert len(set().union(*map(prefixes, everybody))) == 4000


def test_larger_mixture_begins_with_the_smaller() -> None:
    assert mixed(1000, 3)[:10] == mixed(10, 3)


def test_their_tags_are_read_as_they_are_meant() -> None:
    for one in (*mixed(40, 0), *with_tags(consul_monitored(2, 1), 30)):
        app = tags.parse(AppKey(Source.CONSUL, one.name), one.name, one.tags)
        assert isinstance(app, App), app
        assert {str(vip.prefix) for vip in app.vips} == {one.prefix}


def test_tags_of_others_fill_up_to_the_number() -> None:
    (one,) = with_tags(consul_monitored(1, 0), 30)
    assert len(set(one.tags)) == 30


def test_consul_is_given_each_with_a_check_that_passes_and_one_of_the_node() -> None:
    config = definitions(consul_monitored(2, 0))
    services, checks = config["services"], config["checks"]
    assert isinstance(services, list)
    assert isinstance(checks, list)
    assert [(one["name"], one["check"]["status"]) for one in services] == [
        ("consul-0000", "passing"),
        ("consul-0001", "passing"),
    ]
    assert [check["id"] for check in checks] == ["host"]


def test_last_arrival_is_that_of_the_prefix_that_came_last_and_first_arrivals_count() -> None:
    none: frozenset[str] = frozenset()
    updates = [
        Update(5, "", frozenset({"a"}), none),  # before
        Update(11, "", frozenset({"a"}), none),
        Update(12, "", none, frozenset({"b"})),
        Update(13, "", frozenset({"b", "x"}), none),
        Update(14, "", frozenset({"a"}), none),
    ]
    assert last(updates, {"a", "b"}, True, 10) == (13, set())
    assert last(updates, {"a", "b"}, False, 10) == (12, {"a"})
    assert last(updates[:1], {"a"}, True, 10) == (10, {"a"})


def test_time_of_imports_is_counted_by_top_level_package() -> None:
    said = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       150 |        150 |   gevent.hub\n"
        "import time:        50 |        200 | gevent\n"
        "2026-01-02T03:04:05.678 INFO    consulcast up\n"
        "import time:      1000 |       1000 | flask\n"
    )
    assert by_package(said) == pytest.approx({"gevent": 0.0002, "flask": 0.001})
