from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.consul.bodies import Check
from consulcast.model import Drained, Health, Reason
from consulcast.monitors.consul import judge


def own(status: str, name: str = "service:dns", service: str = "dns") -> Check:
    return Check(name, status=status, service_id=service, service_name=service)


def of_node(status: str, name: str = "serfHealth") -> Check:
    return Check(name, status=status)


SERF = of_node("passing")


def test_all_checks_passing_passes() -> None:
    verdict = judge("dns", [SERF, own("passing"), own("passing", "other")])
    assert (verdict.health, verdict.reason) == (Health.PASSING, Reason.PASSING)


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_check_decides_whatever_the_order(order: int) -> None:
    checks = [SERF, own("passing", "a"), own("critical", "b"), own("warning", "c")][::order]
    verdict = judge("dns", checks)
    assert (verdict.health, verdict.reason) == (Health.FAILING, Reason.MONITOR_FAILING)
    assert verdict.detail == "check 'b' is critical"


@pytest.mark.parametrize("name", ["serfHealth", "disk"])
def test_a_failing_check_of_the_node_fails_its_services(name: str) -> None:
    verdict = judge("dns", [of_node("critical", name), own("passing")])
    assert verdict.health is Health.FAILING
    assert verdict.detail == f"check '{name}' is critical"


def test_warning_fails_as_in_gocast() -> None:
    assert judge("dns", [SERF, own("warning")]).health is Health.FAILING


def test_warning_passes_where_it_may_and_is_shown() -> None:
    verdict = judge("dns", [SERF, own("warning")], "pass")
    assert (verdict.health, verdict.detail) == (Health.PASSING, "check 'service:dns' is warning")
    assert judge("dns", [SERF, own("critical")], "pass").health is Health.FAILING


@pytest.mark.parametrize("warning", ["fail", "pass"])
def test_a_status_that_is_not_known_fails(warning: str) -> None:
    assert judge("dns", [own("recovering")], warning).health is Health.FAILING  # type: ignore[arg-type]


def test_a_service_without_a_check_of_its_own_never_passes() -> None:
    verdict = judge("dns", [SERF, own("passing", "service:web", "web")])
    assert (verdict.health, verdict.reason) == (Health.FAILING, Reason.NO_CHECKS)


def test_another_instances_checks_do_not_count() -> None:
    checks = [SERF, own("passing", "service:dns-1", "dns-1"), own("critical", "service:dns-2", "dns-2")]
    assert judge("dns-1", checks).health is Health.PASSING
    assert judge("dns-2", checks).health is Health.FAILING


def test_service_maintenance_is_a_drain_with_its_reason() -> None:
    maintenance = Check("_service_maintenance:dns", status="critical", service_id="dns", notes="upgrade")
    verdict = judge("dns", [SERF, own("critical"), maintenance])
    assert (verdict.health, verdict.reason) == (Health.DRAINING, Reason.DRAINING)
    assert verdict.detail == "service is in maintenance mode: upgrade"
    assert verdict.drain == Drained("check 'service:dns' is critical"), "and it says that more is wrong than that"
    well = judge("dns", [SERF, own("passing"), maintenance])
    assert (well.health, well.drain) == (Health.DRAINING, Drained())
    assert judge("web", [SERF, own("passing", "service:web", "web"), maintenance]).health is Health.PASSING


def test_node_maintenance_drains_every_service_also_one_without_checks() -> None:
    maintenance = Check("_node_maintenance", status="critical", notes="")
    for checks in ([SERF, own("passing")], []):
        verdict = judge("dns", [*checks, maintenance])
        assert (verdict.health, verdict.detail) == (Health.DRAINING, "node is in maintenance mode")


@given(
    st.lists(st.sampled_from(["passing", "warning", "critical"]), min_size=1),
    st.lists(st.sampled_from(["passing", "warning", "critical"])),
    st.randoms(use_true_random=False),
)
def test_a_verdict_depends_on_the_checks_and_not_on_their_order(
    own_ones: list[str], nodes: list[str], rng: object
) -> None:
    checks = [own(status, f"own{n}") for n, status in enumerate(own_ones)]
    checks += [of_node(status, f"node{n}") for n, status in enumerate(nodes)]
    shuffled = sorted(checks, key=lambda _: rng.random())  # type: ignore[attr-defined]
    verdict = judge("dns", shuffled)
    assert verdict == judge("dns", checks)
    assert (verdict.health is Health.PASSING) == (set(own_ones + nodes) == {"passing"})
