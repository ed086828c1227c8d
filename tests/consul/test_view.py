from __future__ import annotations

from itertools import pairwise

import pytest

from consulcast.consul.bodies import CatalogNode, Check, Node, Service
from consulcast.consul.client import Answer, Right
from consulcast.consul.errors import ConsulError, Denied, NoLeader, TimedOut, Unreachable
from consulcast.consul.evidence import Evidence, Read
from consulcast.consul.hold_down import HoldDown
from consulcast.consul.view import View
from consulcast.model import Stale
from consulcast.monitors.consul import rank

GRACE = 15.0
TROUBLES = [Unreachable("u"), TimedOut("t"), Denied("d"), NoLeader("n")]
MAINTENANCE = Check("_node_maintenance", status="critical")


def catalog(*ids: str, node: str = "n1", tags: tuple[str, ...] = ("t",), **more: object) -> Answer[CatalogNode | None]:
    services = {name: Service(name, name, tags) for name in ids}
    return Answer(CatalogNode(Node(node), services), index=5, **more)  # type: ignore[arg-type]


def check(service: str, status: str = "passing", name: str = "") -> Check:
    return Check(name or f"service:{service}", status=status, service_id=service, service_name=service)


SERF = Check("serfHealth", status="passing")


def health(*checks: Check, serf: bool = True) -> Answer[tuple[Check, ...] | None]:
    return Answer((*([SERF] if serf else []), *checks), index=5)


def view(*services: str, at: float = 0.0) -> View:
    """A view in sync with these services, each with one passing check."""
    made = View("n1", GRACE)
    made.catalog_answered(catalog(*services), at)
    made.health_answered(health(*map(check, services)), at)
    if services:
        assert made.synced
    return made


def statuses(seen: View) -> dict[str, str]:
    return {name: entry.status for name, entry in seen.checks.items() if name != "serfHealth"}


def look(seen: View, evidence: Evidence, now: float) -> None:
    """A second look that is due."""
    doubts = seen.doubts(now)
    assert doubts
    seen.confirmed(doubts, evidence, now)


def believe(seen: View, now: float) -> None:
    """Time passes; what is looked at then is found as Consul last said."""
    seen.settle(now)
    doubts = seen.doubts(now)
    if doubts:
        ranks = {found.id: rank(found) for found in doubts.worse}
        seen.confirmed(doubts, Evidence(checks=Read(ranks, ranks=ranks), agent_checks=ranks), now)


GONE = Evidence()  # every witness agrees: nothing there, and we may see all


# Growth and plain changes


def test_nothing_is_believed_before_both_queries_were_answered_well() -> None:
    seen = View("n1", GRACE)
    assert not seen.synced
    seen.catalog_answered(catalog("dns"), 1)
    assert not seen.synced
    seen.health_answered(health(check("dns")), 2)
    assert seen.synced


def test_a_new_service_is_believed_at_once() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog("dns", "web"), 1)
    assert set(seen.services) == {"dns", "web"}
    assert not seen.doubts(1)


def test_a_new_service_is_believed_at_once_even_while_the_other_query_fails_and_consul_settles() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 1)
    seen.catalog_answered(catalog("dns", "web"), 1)
    assert set(seen.services) == {"dns", "web"}


def test_a_tag_change_of_a_service_that_is_there_is_believed_at_once() -> None:
    seen = view("dns")
    seen.catalog_lost(Unreachable("u"), 1)
    seen.catalog_answered(catalog("dns", tags=()), 2)
    assert seen.services["dns"].tags == ()
    assert seen.stale_reason == ""


def test_a_check_that_passes_is_believed_at_once_even_while_consul_settles() -> None:
    seen = view("dns")
    seen.health_answered(health(check("dns", "critical")), 1)
    seen.catalog_lost(Unreachable("u"), 2)
    seen.health_answered(health(check("dns", "passing")), 3)
    assert statuses(seen) == {"service:dns": "passing"}


def test_a_check_that_fails_is_believed_at_once_when_consul_is_settled() -> None:
    seen = view("dns")
    seen.health_answered(health(check("dns", "critical")), 1)
    assert statuses(seen) == {"service:dns": "critical"}
    assert (seen.stale_since, seen.stale_reason) == (None, "")


def test_a_node_is_the_same_whatever_the_case_of_its_name() -> None:
    seen = View("N1", GRACE)
    seen.catalog_answered(catalog("dns", node="n1"), 1)
    assert set(seen.services) == {"dns"}


# No answer to believe: the last view stands


@pytest.mark.parametrize("error", TROUBLES, ids=lambda error: type(error).__name__)
def test_the_last_view_stands_through_every_error_however_long(error: ConsulError) -> None:
    seen = view("dns")
    seen.catalog_lost(error, 10)
    seen.health_lost(error, 11)
    seen.settle(10_000_000)
    assert set(seen.services) == {"dns"}
    assert statuses(seen) == {"service:dns": "passing"}
    assert (seen.stale_since, seen.stale_reason) == (10, str(error))
    assert not seen.doubts(10_000_000)
    assert seen.synced


NULL: Answer[CatalogNode | None] = Answer(None, index=1)


@pytest.mark.parametrize(
    "nothing",
    [NULL, Answer(CatalogNode(None, None), index=1), Answer(CatalogNode(None, {}), index=17), catalog(node="other")],
    ids=["null", "node and services null", "no node", "another node"],
)
def test_an_answer_that_is_not_about_the_node_changes_nothing(nothing: Answer[CatalogNode | None]) -> None:
    seen = view("dns")
    seen.catalog_answered(nothing, 10)
    seen.settle(10_000)
    assert set(seen.services) == {"dns"}
    assert seen.stale_since == 10
    assert "n1" in seen.stale_reason
    assert not seen.doubts(10_000)


def test_health_that_is_empty_where_it_was_not_changes_nothing_until_it_is_confirmed() -> None:
    seen = view("dns")
    seen.health_answered(health(serf=False), 10)
    assert statuses(seen) == {"service:dns": "passing"}
    assert seen.stale_since == 10
    assert not seen.doubts(24.9)
    assert seen.doubts(25.1).health
    look(seen, Evidence(checks=Read(["serfHealth", "service:dns"])), 25.1)
    assert statuses(seen) == {"service:dns": "passing"}


def test_contact_that_is_back_with_the_same_view_is_not_stale() -> None:
    seen = view("dns")
    seen.catalog_lost(Unreachable("u"), 10)
    seen.catalog_answered(catalog("dns"), 20)
    assert (seen.stale_since, seen.stale_reason) == (None, "")


def test_stale_since_is_the_begin_of_the_trouble_though_its_kind_changes() -> None:
    seen = view("dns")
    seen.catalog_lost(Unreachable("u"), 10)
    seen.catalog_answered(NULL, 20)
    assert seen.stale_since == 10


def test_the_same_trouble_of_both_queries_is_told_once() -> None:
    seen = view("dns")
    seen.catalog_lost(Unreachable("gone"), 10)
    seen.health_lost(Unreachable("gone"), 10)
    assert seen.stale_reason == "gone"


# Something left the answer


def test_a_service_that_left_is_held_until_a_second_look_which_is_due_at_once() -> None:
    seen = view("dns", "web")
    seen.catalog_answered(catalog("web"), 10)
    assert set(seen.services) == {"dns", "web"}
    assert seen.stale_reason == "", "the second look takes milliseconds; nothing to tell yet"
    assert [service.id for service in seen.doubts(10).services] == ["dns"]
    assert seen.next_time() <= 10
    look(seen, Evidence(services=Read(["web"]), agent_services=["web"]), 10)
    assert set(seen.services) == {"web"}
    assert not seen.doubts(10)


def test_the_last_service_of_a_node_goes_the_same_way() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog(), 10)
    look(seen, GONE, 10)
    assert not seen.services
    assert seen.synced


RIGHT = (Right("service", "dns"),)


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (Evidence(services=Read(["dns"])), "consistent read"),
        (Evidence(services=NoLeader("no leader")), "no leader"),
        (Evidence(agent_services=["dns"]), "the agent still has it"),
        (Evidence(agent_services=Unreachable("refused")), "refused"),
        (Evidence(missing_rights=RIGHT), 'its policy needs service "dns" { policy = "read" }'),
        (Evidence(missing_rights=Denied("ACL not found")), "ACL not found"),
        (Evidence(services=Read(filtered=True), missing_rights=None), "ACLs hide"),
    ],
)
def test_one_witness_against_it_is_enough_to_hold_a_service_and_is_told(evidence: Evidence, told: str) -> None:
    seen = view("dns")
    seen.catalog_answered(catalog(), 10)
    look(seen, evidence, 10.1)
    assert set(seen.services) == {"dns"}
    assert told in seen.stale_reason
    assert "'dns'" in seen.stale_reason
    assert seen.stale_since == 10.1


def test_a_consul_that_does_not_tell_rights_is_believed_if_nothing_is_filtered() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog(), 10)
    look(seen, Evidence(missing_rights=None), 10)
    assert not seen.services


def test_second_looks_that_do_not_agree_become_rare() -> None:
    seen, now, looks = view("dns"), 10.0, []
    seen.catalog_answered(catalog(), now)
    for _ in range(7):
        now = max(now, seen.next_time())
        looks.append(now)
        look(seen, Evidence(agent_services=["dns"]), now)
        assert not seen.doubts(now)
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    assert gaps == [5, 10, 20, 40, 60, 60]


def test_what_leaves_later_is_not_made_to_wait_for_what_was_held_before() -> None:
    seen, now = view("dns"), 10.0
    seen.catalog_answered(catalog(), now)
    for _ in range(4):
        now = max(now, seen.next_time())
        look(seen, Evidence(agent_services=["dns"]), now)
    seen.catalog_answered(catalog("dns"), now + 1)
    seen.catalog_answered(catalog(), now + 2)
    look(seen, Evidence(agent_services=["dns"]), now + 2)
    assert seen.next_time() == now + 2 + 5


def test_a_service_that_comes_back_is_looked_for_no_more() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog(), 10)
    look(seen, Evidence(agent_services=["dns"]), 10)
    seen.catalog_answered(catalog("dns", tags=("new",)), 90)
    assert seen.services["dns"].tags == ("new",)
    assert seen.stale_reason == ""
    assert seen.next_time() == float("inf")


def test_a_service_that_came_back_while_it_was_looked_for_stays() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog(), 10)
    doubts = seen.doubts(10)
    seen.catalog_answered(catalog("dns"), 10.001)
    seen.confirmed(doubts, GONE, 10.002)
    assert set(seen.services) == {"dns"}


def test_a_second_look_that_ends_after_contact_broke_counts_for_nothing() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog(), 10)
    doubts = seen.doubts(10)
    seen.catalog_lost(Unreachable("u"), 10.001)
    seen.confirmed(doubts, GONE, 10.002)
    assert set(seen.services) == {"dns"}
    seen.catalog_answered(catalog(), 10.003)
    seen.confirmed(doubts, GONE, 10.004)
    assert set(seen.services) == {"dns"}


def test_another_service_that_leaves_is_looked_for_at_once_though_a_first_one_is_held() -> None:
    seen = view("dns", "web")
    seen.catalog_answered(catalog("web"), 10)
    look(seen, Evidence(agent_services=["dns"]), 10)
    seen.catalog_answered(catalog(), 11)
    assert {service.id for service in seen.doubts(11).services} == {"dns", "web"}


def test_what_leaves_while_another_one_is_looked_for_is_looked_for_at_once_too() -> None:
    seen = view("dns", "web")
    seen.catalog_answered(catalog("web"), 10)
    doubts = seen.doubts(10)
    seen.catalog_answered(catalog(), 10.001)
    seen.confirmed(doubts, Evidence(agent_services=["dns"]), 10.002)
    look(seen, Evidence(agent_services=["dns"]), 10.003)
    assert set(seen.services) == {"dns"}, "nobody knows of the other one any more"
    assert seen.next_time() == 10.003 + 5


def test_a_service_takes_its_checks_along() -> None:
    seen = view("dns", "web")
    seen.health_answered(health(check("web")), 10)
    seen.catalog_answered(catalog("web"), 10)
    assert not seen.doubts(10).checks, "its service is looked for first"
    look(seen, Evidence(services=Read(["web"]), agent_services=["web"]), 10)
    assert set(statuses(seen)) == {"service:web"}
    assert seen.next_time() == float("inf")


def test_a_check_that_left_a_service_that_stays_is_looked_for_a_moment_later() -> None:
    seen = view("dns")
    seen.health_answered(health(), 10)
    assert set(statuses(seen)) == {"service:dns"}
    assert not seen.doubts(10)
    assert 10 < seen.next_time() < 10.1
    look(seen, Evidence(checks=Read(["serfHealth"])), 10.1)
    assert not statuses(seen)


@pytest.mark.parametrize("evidence", [Evidence(checks=Read(["service:dns"])), Evidence(agent_checks=["service:dns"])])
def test_a_check_that_somebody_still_has_stays(evidence: Evidence) -> None:
    seen = view("dns")
    seen.health_answered(health(), 10)
    look(seen, evidence, 10.1)
    assert set(statuses(seen)) == {"service:dns"}


def test_what_left_right_after_trouble_is_looked_for_only_when_consul_has_settled() -> None:
    seen = view("dns")
    seen.catalog_lost(Unreachable("u"), 10)
    seen.catalog_answered(catalog(), 20)  # a fresh agent: it truly has no service, yet
    assert set(seen.services) == {"dns"}
    assert seen.stale_since == 10
    assert not seen.doubts(34.9)
    assert seen.next_time() == 35
    look(seen, GONE, 35)
    assert not seen.services


# Right after trouble nothing gets worse


def test_a_check_that_turns_critical_right_after_trouble_is_held_until_the_grace_ends() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 20)
    assert statuses(seen) == {"service:dns": "passing"}
    assert "settled" in seen.stale_reason
    assert set(seen.held) == {"dns"}
    assert seen.next_time() == 35
    believe(seen, 34.9)
    assert statuses(seen) == {"service:dns": "passing"}
    believe(seen, 35)
    assert statuses(seen) == {"service:dns": "critical"}
    assert (seen.stale_since, seen.stale_reason, seen.held) == (None, "", {})


def test_a_check_that_recovers_within_the_grace_was_never_failing() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 20)
    seen.health_answered(health(check("dns")), 22)
    seen.settle(35)
    assert statuses(seen) == {"service:dns": "passing"}


def test_trouble_of_the_catalog_alone_holds_the_checks_only_for_the_grace() -> None:
    seen = view("dns")
    seen.catalog_lost(Denied("d"), 10)
    seen.health_answered(health(check("dns", "critical")), 12)
    assert statuses(seen) == {"service:dns": "passing"}
    believe(seen, 25)
    assert statuses(seen) == {"service:dns": "critical"}


def test_a_contact_that_comes_and_goes_does_not_hold_a_failing_check_for_ever() -> None:
    seen = view("dns")
    for now in range(10, 60, 2):
        seen.catalog_lost(Unreachable("u"), now)
        seen.catalog_answered(catalog("dns"), now + 1)
        seen.health_answered(health(check("dns", "critical")), now + 1)
        believe(seen, now + 1)
        if now + 1 < 26:
            assert statuses(seen) == {"service:dns": "passing"}
    assert statuses(seen) == {"service:dns": "critical"}


def test_the_grace_of_a_doubt_is_time_with_contact_over_any_number_of_outages() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 12)
    seen.health_lost(Unreachable("u"), 20)
    seen.health_answered(health(check("dns", "critical")), 40)
    assert statuses(seen) == {"service:dns": "passing"}
    believe(seen, 46.9)  # 8 s before the outage, 6.9 s after it
    assert statuses(seen) == {"service:dns": "passing"}
    believe(seen, 47)
    assert statuses(seen) == {"service:dns": "critical"}


def test_connections_that_break_again_and_again_do_not_keep_what_is_gone_for_ever() -> None:
    seen = view("dns")
    for now in range(10, 60, 4):
        for lost in (seen.catalog_lost, seen.health_lost):
            lost(Unreachable("u"), now)
        seen.catalog_answered(catalog("dns"), now + 1)
        seen.health_answered(health(check("dns", "critical")), now + 1)
        believe(seen, now + 1)
    assert statuses(seen) == {"service:dns": "critical"}


def test_a_check_that_failed_before_the_trouble_stays_failed() -> None:
    seen = view("dns")
    seen.health_answered(health(check("dns", "critical")), 5)
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 20)
    assert statuses(seen) == {"service:dns": "critical"}
    assert seen.stale_reason == ""


def test_the_checks_of_a_service_that_is_new_after_the_trouble_count_at_once() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.catalog_answered(catalog("dns", "web"), 20)
    seen.health_answered(health(check("dns"), check("web", "critical"), check("web", "passing", "w2")), 20)
    assert statuses(seen)["service:web"] == "critical"


def test_a_service_registered_again_under_a_new_check_id_is_held_like_its_old_check() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical", "another")), 20)
    assert statuses(seen) == {"service:dns": "passing"}
    believe(seen, 35)
    assert statuses(seen)["another"] == "critical"


@pytest.mark.parametrize("maintenance", [MAINTENANCE, check("dns", "critical", "_service_maintenance:dns")])
def test_maintenance_mode_is_obeyed_at_once_also_right_after_trouble(maintenance: Check) -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns"), maintenance), 11)
    assert maintenance.id in seen.checks


def test_serf_health_right_after_trouble_is_held_too() -> None:
    seen = view("dns")
    seen.catalog_lost(Unreachable("u"), 10)
    seen.health_answered(health(Check("serfHealth", status="critical"), check("dns"), serf=False), 11)
    assert seen.checks["serfHealth"].status == "passing"
    believe(seen, 26)
    assert seen.checks["serfHealth"].status == "critical"


def test_without_a_grace_nothing_is_held_longer_than_the_trouble() -> None:
    seen = View("n1", 0)
    seen.catalog_answered(catalog("dns"), 0)
    seen.health_answered(health(check("dns")), 0)
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 11)
    assert statuses(seen) == {"service:dns": "critical"}


def test_trouble_before_the_first_good_answers_holds_nothing_back() -> None:
    seen = View("n1", GRACE)
    seen.catalog_lost(Unreachable("u"), 1)
    seen.health_lost(Unreachable("u"), 1)
    assert seen.stale_since == 1
    seen.catalog_answered(catalog("dns"), 2)
    seen.health_answered(health(check("dns")), 2)
    seen.health_answered(health(check("dns", "critical")), 3)
    assert statuses(seen) == {"service:dns": "critical"}


# The first answer is empty


def empty_at_first(catalogs: Answer[CatalogNode | None], healths: Answer[tuple[Check, ...] | None]) -> View:
    seen = View("n1", GRACE)
    seen.catalog_answered(catalogs, 1)
    seen.health_answered(healths, 1)
    assert not seen.synced
    return seen


def test_an_empty_first_catalog_is_believed_when_we_may_see_all() -> None:
    seen = empty_at_first(catalog(), health())
    doubts = seen.doubts(1)
    assert doubts.rights("n1") == (Right("node", "n1"), Right("service", ""))
    look(seen, Evidence(agent_services=[]), 1)
    assert seen.synced
    assert seen.next_time() == float("inf")


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (Evidence(missing_rights=(Right("service", ""),)), 'service_prefix ""'),
        (Evidence(agent_services=["web-1"]), "the agent has 'web-1' registered"),
        (Evidence(services=Read(filtered=True), missing_rights=None), "ACLs hide"),
        (Evidence(agent_services=Unreachable("u")), "u"),
    ],
)
def test_an_empty_first_catalog_is_not_believed_when_it_may_be_a_lack_of_rights(evidence: Evidence, told: str) -> None:
    seen = empty_at_first(catalog(), health())
    look(seen, evidence, 1)
    assert not seen.synced
    assert told in seen.stale_reason
    assert seen.next_time() == 6
    seen.catalog_answered(catalog("dns"), 3)
    assert seen.synced
    assert seen.stale_reason == ""


def test_empty_first_checks_are_believed_only_when_we_may_see_the_node() -> None:
    seen = empty_at_first(catalog("dns"), health(serf=False))
    look(seen, Evidence(missing_rights=(Right("node", "n1"),)), 1)
    assert not seen.synced
    assert 'node "n1"' in seen.stale_reason
    look(seen, GONE, 6)
    assert seen.synced


def test_an_unknown_node_at_the_start_is_no_good_answer() -> None:
    seen = View("n1", GRACE)
    seen.catalog_answered(NULL, 1)
    seen.health_answered(health(serf=False), 1)
    assert not seen.synced
    assert "is CONSUL_NODE its name" in seen.stale_reason


def test_a_filtered_answer_may_grow_the_view_and_shrinks_it_only_with_the_rights_to_see() -> None:
    seen = view("dns")
    seen.catalog_answered(catalog("web", filtered=True), 10)
    assert set(seen.services) == {"dns", "web"}
    look(seen, Evidence(services=Read(["web"], filtered=True), missing_rights=RIGHT), 10)
    assert set(seen.services) == {"dns", "web"}
    look(seen, Evidence(services=Read(["web"], filtered=True), agent_services=["web"], missing_rights=()), 20)
    assert set(seen.services) == {"web"}


def test_many_held_services_are_told_in_one_short_sentence() -> None:
    names = [f"s{n}" for n in range(500)]
    seen = view(*names)
    seen.catalog_answered(catalog(), 10)
    look(seen, Evidence(agent_services=names), 10)
    assert seen.held == dict.fromkeys(names, "the agent still has it registered")
    assert "'s0' and 499 more" in seen.stale_reason
    assert len(seen.stale_reason) < 200


# Most apps gone at once

HOLD = 10.0


def apps_view(*services: str, share: float = 0.5, hold: float = HOLD) -> View:
    """A view in which a service is an app while it has a tag."""
    made = View("n1", GRACE, HoldDown(share, hold), lambda service: bool(service.tags))
    made.catalog_answered(catalog(*services), 0)
    made.health_answered(health(*map(check, services)), 0)
    return made


def left(*still: str) -> Evidence:
    """Every witness agrees that these are what there is."""
    checks = [f"service:{name}" for name in still]
    return Evidence(Read(still, apps=still), Read(checks), still, checks, agent_apps=still)


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        ("a", "", False),
        ("ab", "b", False),
        ("ab", "", True),
        ("abc", "bc", False),
        ("abc", "c", True),
        ("abcd", "cd", False),
        ("abcd", "d", True),
    ],
)
def test_more_than_half_of_at_least_two_apps_wait_though_all_witnesses_agree(
    before: str, after: str, held: bool
) -> None:
    seen = apps_view(*before)
    seen.catalog_answered(catalog(*after), 10)
    look(seen, left(*after), 10)
    assert set(seen.services) == set(before if held else after)
    assert ("would go at once" in seen.stale_reason) is held
    assert set(seen.held) == (set(before) - set(after) if held else set())


def test_mass_removal_is_believed_after_the_hold_down_when_the_third_look_agrees() -> None:
    seen = apps_view("a", "b", "c")
    seen.catalog_answered(catalog("c"), 10)
    seen.health_answered(health(check("c")), 10)
    look(seen, left("c"), 10)
    assert seen.next_time() == 10 + HOLD
    assert not seen.doubts(19.9)
    assert set(statuses(seen)) == {"service:a", "service:b", "service:c"}, "their checks stay with them"
    look(seen, left("c"), 20)
    assert set(seen.services) == {"c"}
    assert set(statuses(seen)) == {"service:c"}
    assert (seen.stale_reason, seen.held, seen.unknown, seen.next_time()) == ("", {}, {}, float("inf"))


def test_the_hold_down_of_what_leaves_during_a_look_begins_at_once() -> None:
    seen = apps_view("a", "b", "c")
    seen.catalog_answered(catalog("b", "c"), 10)
    doubts = seen.doubts(10)
    seen.catalog_answered(catalog(), 10.001)
    seen.confirmed(doubts, left(), 10.002)
    look(seen, left(), 10.003)
    assert set(seen.held) == {"a", "b", "c"}
    look(seen, left(), 10.003 + HOLD)
    assert not seen.services


def test_third_look_that_disagrees_starts_all_over() -> None:
    seen = apps_view("a", "b")
    seen.catalog_answered(catalog(), 10)
    look(seen, left(), 10)
    look(seen, Evidence(agent_services=["a", "b"]), 20)
    assert set(seen.services) == {"a", "b"}
    look(seen, left(), 25)
    assert set(seen.services) == {"a", "b"}
    look(seen, left(), 35)
    assert not seen.services


def test_what_comes_back_meanwhile_is_held_no_more_and_the_rest_is_looked_for_at_the_end() -> None:
    seen = apps_view("a", "b", "c")
    seen.catalog_answered(catalog(), 10)
    look(seen, left(), 10)
    seen.catalog_answered(catalog("a", "b"), 15)
    assert set(seen.held) == {"c"}
    assert seen.next_time() == 20
    look(seen, left("a", "b"), 20)
    assert set(seen.services) == {"a", "b"}
    seen.catalog_answered(catalog(), 21)
    look(seen, left(), 21)
    assert seen.next_time() == 31, "a new doubt waits anew"


def test_apps_that_the_agent_has_lost_count_before_the_servers_are_told_of_each() -> None:
    seen = apps_view("a", "b", "c", "d")
    seen.catalog_answered(catalog("b", "c", "d"), 10)
    look(seen, Evidence(Read(["b", "c", "d"]), agent_services=["d"]), 10)
    assert set(seen.services) == {"a", "b", "c", "d"}
    assert "3 of 4 apps" in seen.stale_reason


def test_apps_that_go_within_a_second_go_at_once_and_later_ones_are_single_ones() -> None:
    for gap, held in ((0.5, True), (2.0, False)):
        seen = apps_view("a", "b", "c")
        seen.catalog_answered(catalog("b", "c"), 10)
        look(seen, left("b", "c"), 10)
        assert set(seen.services) == {"b", "c"}
        seen.catalog_answered(catalog("c"), 10 + gap)
        look(seen, left("c"), 10 + gap)
        assert set(seen.services) == ({"b", "c"} if held else {"c"})


def test_apps_that_are_untagged_within_a_second_are_untagged_at_once() -> None:
    for gap, held in ((0.5, True), (2.0, False)):
        seen = apps_view("a", "b", "c")
        seen.catalog_answered(with_tags(a=(), b=("t",), c=("t",)), 10)
        seen.catalog_answered(with_tags(a=(), b=(), c=("t",)), 10 + gap)
        assert [seen.services[name].tags for name in "abc"] == [(), ("t",) if held else (), ("t",)]


def test_services_that_are_no_apps_go_as_many_as_there_are() -> None:
    seen = apps_view("a")
    seen.catalog_answered(with_tags(a=("t",), b=(), c=(), d=()), 1)
    seen.catalog_answered(catalog("a"), 10)
    look(seen, left("a"), 10)
    assert set(seen.services) == {"a"}


def test_time_without_contact_does_not_count_for_the_hold_down() -> None:
    seen = apps_view("a", "b")
    seen.catalog_answered(catalog(), 10)
    look(seen, left(), 10)
    seen.catalog_lost(Unreachable("u"), 12)
    seen.catalog_answered(catalog(), 100)
    look(seen, left(), 115)
    assert not seen.services, "15 s of grace are longer than what was left of the hold-down"
    seen = apps_view("a", "b", hold=60)
    seen.catalog_answered(catalog(), 10)
    look(seen, left(), 10)
    seen.catalog_lost(Unreachable("u"), 12)
    seen.catalog_answered(catalog(), 100)
    look(seen, left(), 115)
    assert set(seen.services) == {"a", "b"}
    assert seen.next_time() == 100 + 58


@pytest.mark.parametrize(("share", "hold"), [(1.0, HOLD), (0.5, 0.0)])
def test_the_hold_down_can_be_turned_off(share: float, hold: float) -> None:
    seen = apps_view("a", "b", share=share, hold=hold)
    seen.catalog_answered(catalog(), 10)
    look(seen, left(), 10)
    assert not seen.services


def test_share_is_what_more_than_counts_against() -> None:
    seen = apps_view("a", "b", "c", share=0.0)
    seen.catalog_answered(catalog("b", "c"), 10)
    look(seen, left("b", "c"), 10)
    assert set(seen.held) == {"a"}


def with_tags(**tags: tuple[str, ...]) -> Answer[CatalogNode | None]:
    return Answer(CatalogNode(Node("n1"), {name: Service(name, name, some) for name, some in tags.items()}), index=5)


def test_most_apps_untagged_at_once_are_held_with_their_tags_and_stay_as_services_in_the_end() -> None:
    seen = apps_view("a", "b", "c")
    seen.catalog_answered(with_tags(a=(), b=(), c=("t",)), 10)
    assert [seen.services[name].tags for name in "abc"] == [("t",)] * 3
    untagged = Evidence(Read("abc", apps="c"), agent_services="abc", agent_apps="c")
    look(seen, untagged, 10)
    assert set(seen.held) == {"a", "b"}
    seen.catalog_answered(with_tags(a=(), b=(), c=("t",)), 21)
    assert seen.services["a"].tags == ("t",), "only the third look ends it"
    look(seen, untagged, 21)
    assert [seen.services[name].tags for name in "abc"] == [(), (), ("t",)]
    assert (seen.stale_reason, seen.next_time()) == ("", float("inf"))
    assert set(statuses(seen)) == {"service:a", "service:b", "service:c"}


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (Evidence(Read("abc", apps="abc"), agent_services="abc"), "a consistent read still shows it"),
        (Evidence(Read("abc"), agent_services="abc", agent_apps="abc"), "the agent still has it"),
    ],
)
def test_untagging_that_a_witness_does_not_know_of_is_held(evidence: Evidence, told: str) -> None:
    seen = apps_view("a", "b", "c")
    seen.catalog_answered(with_tags(a=(), b=(), c=()), 10)
    look(seen, evidence, 10)
    assert told in seen.stale_reason
    seen.catalog_answered(catalog("a", "b", "c"), 12)
    assert (seen.stale_reason, seen.next_time()) == ("", float("inf"))


def test_one_of_three_untagged_is_no_app_at_once() -> None:
    seen = apps_view("a", "b", "c")
    seen.catalog_answered(with_tags(a=(), b=("t",), c=("t",)), 10)
    assert seen.services["a"].tags == ()
    assert seen.stale_reason == ""


# What is not known


def test_without_contact_every_service_is_unknown_until_the_first_good_answer() -> None:
    seen = view("a", "b")
    seen.catalog_lost(Unreachable("u"), 10)
    seen.health_lost(NoLeader("n"), 12)
    assert seen.unknown == {name: Stale(10, "u; n") for name in "ab"}
    seen.catalog_answered(catalog("a", "b"), 20)
    assert seen.unknown == {name: Stale(10, "n") for name in "ab"}
    seen.health_answered(health(check("a"), check("b")), 21)
    assert seen.unknown == {}


def test_a_held_service_is_unknown_since_the_trouble_before_it() -> None:
    seen = view("a", "b")
    seen.catalog_lost(Unreachable("u"), 10)
    seen.catalog_answered(catalog("a"), 20)
    assert {name: stale.since for name, stale in seen.unknown.items()} == {"b": 10}
    look(seen, Evidence(agent_services=["a", "b"]), 35)
    assert seen.unknown == {"b": Stale(10, "the agent still has it registered")}
    seen.catalog_answered(catalog("a", "b"), 40)
    assert seen.unknown == {}


def test_a_held_check_makes_its_service_unknown_and_one_of_the_node_every_service() -> None:
    seen = view("a", "b")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("a", "critical"), check("b")), 20)
    assert set(seen.unknown) == {"a"}
    seen.health_answered(health(Check("serfHealth", status="critical"), check("a"), check("b"), serf=False), 21)
    assert set(seen.unknown) == {"a", "b"}


def worse(ranks: dict[str, int], own: dict[str, int] | None = None) -> Evidence:
    """What a look finds: how bad the servers, and the agent itself, find the checks."""
    return Evidence(checks=Read(ranks, ranks=ranks), agent_checks=own or {}, agent_ranks=own or {})


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (worse({"service:dns": 2}, {"service:dns": 0}), "the agent itself does not find it worse"),
        (worse({"service:dns": 0}), "a consistent read does not show it worse"),
        (Evidence(checks=TimedOut("servers are silent")), "servers are silent"),
        (Evidence(agent_checks=Denied("no right"), checks=Read(ranks={"service:dns": 2})), "no right"),
    ],
)
def test_what_got_worse_right_after_trouble_is_not_believed_by_the_mere_end_of_the_grace(
    evidence: Evidence, why: str
) -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 12)
    look(seen, evidence, 27)
    assert statuses(seen) == {"service:dns": "passing"}
    assert why in seen.stale_reason
    assert seen.next_time() == 28, "it is looked at again"
    look(seen, worse({"service:dns": 2}, {"service:dns": 2}), 28)
    assert statuses(seen) == {"service:dns": "critical"}
    assert seen.stale_reason == ""


def test_what_is_well_again_during_the_look_stays_well() -> None:
    seen = view("dns")
    seen.health_lost(Unreachable("u"), 10)
    seen.health_answered(health(check("dns", "critical")), 12)
    doubts = seen.doubts(27)
    seen.health_answered(health(check("dns")), 27.1)
    seen.confirmed(doubts, worse({"service:dns": 2}), 27.2)
    assert statuses(seen) == {"service:dns": "passing"}
    seen.health_lost(Unreachable("u"), 30)
    seen.health_answered(health(check("dns", "critical")), 31)
    seen.settle(60)
    assert statuses(seen) == {"service:dns": "passing"}, "the former look says nothing of this"


def test_what_we_have_published_ourselves_is_not_looked_at() -> None:
    ours = Check("consulcast:cast", status="critical", service_id="consulcast:cast", service_name="cast")
    seen = view("dns")
    seen.catalog_answered(catalog("dns", "consulcast:cast"), 1)
    seen.health_answered(health(check("dns"), ours), 1)
    assert seen.services.keys() == {"dns"}
    assert "consulcast:cast" not in seen.checks
    seen.catalog_answered(catalog("dns"), 2)
    seen.health_answered(health(check("dns")), 2)
    assert not seen.doubts(100), "nothing is missed when it goes"
