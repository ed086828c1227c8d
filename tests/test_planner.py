"""When a VIP is up, and why it is not."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.difference import differing
from consulcast.drains import Drain, Method, Settings, Target
from consulcast.model import (
    App,
    AppKey,
    Drained,
    Health,
    Intent,
    MonitorSpec,
    NatRule,
    Reason,
    Source,
    Stale,
    Verdict,
    VerdictKey,
    Vip,
)
from consulcast.planner import Defaults, Plan, Planner, plan
from consulcast.values import replace

CONSUL = MonitorSpec("consul")
DEFAULTS = Defaults(communities=(notation.community("65000:9"),), cleanup_timer=900.0)


def app(id: str, name: str = "dns", vip: str = "203.0.113.10/32", communities: str = "", monitored: bool = True) -> App:
    return App(
        AppKey(Source.CONSUL, id),
        name,
        (notation.vip(vip),),
        (CONSUL,) if monitored else (),
        communities=notation.communities(communities) if communities else (),
    )


def says(app_: App, health: Health, since: float = 0.0) -> tuple[VerdictKey, Verdict]:
    reason = {
        Health.PASSING: Reason.PASSING,
        Health.FAILING: Reason.MONITOR_FAILING,
        Health.DRAINING: Reason.DRAINING,
        Health.UNKNOWN: Reason.MONITOR_PENDING,
    }[health]
    return VerdictKey(app_.key, CONSUL), Verdict(health, reason, health.value, since)


def only(apps: list[App], verdicts: list[tuple[VerdictKey, Verdict]], now: float = 10.0) -> Intent:
    (intent,) = plan(apps, dict(verdicts), DEFAULTS, now).intents.values()
    return intent


def first(planned: Plan) -> Intent:
    return next(iter(planned.intents.values()))


def test_app_without_monitor_is_up_while_registered() -> None:
    intent = only([app("a", monitored=False)], [])
    assert (intent.announce, intent.address, intent.reason) == (True, True, Reason.ANNOUNCED)


def test_app_without_a_verdict_is_not_announced_yet() -> None:
    intent = only([app("a")], [])
    assert (intent.announce, intent.reason) == (False, Reason.MONITOR_PENDING)


def test_passing_app_is_announced_with_global_and_own_communities() -> None:
    one = app("a", communities="65000:1,65000:9")
    intent = only([one], [says(one, Health.PASSING)])
    assert intent.announce
    assert intent.route.prefix == ipaddress.ip_network("203.0.113.10/32")
    assert [str(item) for item in intent.route.communities] == ["65000:1", "65000:9"]


def test_of_two_instances_of_one_service_one_is_enough() -> None:
    one, two = app("a"), app("b")
    assert only([one, two], [says(one, Health.FAILING), says(two, Health.PASSING)]).announce


def test_of_two_services_on_one_vip_both_are_needed() -> None:
    tcp, udp = app("a", "dns-tcp"), app("b", "dns-udp")
    intent = only([tcp, udp], [says(tcp, Health.PASSING), says(udp, Health.FAILING)])
    assert not intent.announce
    assert intent.reason is Reason.MONITOR_FAILING
    assert "consul:b" in intent.detail
    assert only([tcp, udp], [says(tcp, Health.PASSING), says(udp, Health.PASSING)]).announce


def test_app_that_passes_goes_on_passing_until_a_monitor_that_is_new_to_it_has_looked() -> None:
    one = app("a")
    before = plan([one], dict([says(one, Health.PASSING)]), DEFAULTS, 1.0)
    changed = App(one.key, one.name, one.vips, (CONSUL, MonitorSpec("port", "tcp:53")))
    passing = dict([says(one, Health.PASSING)])
    after = plan([changed], passing, DEFAULTS, 2.0, dict(before.health))
    assert first(after).announce
    again = plan([changed], passing, DEFAULTS, 3.0, dict(after.health))
    assert first(again).announce
    failing = {**passing, VerdictKey(one.key, MonitorSpec("port", "tcp:53")): says(one, Health.FAILING)[1]}
    assert not first(plan([changed], failing, DEFAULTS, 4.0, dict(again.health))).announce
    assert not first(plan([changed], passing, DEFAULTS, 1.0)).announce, "nothing is known of a new app"


def test_maintenance_is_a_drain_not_a_failure() -> None:
    one = app("a")
    intent = only([one], [says(one, Health.DRAINING)])
    assert (intent.announce, intent.reason) == (False, Reason.DRAINING)


def test_address_outlives_a_failure_by_cleanup_timer() -> None:
    one = app("a")
    failing = [says(one, Health.FAILING, since=100.0)]
    soon = plan([one], dict(failing), DEFAULTS, now=999.0)
    assert first(soon).address
    assert soon.recheck_at == 1000.0
    late = plan([one], dict(failing), DEFAULTS, now=1000.0)
    assert not first(late).address
    assert first(late).reason is Reason.CLEANED_UP
    assert late.recheck_at is None


def test_app_that_was_cleaned_up_comes_back_when_it_passes() -> None:
    one = app("a")
    assert only([one], [says(one, Health.PASSING, since=5000.0)], now=5000.0).announce


def test_cleanup_counts_from_the_failure_of_the_last_instance() -> None:
    one, two = app("a"), app("b")
    verdicts = dict([says(one, Health.FAILING, since=0.0), says(two, Health.FAILING, since=500.0)])
    assert plan([one, two], verdicts, DEFAULTS, now=1000.0).recheck_at == 1400.0


def test_nat_rules_of_all_apps_of_a_vip_lead_to_this_hosts_address_of_its_family() -> None:
    def natted(id: str, vip: str, *rules: NatRule) -> App:
        return App(AppKey(Source.CONSUL, id), id, (notation.vip(vip),), nats=rules)

    apps = [
        natted("a", "10.0.0.5/24", NatRule("udp", 53, 8053)),
        natted("b", "10.0.0.5/24", NatRule("udp", 53, 8053), NatRule("tcp", 53, 53)),
        natted("c", "10.0.1.0/24", NatRule("tcp", 80, 8080)),
        natted("d", "2001:db8:53::1/128", NatRule("tcp", 80, 8080)),
    ]
    to = tuple(map(ipaddress.ip_address, ("198.51.100.1", "2001:db8::1")))
    intents = plan(apps, {}, Defaults(nat_to=to), 0.0).intents.values()
    assert [[str(item) for item in intent.nats] for intent in intents] == [
        ["10.0.0.5/32 tcp 53 to 198.51.100.1 53", "10.0.0.5/32 udp 53 to 198.51.100.1 8053"],
        ["10.0.1.0/24 tcp 80 to 198.51.100.1 8080"],
        ["2001:db8:53::1/128 tcp 80 to 2001:db8::1 8080"],
    ]


apps_and_verdicts = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["dns", "ntp"]),
        st.sampled_from(["203.0.113.1/32", "203.0.113.2/32"]),
        st.sampled_from(Health),
    ),
    unique_by=lambda item: item[0],
)


@given(apps_and_verdicts)
def test_a_vip_is_announced_exactly_when_each_service_has_a_passing_instance(
    drawn: list[tuple[str, str, str, Health]],
) -> None:
    apps = [app(id, name, vip) for id, name, vip, _ in drawn]
    verdicts = dict(says(one, item[3]) for one, item in zip(apps, drawn, strict=True))
    for intent in plan(apps, verdicts, DEFAULTS, 1.0).intents.values():
        users = [(name, health) for _, name, vip, health in drawn if notation.vip(vip) == intent.vip]
        names = {name for name, _ in users}
        expected = all(any(h is Health.PASSING for n, h in users if n == name) for name in names)
        assert intent.announce == expected
        assert (intent.reason is Reason.ANNOUNCED) == expected
        assert not intent.announce or intent.address


STALE = Stale(100.0, "Consul cannot be reached")


def limited(now: float, limit: float | None, stale: Stale | None, *, monitored: bool = True) -> Plan:
    one = app("a", monitored=monitored)
    defaults = Defaults(cleanup_timer=900.0, stale_limit=limit)
    return plan([one], dict([says(one, Health.PASSING)]), defaults, now, None, {one.key: stale} if stale else {})


@pytest.mark.parametrize("monitored", [True, False])
def test_unknown_stands_until_the_stale_limit_and_no_longer(monitored: bool) -> None:
    before = limited(159.9, 60.0, STALE, monitored=monitored)
    assert first(before).announce
    assert before.recheck_at == 160.0
    after = limited(160.0, 60.0, STALE, monitored=monitored)
    (intent,) = after.intents.values()
    assert (intent.announce, intent.address, intent.reason) == (False, True, Reason.CONSUL_STALE)
    assert "longer than consul.stale_limit (60 s): Consul cannot be reached" in intent.detail
    assert after.recheck_at == 160.0 + 900.0
    assert first(limited(161.0, 60.0, None, monitored=monitored)).announce, "back with the first good answer"


def test_without_a_stale_limit_an_unknown_stands_for_ever() -> None:
    found = limited(1e9, None, STALE)
    assert first(found).announce
    assert found.recheck_at is None
    assert Defaults().stale_limit is None


def test_port_that_fails_is_obeyed_while_consuls_word_is_held() -> None:
    """As after a restart of the agent: Consul's last verdict stands for the grace, the others are their own."""
    port = MonitorSpec("port", "tcp:53")
    one = replace(app("a"), monitors=(CONSUL, port))
    verdicts = dict([says(one, Health.PASSING)])
    failing = Verdict(Health.FAILING, Reason.MONITOR_FAILING, "nobody listens", 10.0)
    for verdict, up in ((Verdict(Health.PASSING, Reason.PASSING), True), (failing, False)):
        found = plan([one], {**verdicts, VerdictKey(one.key, port): verdict}, DEFAULTS, 10.0, None, {one.key: STALE})
        (intent,) = found.intents.values()
        assert (intent.announce, intent.reason is Reason.MONITOR_FAILING) == (up, not up)


# -- drains --------------------------------------------------------------------------------------------------------

WAIT = Settings().wait
SHUT = "65535:0"


def drained(text: str, since: float = 100.0, until: float | None = None) -> Drain:
    return Drain(Target.read(text), since, until, "later" if until else "", "upgrade", "deploy")


def during(
    apps: list[App],
    verdicts: list[tuple[VerdictKey, Verdict]],
    now: float,
    *drains: Drain,
    announced: bool = True,
    settings: Settings | None = None,
) -> tuple[Intent, float | None]:
    """Plan for apps of one VIP that was announced before, or was not."""
    before = frozenset(vip for one in apps for vip in one.vips) if announced else frozenset()
    defaults = replace(DEFAULTS, drain=settings or Settings())
    made = plan(apps, dict(verdicts), defaults, now, drains=drains, announced=before)
    (intent,) = made.intents.values()
    return intent, made.recheck_at


def shut(intent: Intent) -> bool:
    return SHUT in map(str, intent.route.communities)


@pytest.mark.parametrize("target", ["node", "consul:a", "a", "dns", "203.0.113.10/32", "maintenance"])
def test_drained_vip_is_announced_with_the_lower_preference_for_a_while_and_then_withdrawn(target: str) -> None:
    one = app("a", communities="65000:1")
    by_consul = target == "maintenance"
    verdicts = [says(one, Health.DRAINING if by_consul else Health.PASSING, since=100.0)]
    drains = [] if by_consul else [drained(target)]
    intent, recheck_at = during([one], verdicts, 100.0 + WAIT - 0.1, *drains)
    assert (intent.announce, intent.address, intent.reason) == (True, True, Reason.DRAINING)
    assert [str(item) for item in intent.route.communities] == ["65000:1", "65000:9", SHUT]
    assert recheck_at == 100.0 + WAIT
    assert intent.drain is not None
    assert intent.drain.asked is not by_consul
    assert "consul:a: " in intent.detail
    assert by_consul or "drained by deploy: upgrade" in intent.detail
    intent, recheck_at = during([one], verdicts, 100.0 + WAIT, *drains)
    assert (intent.announce, intent.address, intent.reason) == (False, False, Reason.DRAINING)
    assert recheck_at is None


@pytest.mark.parametrize("settings", [Settings(Method.NONE), Settings(wait=0.0)])
def test_without_a_wait_it_is_withdrawn_at_once(settings: Settings) -> None:
    one = app("a")
    assert not during([one], [says(one, Health.PASSING)], 100.0, drained("a"), settings=settings)[0].announce


@pytest.mark.parametrize("now", [100.0, 101.0])
def test_drain_announces_nothing_that_was_not_announced_before(now: float) -> None:
    one = app("a")
    for verdict, drains in ((Health.PASSING, [drained("a")]), (Health.DRAINING, [])):
        intent, _ = during([one], [says(one, verdict, since=100.0)], now, *drains, announced=False)
        assert (intent.announce, intent.address, intent.reason) == (False, False, Reason.DRAINING)


def test_instance_that_is_not_drained_keeps_the_vip_as_it_is() -> None:
    one, two = app("a"), app("b")
    verdicts = [says(one, Health.PASSING), says(two, Health.PASSING)]
    for now in (100.0, 1000.0):
        intent, _ = during([one, two], verdicts, now, drained("a"))
        assert (intent.reason, shut(intent)) == (Reason.ANNOUNCED, False)
    assert not during([one, two], verdicts, 1000.0, drained("203.0.113.10/32"))[0].announce, "both, at this VIP"


def test_vip_drains_from_when_its_last_instance_did() -> None:
    one, two = app("a"), app("b")
    verdicts = [says(one, Health.PASSING), says(two, Health.PASSING)]
    intent, recheck_at = during([one, two], verdicts, 201.0, drained("a", 100.0), drained("b", 200.0))
    assert intent.announce
    assert shut(intent)
    assert recheck_at == 200.0 + WAIT
    # the other one failed instead: of what is left the time is over
    assert not during([one, two], [verdicts[0], says(two, Health.FAILING)], 201.0, drained("a", 100.0))[0].announce


def test_of_two_services_the_one_that_drains_first_decides_when() -> None:
    tcp, udp = app("a", "dns-tcp"), app("b", "dns-udp")
    verdicts = [says(tcp, Health.PASSING), says(udp, Health.PASSING)]
    _, recheck_at = during([tcp, udp], verdicts, 102.0, drained("a", 100.0), drained("b", 101.0))
    assert recheck_at == 100.0 + WAIT
    assert not during([tcp, udp], verdicts, 100.0 + WAIT, drained("a", 100.0), drained("b", 101.0))[0].announce


def test_what_fails_while_it_drains_is_withdrawn_at_once_and_says_both() -> None:
    one = app("a")
    intent, _ = during([one], [says(one, Health.FAILING)], 101.0, drained("a"))
    assert (intent.announce, intent.address, intent.reason) == (False, False, Reason.DRAINING)
    assert "drained by deploy: upgrade; meanwhile: failing" in intent.detail
    by_consul = Verdict(Health.DRAINING, Reason.DRAINING, "maintenance", 100.0, Drained("check is critical"))
    intent, _ = during([one], [(VerdictKey(one.key, CONSUL), by_consul)], 101.0)
    assert not intent.announce
    assert intent.detail == "consul:a: maintenance; meanwhile: check is critical"


def test_port_that_fails_in_maintenance_mode_is_a_drain_that_is_withdrawn_at_once() -> None:
    port = MonitorSpec("port", "tcp:53")
    one = replace(app("a"), monitors=(CONSUL, port))
    failing = VerdictKey(one.key, port), Verdict(Health.FAILING, Reason.MONITOR_FAILING, "")
    intent, _ = during([one], [says(one, Health.DRAINING, 100.0), failing], 101.0)
    assert (intent.announce, intent.reason) == (False, Reason.DRAINING)


def test_drain_that_lapses_changes_the_plan_by_time_alone() -> None:
    one = app("a")
    verdicts = [says(one, Health.PASSING)]
    intent, recheck_at = during([one], verdicts, 150.0, drained("a", until=200.0), announced=False)
    assert (intent.announce, recheck_at) == (False, 200.0)
    assert during([one], verdicts, 200.0, drained("a", until=200.0), announced=False)[0].reason is Reason.ANNOUNCED


def test_of_several_drains_the_first_counts_until_the_last_is_over() -> None:
    one = app("a")
    drains = drained("a", 200.0, 300.0), drained("node", 100.0, 400.0)
    intent, _ = during([one], [says(one, Health.PASSING)], 250.0, *drains)
    assert intent.drain is not None
    assert (intent.announce, intent.drain.since, intent.drain.until) == (False, 100.0, 400.0)
    assert "node drained" in intent.detail


def test_drained_app_without_sight_of_consul_goes_on_draining_and_fails_after_the_limit() -> None:
    one = app("a")
    verdicts = dict([says(one, Health.PASSING)])
    defaults = Defaults(stale_limit=60.0)
    for now, up in ((103.0, True), (160.0, False)):
        drains = [drained("a", now - 1)]
        made = plan([one], verdicts, defaults, now, None, {one.key: STALE}, drains, frozenset(one.vips))
        assert first(made).announce is up
        assert first(made).reason is Reason.DRAINING


def test_new_monitor_of_a_drained_app_does_not_withdraw_it_before_it_has_looked() -> None:
    one = app("a")
    passing, drains = dict([says(one, Health.PASSING)]), [drained("a")]
    before = plan([one], passing, DEFAULTS, 100.0, drains=drains, announced=frozenset(one.vips))
    changed = replace(one, monitors=(CONSUL, MonitorSpec("port", "tcp:53")))
    after = plan([changed], passing, DEFAULTS, 101.0, dict(before.health), None, drains, frozenset(one.vips))
    assert first(after).announce


@given(apps_and_verdicts, st.sampled_from(["node", "a", "dns", "203.0.113.1/32"]), st.floats(0, 20))
def test_drain_never_makes_anything_more_than_it_was(
    drawn: list[tuple[str, str, str, Health]], target: str, now: float
) -> None:
    apps = [app(id, name, vip) for id, name, vip, _ in drawn]
    verdicts = dict(says(one, item[3]) for one, item in zip(apps, drawn, strict=True))
    without = plan(apps, verdicts, DEFAULTS, now)
    up = {intent.vip for intent in without.intents.values() if intent.announce}
    for before in (up - up, up):
        made = plan(apps, verdicts, DEFAULTS, now, None, None, [drained(target, 0.0)], before)
        for intent in made.intents.values():
            assert not intent.announce or intent.vip in up or intent.vip in before
            assert not intent.announce or intent.address
            assert shut(intent) <= (intent.announce and intent.reason is Reason.DRAINING)
            if intent.reason is Reason.DRAINING and intent.announce:
                assert intent.vip in before
                assert now < WAIT


STEPS = st.one_of(
    st.tuples(st.just("app"), st.sampled_from("abcd"), st.sampled_from([None, "", "65000:1"])),
    st.tuples(st.just("health"), st.sampled_from("abcd"), st.sampled_from(Health)),
    st.tuples(st.just("stale"), st.sampled_from("abcd"), st.sampled_from([None, "lost", "denied"])),
    st.tuples(st.just("limit"), st.just(""), st.sampled_from([None, 40.0])),
    st.tuples(st.just("drain"), st.sampled_from(["node", "a", "dns", "203.0.113.1/32"]), st.sampled_from([None, 20.0])),
    st.tuples(st.just("undrain"), st.just(""), st.none()),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from([1.0, 15.0, 45.0, 1000.0])),
)


def asking(id: str, communities: str = "") -> App:
    return app(id, "dns" if id in "ab" else "ntp", f"203.0.113.{1 + (id in 'bc')}/32", communities)


@given(st.lists(STEPS, min_size=10, max_size=40))
def test_what_is_decided_bit_by_bit_is_what_is_decided_about_all_of_it(steps: list[tuple[str, str, Any]]) -> None:
    planner, now, announced = Planner(), 0.0, set[Vip]()
    health: dict[AppKey, Verdict] = {}
    stale, drains = dict[AppKey, Stale](), list[Drain]()
    apps = {id: asking(id) for id in "abcd"}
    verdicts = dict(says(one, Health.PASSING) for one in apps.values())
    defaults = Defaults(cleanup_timer=30.0)
    for what, where, value in steps:
        now += 0.5
        one = app(
            where,
            "dns" if where in "ab" else "ntp",
            f"203.0.113.{1 + (where in 'bc')}/32",
            value if what == "app" and value else "",
        )
        if what == "app":
            apps = {**apps, where: one} if value is not None else {id: app for id, app in apps.items() if id != where}
        elif what == "health":
            verdicts = verdicts | dict([says(one, value, now)])
        elif what == "stale":
            stale = {key: found for key, found in stale.items() if key != one.key}
            stale |= {one.key: Stale(now, value)} if value else {}
        elif what == "limit":
            defaults = Defaults(cleanup_timer=30.0, stale_limit=value)
        elif what == "drain":
            drains = [*drains, drained(where, now, until=now + value if value else None)]
        elif what == "undrain":
            drains = drains[1:]
        else:
            now += value
        asked = tuple(apps.values())
        whole = plan(asked, verdicts, defaults, now, health, stale, drains, announced)
        made = planner.plan(asked, verdicts, defaults, now, stale, drains, announced)
        assert made.intents == whole.intents
        assert {key: (verdict, verdict.since) for key, verdict in made.health.items()} == {
            key: (verdict, verdict.since) for key, verdict in whole.health.items()
        }
        assert made.recheck_at == whole.recheck_at
        health, announced = dict(made.health), {intent.vip for intent in made.intents.values() if intent.announce}


def test_one_verdict_among_many_touches_one_vip() -> None:
    apps = [app(str(number), f"app-{number}", f"198.18.0.{number}/32") for number in range(100)]
    verdicts = dict(says(one, Health.PASSING) for one in apps)
    planner = Planner()
    before = planner.plan(apps, verdicts, DEFAULTS, 1.0)
    assert planner.plan(apps, dict(verdicts), DEFAULTS, 2.0).intents == before.intents
    assert list(before.intents) == [vip for one in apps for vip in one.vips]
    assert list(before.health) == [one.key for one in apps]
    after = planner.plan(apps, verdicts | dict([says(apps[7], Health.FAILING, 3.0)]), DEFAULTS, 3.0)

    assert differing(before.intents, after.intents) == list(apps[7].vips)
    assert differing(before.health, after.health) == [apps[7].key]
    assert list(after.intents) == list(before.intents)
