"""Any interleaving of answers, errors and second looks."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from consulcast.consul.bodies import OURS, CatalogNode, Check, Node, Service
from consulcast.consul.client import Answer
from consulcast.consul.errors import Unreachable
from consulcast.consul.evidence import Evidence, Read
from consulcast.consul.hold_down import HoldDown
from consulcast.consul.view import View
from consulcast.monitors.consul import rank

GRACE = 15.0
NAMES = ["a", "b", "c"]
Catalog = Answer[CatalogNode | None]
Health = Answer[tuple[Check, ...] | None]
Step = Callable[[View, float], None]

tags = st.sampled_from([("t",), ("u",), ()])
catalogs = st.one_of(
    st.just(Answer(None, index=1)),
    st.builds(
        lambda found: Answer(
            CatalogNode(Node("n1"), {name: Service(name, name, some) for name, some in found.items()})
        ),
        st.dictionaries(st.sampled_from(NAMES), tags),
    ),
)
statuses = st.sampled_from(["passing", "warning", "critical"])
healths = st.builds(
    lambda found, more: Answer(
        tuple(
            [Check(f"service:{name}", status=status, service_id=name) for name, status in found.items()]
            + [Check(name, status=status) for name, status in more.items()]
        )
    ),
    st.dictionaries(st.sampled_from(NAMES), statuses),
    st.dictionaries(st.sampled_from(["serfHealth", "_node_maintenance"]), statuses),
)
gaps = st.sampled_from([0.0, 0.01, 0.06, 1.0, 5.0, 16.0, 100.0])
steps: st.SearchStrategy[Step] = st.one_of(
    catalogs.map(lambda answer: lambda view, now: view.catalog_answered(answer, now)),
    healths.map(lambda answer: lambda view, now: view.health_answered(answer, now)),
    st.just(lambda view, now: view.catalog_lost(Unreachable("u"), now)),
    st.just(lambda view, now: view.health_lost(Unreachable("u"), now)),
    st.just(lambda view, now: view.settle(now)),
)
stories = st.lists(st.tuples(gaps, steps), max_size=25)

EVERYTHING = Evidence(
    agent_services=NAMES,
    agent_apps=NAMES,
    agent_checks=[*(f"service:{name}" for name in NAMES), "serfHealth", "_node_maintenance"],
)


def is_app(service: Service) -> bool:
    return bool(service.tags)


def new_view() -> View:
    return View("n1", GRACE, HoldDown(), is_app)


def second_look(view: View, evidence: Evidence, now: float) -> None:
    doubts = view.doubts(now)
    if doubts:
        view.confirmed(doubts, evidence, now)


@given(stories)
def test_nothing_ever_leaves_the_view_while_one_witness_disagrees(story: list[tuple[float, Step]]) -> None:
    view, now = new_view(), 0.0
    services: set[str] = set()
    checks: dict[str, Check] = {}
    for gap, step in story:
        now += gap
        step(view, now)
        second_look(view, EVERYTHING, now)
        assert set(view.services) >= services
        for name in checks.keys() - view.checks.keys():
            owner = checks[name].service_id
            assert owner, "a check of the node"
            assert owner not in view.services, "a check of a service that is believed"
        services, checks = set(view.services), dict(view.checks)


@given(stories)
def test_no_check_gets_worse_within_the_grace_of_trouble_but_maintenance(story: list[tuple[float, Step]]) -> None:
    view, now, trouble = new_view(), 0.0, -1e9
    for gap, step in story:
        now += gap
        view.settle(now)  # what was due meanwhile, as the source does at the time that is named
        before = dict(view.checks)
        was_in_trouble, was_synced = bool(view._health.trouble), view.synced
        step(view, now)
        if was_synced and was_in_trouble != bool(view._health.trouble):  # before that there is nothing to protect
            trouble = now
        if now < trouble + GRACE:
            for name, check in before.items():
                if not check.maintenance and name in view.checks:
                    assert rank(view.checks[name]) <= rank(check)


@given(stories, catalogs, healths)
def test_when_consul_is_well_and_all_witnesses_agree_the_view_is_what_consul_says(
    story: list[tuple[float, Step]], catalog: Catalog, health: Health
) -> None:
    view, now = new_view(), 0.0
    for gap, step in story:
        now += gap
        step(view, now)
        second_look(view, EVERYTHING, now)
    if catalog.data is None:
        catalog = Answer(CatalogNode(Node("n1"), {}))
    assert catalog.data is not None
    view.catalog_answered(catalog, now)
    view.health_answered(health, now)
    services, checks = catalog.data.services or {}, {check.id: check for check in health.data or ()}
    apps = [name for name, service in services.items() if is_app(service)]
    ranks = {name: rank(check) for name, check in checks.items()}
    found = Read(checks, ranks=ranks)
    agreeing = Evidence(
        Read(services, apps=apps), found, list(services), list(checks), agent_apps=apps, agent_ranks=ranks
    )
    for _ in range(10):  # not one request or answer more: time alone brings it about
        if view.next_time() < float("inf"):
            now = max(now, view.next_time())
            second_look(view, agreeing, now)
            view.settle(now)
    assert (view.services, view.checks) == (services, checks)
    assert (view.synced, view.stale_since, view.stale_reason) == (True, None, "")
    assert view.next_time() == float("inf")


@settings(max_examples=200)
@given(stories)
def test_nothing_changes_by_time_alone_before_the_time_that_was_named(story: list[tuple[float, Step]]) -> None:
    view, now = new_view(), 0.0
    for gap, step in story:
        now += gap
        step(view, now)
        second_look(view, EVERYTHING, now)
        view.settle(now)
        assert view.next_time() > now, "or there would be a busy loop"
        early = now + (min(view.next_time(), now + 1e6) - now) * 0.999
        before = (dict(view.services), dict(view.checks), view.stale_reason)
        assert not view.doubts(early)
        view.settle(early)
        assert (dict(view.services), dict(view.checks), view.stale_reason) == before


@given(stories)
def test_the_view_is_marked_stale_exactly_while_it_differs_from_a_good_answer(story: list[tuple[float, Step]]) -> None:
    view, now = new_view(), 0.0
    for gap, step in story:
        now += gap
        step(view, now)
        second_look(view, EVERYTHING, now)
        assert (view.stale_since is None) == (view.stale_reason == "")
        seen = (view._catalog.seen, view._health.seen)
        if view.synced and not view.stale_reason and view.next_time() == float("inf"):
            assert seen == (view.services, view.checks)


@given(stories, st.sampled_from([0.2, 0.5, 0.8]))
def test_never_do_most_apps_go_within_a_moment(story: list[tuple[float, Step]], share: float) -> None:
    view, now = View("n1", GRACE, HoldDown(share, 10.0), is_app), 0.0
    for gap, step in story:
        now += gap
        before = {name for name, service in view.services.items() if is_app(service)}
        waited = {name for name in before if name in view._hold_down and now >= view._hold_down.until(name)}
        step(view, now)
        doubts = view.doubts(now)
        if doubts:  # whoever is asked agrees that whatever is looked for is gone
            rest = view.services.keys() - {service.id for service in doubts.services}
            view.confirmed(doubts, Evidence(Read(rest, apps=rest), Read(), rest, agent_apps=rest), now)
        after = {name for name, service in view.services.items() if is_app(service)}
        apps = before | after  # what is new counts: most often it takes the place of something
        assert len(apps) < 2 or len(apps - after - waited) <= share * len(apps)


some = [
    Check(name, owner_status, owner)
    for name in "abc"
    for owner in ("", "a", f"{OURS}x")
    for owner_status in ("passing", "critical")
]


@given(st.lists(st.lists(st.sampled_from(some), max_size=4).map(tuple), max_size=8))
def test_the_checks_of_an_answer_are_the_same_whatever_came_before_it(answers: list[tuple[Check, ...]]) -> None:
    view = new_view()
    for answer in answers:
        expected = {check.id: check for check in answer if not check.service_id.startswith(OURS)}
        found = view._by_id(answer)
        assert found == expected
        assert all(found[name] is check for name, check in expected.items())
