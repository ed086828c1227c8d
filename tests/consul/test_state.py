"""What the source publishes: the same as a source that begins now would, and the same objects where nothing changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consulcast import tags
from consulcast.consul.bodies import CatalogNode, Check, Node, Service
from consulcast.consul.client import Answer
from consulcast.consul.errors import Unreachable
from consulcast.consul.evidence import Evidence, Read
from consulcast.consul.join import PATIENCE
from consulcast.consul.settings import settings_from
from consulcast.consul.source import ConsulSource, ConsulState
from consulcast.monitors.consul import rank

NAMES = ["a", "b", "c", "d"]
BASE = ("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=consul")
TAGS = [BASE, (*BASE, "other"), (*BASE, "gocast_vip=203.0.113.11/32"), BASE[:2], ("other",), None]
UNREADABLE = ("enable_gocast",)  # which leaves the last readable ones standing


class World:
    """A source that hears what it is told, at the times that it is told."""

    def __init__(self, names: frozenset[str] = frozenset()) -> None:
        self.now = 1000.0
        self.changes: list[ConsulState] = []
        self.source = ConsulSource(
            settings_from({}, address="127.0.0.1:1"),
            "n1",
            tags.parse,
            lambda: self.changes.append(self.source.state),
            failed=lambda _: None,
            clock=lambda: self.now,
        )
        self.view = self.source._view
        self.catalog = self.source._into(self.view.catalog_answered)
        self.health = self.source._into(self.view.health_answered)
        self.no_catalog = self.source._into(self.view.catalog_lost)
        self.no_health = self.source._into(self.view.health_lost)
        self.source.judge_services(names)

    def settle(self, services: dict[str, Service], checks: dict[str, Check]) -> None:
        """Let time pass until nothing is open; every witness says what Consul says."""
        apps = [name for name, service in services.items() if self.source._join.is_app(service)]
        ranks = {name: rank(check) for name, check in checks.items()}
        evidence = Evidence(
            Read(services, apps=apps),
            Read(checks, ranks=ranks),
            list(services),
            list(checks),
            agent_apps=apps,
            agent_ranks=ranks,
        )
        for _ in range(20):
            if self.view.next_time() == float("inf"):
                break
            self.now = max(self.now, self.view.next_time())
            doubts = self.view.doubts(self.now)
            if doubts:
                self.view.confirmed(doubts, evidence, self.now)
            self.view.settle(self.now)
            self.source._publish(self.now)
        self.now += PATIENCE
        self.source._publish(self.now)


Said = tuple[dict[str, Service], dict[str, Check]]
Step = Callable[[World], None]


def services(found: dict[str, tuple[Any, int]]) -> dict[str, Service]:
    return {name: Service(name, f"of-{name < 'c'}", some, age) for name, (some, age) in found.items()}


def checks(found: dict[str, str], of_node: dict[str, str]) -> dict[str, Check]:
    own = [Check(f"service:{name}", status, name) for name, status in found.items()]
    return {check.id: check for check in [Check("serfHealth", "passing"), *own, *map(Check, of_node, of_node.values())]}


statuses = st.sampled_from(["passing", "warning", "critical"])
some_services, readable_services = (
    st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(some), st.integers(1, 3)), max_size=4).map(
        services
    )
    for some in ([*TAGS, UNREADABLE], TAGS)
)
some_checks = st.builds(
    checks,
    st.dictionaries(st.sampled_from([*NAMES, "consulcast:x"]), statuses),
    st.dictionaries(st.sampled_from(["disk", "_node_maintenance"]), statuses),
)


def hear_catalog(found: dict[str, Service]) -> Step:
    return lambda world: world.catalog(Answer(CatalogNode(Node("n1"), found)))


def hear_health(found: dict[str, Check]) -> Step:
    return lambda world: world.health(Answer(tuple(found.values())))


def stories_of(catalogs: st.SearchStrategy[dict[str, Service]]) -> st.SearchStrategy[list[tuple[float, Step]]]:
    steps: st.SearchStrategy[Step] = st.one_of(
        catalogs.map(hear_catalog),
        some_checks.map(hear_health),
        st.just(lambda world: world.no_catalog(Unreachable("u"))),
        st.just(lambda world: world.no_health(Unreachable("u"))),
        st.just(lambda world: world.source._publish(world.now)),
    )
    return st.lists(st.tuples(st.sampled_from([0.0, 0.01, 1.0, 6.0, 20.0]), steps), max_size=15)


stories, readable_stories = stories_of(some_services), stories_of(readable_services)
names = st.frozensets(st.sampled_from(["of-True", "of-False", "of-none"]))


def told(world: World, story: list[tuple[float, Step]]) -> list[ConsulState]:
    states = [world.source.state]
    for gap, step in story:
        world.now += gap
        step(world)
        states.append(world.source.state)
    return states


@given(readable_stories, readable_services, some_checks, names)
def test_after_any_story_the_state_is_what_a_source_that_begins_now_would_publish(
    story: list[tuple[float, Step]], found: dict[str, Service], health: dict[str, Check], by_name: frozenset[str]
) -> None:
    old, new = World(by_name), World(by_name)
    told(old, story)
    seen = {name: check for name, check in health.items() if not check.service_id.startswith("consulcast:")}
    for world in (old, new):
        hear_catalog(found)(world)
        hear_health(health)(world)
        world.settle(found, seen)
    assert old.source.state == new.source.state
    assert new.source.state.synced


@given(stories, names)
def test_what_has_not_changed_is_the_same_object_from_state_to_state(
    story: list[tuple[float, Step]], by_name: frozenset[str]
) -> None:
    states = told(World(by_name), story)
    for before, after in itertools.pairwise(states):
        for field in ("apps", "refused", "verdicts", "held", "by_name", "unknown", "unknown_names"):
            one, other = getattr(before, field), getattr(after, field)
            assert (one is other) == (one == other), field
        former = {app.key: app for app in before.apps}
        for app in after.apps:
            assert (former.get(app.key) is app) == (former.get(app.key) == app)
        for mapping in ("verdicts", "by_name", "unknown", "unknown_names"):
            former_values = getattr(before, mapping)
            for key, value in getattr(after, mapping).items():
                assert (former_values.get(key) is value) == (former_values.get(key) == value), mapping
        keys = {key: key for key in before.verdicts}
        assert all(keys.get(key, key) is key for key in after.verdicts)
        if before.apps is after.apps:
            assert list(before.verdicts) == list(after.verdicts)


@given(stories)
def test_nobody_is_told_of_a_state_that_is_like_the_last(story: list[tuple[float, Step]]) -> None:
    world = World()
    told(world, story)
    for before, after in itertools.pairwise(world.changes):
        assert before != after
