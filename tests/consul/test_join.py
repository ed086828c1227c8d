from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consulcast import tags
from consulcast.consul.bodies import Check, Service
from consulcast.consul.join import PATIENCE, Join
from consulcast.model import App, AppKey, Health, MonitorSpec, Reason, Refused, Source, Stale, VerdictKey

BASE = ("enable_gocast", "gocast_vip=203.0.113.10/32")
MONITORED = (*BASE, "gocast_monitor=consul")


@dataclass
class Parsing:
    """Counts what is parsed."""

    names: list[str] = field(default_factory=list)

    def __call__(self, key: AppKey, name: str, some: Sequence[str]) -> App | Refused | None:
        self.names.append(key.id)
        return tags.parse(key, name, some)


def services(*some: Service) -> dict[str, Service]:
    return {service.id: service for service in some}


def passing(service: str) -> Check:
    return Check(f"service:{service}", status="passing", service_id=service)


def checks(*some: Check) -> dict[str, Check]:
    return {check.id: check for check in some}


def key(name: str) -> AppKey:
    return AppKey(Source.CONSUL, name)


def verdict_key(name: str) -> VerdictKey:
    return VerdictKey(key(name), MonitorSpec("consul"))


def test_two_instances_of_one_service_are_two_apps_of_its_name() -> None:
    join = Join(Parsing(), "fail")
    both = services(Service("dns-2", "dns", MONITORED, 9), Service("dns-1", "dns", MONITORED, 10))
    failing = Check("service:dns-2", status="critical", service_id="dns-2")
    apps, refused, verdicts = join(both, checks(passing("dns-1"), failing), 1.0)
    assert [(app.key, app.name) for app in apps] == [(key("dns-2"), "dns"), (key("dns-1"), "dns")]
    assert refused == ()
    assert {name.app.id: verdict.health for name, verdict in verdicts.items()} == {
        "dns-1": Health.PASSING,
        "dns-2": Health.FAILING,
    }


def test_apps_are_sorted_by_when_they_were_registered_first_then_by_id() -> None:
    some = services(*(Service(name, name, BASE, index) for name, index in [("c", 5), ("a", 7), ("b", 5)]))
    apps, _, _ = Join(Parsing(), "fail")(some, {}, 1.0)
    assert [app.key.id for app in apps] == ["b", "c", "a"]


def test_services_that_are_not_ours_are_left_aside_and_bad_ones_refused() -> None:
    bad = Service("bad", "bad", ("enable_gocast", "gocast_vip=nonsense"))
    apps, refused, verdicts = Join(Parsing(), "fail")(services(Service("web", "web", ("x",)), bad), {}, 1.0)
    assert apps == ()
    assert [item.key.id for item in refused] == ["bad"]
    assert verdicts == {}


def test_tags_that_are_null_are_no_tags() -> None:
    assert Join(Parsing(), "fail")(services(Service("web", "web", None)), {}, 1.0) == ((), (), {})


def test_only_apps_with_a_consul_monitor_have_a_verdict() -> None:
    some = services(Service("a", "a", BASE), Service("b", "b", MONITORED))
    assert set(Join(Parsing(), "fail")(some, checks(passing("b")), 1.0)[2]) == {verdict_key("b")}


def test_since_is_when_health_last_changed_and_not_when_its_detail_did() -> None:
    join, some = Join(Parsing(), "fail"), services(Service("dns", "dns", MONITORED))

    def verdict(status: str, name: str, now: float) -> tuple[str, float]:
        found = join(some, checks(Check(name, status=status, service_id="dns")), now)[2][verdict_key("dns")]
        return found.health, found.since

    assert verdict("passing", "one", 1.0) == ("passing", 1.0)
    assert verdict("passing", "one", 2.0) == ("passing", 1.0)
    assert verdict("critical", "one", 3.0) == ("failing", 3.0)
    assert verdict("warning", "two", 4.0) == ("failing", 3.0)
    assert verdict("passing", "one", 5.0) == ("passing", 5.0)


def test_only_what_changed_is_parsed_again() -> None:
    parsing = Parsing()
    join = Join(parsing, "fail")
    join(services(Service("a", "a", BASE), Service("b", "b", BASE)), {}, 1.0)
    join(services(Service("a", "a", BASE), Service("b", "b", MONITORED)), {}, 2.0)
    join(services(Service("b", "b", MONITORED)), {}, 3.0)
    assert parsing.names == ["a", "b", "b"]


def test_the_same_input_gives_an_equal_result() -> None:
    join, some = Join(Parsing(), "fail"), services(Service("dns", "dns", MONITORED))
    assert join(some, checks(passing("dns")), 1.0) == join(some, checks(passing("dns")), 2.0)


def test_new_app_waits_for_its_checks_and_fails_without_any() -> None:
    join = Join(Parsing(), "fail")
    new = services(Service("dns", "dns", MONITORED, 1))
    assert join(new, {}, 10.0) == ((), (), {})
    assert join.next_time == 10.0 + PATIENCE
    apps, _, verdicts = join(new, checks(passing("dns")), 10.002)
    assert [app.key for app in apps] == [key("dns")]
    assert verdicts[verdict_key("dns")].health is Health.PASSING
    assert join.next_time == float("inf")


def test_new_app_without_any_check_is_told_so_when_its_patience_is_over() -> None:
    join = Join(Parsing(), "fail")
    new = services(Service("dns", "dns", MONITORED, 1))
    join(new, {}, 10.0)
    for now in (join.next_time, join.next_time + 1.0):
        apps, _, verdicts = join(new, {}, now)
        assert [app.key for app in apps] == [key("dns")]
        assert verdicts[verdict_key("dns")].reason is Reason.NO_CHECKS


def test_app_that_lost_its_checks_is_told_so_at_once() -> None:
    join = Join(Parsing(), "fail")
    known = services(Service("dns", "dns", MONITORED, 1))
    join(known, checks(passing("dns")), 1.0)
    _, _, verdicts = join(known, {}, 2.0)
    assert verdicts[verdict_key("dns")].reason is Reason.NO_CHECKS


def test_tags_that_became_unreadable_leave_the_last_readable_ones_standing() -> None:
    join = Join(Parsing(), "fail")
    (before,), _, _ = join(services(Service("dns", "dns", BASE, 1)), {}, 1.0)
    broken = Service("dns", "dns", (*BASE, "gocast_vip_communities=65000:"), 1)
    for now in (2.0, 3.0):
        apps, refused, _ = join(services(broken), {}, now)
        assert apps == (before,)
        assert [item.reason for item in refused] == [Reason.BAD_TAG]
    assert join(services(Service("dns", "dns", (), 1)), {}, 4.0)[:2] == ((), ())
    assert join(services(broken), {}, 5.0)[0] == (), "what was taken back does not come again"


def test_app_that_never_was_readable_is_refused_alone() -> None:
    broken = Service("dns", "dns", ("enable_gocast",), 1)
    apps, refused, _ = Join(Parsing(), "fail")(services(broken), {}, 1.0)
    assert apps == ()
    assert len(refused) == 1


def test_service_is_judged_by_name_by_its_best_instance_tagged_or_not() -> None:
    join = Join(Parsing(), "fail")
    join.names = frozenset({"web", "nowhere"})
    both = services(Service("web-1", "web", (), 1), Service("web-2", "web", (), 2))
    bad = Check("service:web-1", status="critical", service_id="web-1")
    join(both, checks(bad), 1.0)
    assert join.by_name["web"].health is Health.FAILING
    assert "no service 'nowhere'" in join.by_name["nowhere"].detail
    join(both, checks(bad, passing("web-2")), 2.0)
    assert (join.by_name["web"].health, join.by_name["web"].since) == (Health.PASSING, 2.0)


def test_verdict_by_name_is_unknown_only_where_it_rests_on_an_unknown_instance() -> None:
    join = Join(Parsing(), "fail")
    join.names = frozenset({"web"})
    both = services(Service("web-1", "web", (), 1), Service("web-2", "web", (), 2))
    stale = {"web-1": Stale(5.0, "held")}
    join(both, checks(passing("web-1"), passing("web-2")), 9.0, stale)
    assert join.unknown_names == {}
    join(both, checks(passing("web-1")), 9.0, stale)
    assert join.by_name["web"].health is Health.PASSING
    assert join.unknown_names == {"web": stale["web-1"]}


def test_service_is_an_app_while_it_is_enabled_and_was_readable_once() -> None:
    join = Join(Parsing(), "fail")
    join(services(Service("dns", "dns", BASE, 1)), {}, 1.0)
    broken = (*BASE, "gocast_vip_communities=65000:")
    assert join.is_app(Service("dns", "dns", broken, 1)), "its last readable tags stand"
    assert not join.is_app(Service("web", "web", broken, 1))
    assert not join.is_app(Service("dns", "dns", BASE[1:], 1))


def test_check_of_the_node_is_every_service_s_and_so_is_its_change() -> None:
    join = Join(Parsing(), "fail")
    join.names = frozenset({"a"})
    both = services(Service("a", "a", MONITORED), Service("b", "b", MONITORED))
    own = (passing("a"), passing("b"))
    for status, expected in (("passing", Health.PASSING), ("critical", Health.FAILING), ("passing", Health.PASSING)):
        _, _, verdicts = join(both, checks(Check("serfHealth", status=status), *own), 1.0)
        assert {verdict.health for verdict in verdicts.values()} == {expected}
        assert join.by_name["a"].health is expected


def test_verdict_by_name_follows_an_instance_that_leaves_and_one_that_takes_another_name() -> None:
    join = Join(Parsing(), "fail")
    join.names = frozenset({"web"})
    one, two = Service("web-1", "web", (), 1), Service("web-2", "web", (), 2)
    some = checks(passing("web-1"), Check("service:web-2", status="critical", service_id="web-2"))
    found = []
    for given in ((one, two), (two,), (one, two), (Service("web-1", "other", (), 1), two)):
        join(services(*given), some, 1.0)
        found.append(join.by_name["web"].health)
    assert found == [Health.PASSING, Health.FAILING, Health.PASSING, Health.FAILING]


def test_verdict_by_name_is_known_again_when_its_instance_is_though_nothing_else_changed() -> None:
    join = Join(Parsing(), "fail")
    join.names = frozenset({"web"})
    given = services(Service("web", "web", (), 1)), checks(passing("web"))
    stale = {"web": Stale(5.0, "held")}
    for unknown in (stale, {}, stale):
        join(*given, 9.0, unknown)
        assert join.unknown_names == unknown


def test_tags_are_read_once_whoever_asks_first_and_wherever_they_are_seen() -> None:
    parsing = Parsing()
    join = Join(parsing, "fail")
    assert join.is_app(Service("a", "a", BASE, 7))
    join(services(Service("a", "a", BASE, 7)), {}, 1.0)
    join(services(Service("a", "a", BASE, 8)), {}, 2.0)
    assert join.is_app(Service("a", "a", BASE)), "as the agent shows it, without its age"
    assert parsing.names == ["a"]


def test_one_changed_check_of_many_has_one_app_judged() -> None:
    join = Join(Parsing(), "fail")
    many = services(*(Service(str(number), "web", MONITORED, number) for number in range(50)))
    own = [passing(str(number)) for number in range(50)]
    apps, _, before = join(many, checks(*own), 1.0)
    own[7] = Check("service:7", status="critical", service_id="7")
    after = join(many, checks(*own), 2.0)
    assert after[0] is apps
    assert list(after[2]) == list(before)
    assert [name.app.id for name in before if before[name] is not after[2][name]] == ["7"]


def test_what_another_join_made_is_gone_on_from() -> None:
    former, given = Join(Parsing(), "fail"), services(Service("a", "a", MONITORED), Service("b", "b", MONITORED))
    both = checks(passing("a"), Check("service:b", status="warning", service_id="b"))
    before = former(given, both, 1.0)
    same, other = Join(Parsing(), "fail"), Join(Parsing(), "pass")
    same.inherit(former)
    again = same(given, both, 2.0)
    assert all(one is two for one, two in zip(before, again, strict=True))
    other.inherit(same)
    apps, _, verdicts = other(given, both, 3.0)
    assert apps is before[0]
    assert {name.app.id: verdict.health for name, verdict in verdicts.items()} == {
        "a": Health.PASSING,
        "b": Health.PASSING,
    }


def test_service_that_is_registered_anew_with_the_same_tags_is_the_youngest_then() -> None:
    join = Join(Parsing(), "fail")
    for age, order in ((1, ["a", "b"]), (9, ["b", "a"])):
        apps, _, _ = join(services(Service("a", "a", BASE, age), Service("b", "b", BASE, 5)), {}, 1.0)
        assert [app.key.id for app in apps] == order
