"""What is taken, what is refused, and who keeps a VIP."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.model import App, AppKey, MonitorSpec, NatRule, Reason, Refused, Source
from consulcast.policy import MOST_COMMUNITIES, Policy, Rules
from consulcast.registry import Registry
from consulcast.taken import Taken
from consulcast.values import replace
from tests.policies import ANYTHING, open_policy


def app(id: str, *vips: str, source: Source = Source.CONSUL, name: str = "") -> App:
    return App(AppKey(source, id), name or id, tuple(notation.vip(vip) for vip in vips))


def natted(id: str, vip: str, *rules: NatRule) -> App:
    return App(AppKey(Source.CONSUL, id), id, (notation.vip(vip),), nats=rules)


def unreadable(id: str) -> Refused:
    return Refused(AppKey(Source.CONSUL, id), id, Reason.BAD_TAG, "tag 'x': no")


def ids(apps: tuple[App, ...]) -> list[str]:
    return [item.key.id for item in apps]


def test_one_refused_app_leaves_all_others_alone() -> None:
    registered = Registry(open_policy()).set(Source.CONSUL, [app("a", "127.0.0.1/32"), app("b", "203.0.113.10/32")])
    assert ids(registered.apps) == ["b"]
    assert [item.key.id for item in registered.refused] == ["a"]


def test_services_may_share_a_vip() -> None:
    registered = Registry(open_policy()).set(Source.CONSUL, [app("a", "203.0.113.10/32"), app("b", "203.0.113.10/32")])
    assert ids(registered.apps) == ["a", "b"]


def test_older_registration_keeps_a_prefix_from_another_address_in_it() -> None:
    registry = Registry(open_policy())
    registry.set(Source.CONSUL, [app("z", "10.0.0.5/24")])
    registered = registry.set(Source.CONFIG, [app("a", "10.0.0.6/24", source=Source.CONFIG)])
    assert ids(registered.apps) == ["z"]
    assert registered.refused[0].reason is Reason.VIP_CONFLICT
    assert "consul:z" in registered.refused[0].detail
    assert ids(registry.set(Source.CONSUL, []).apps) == ["a"]


def test_app_that_moves_to_a_prefix_does_not_take_it_from_the_one_who_has_it() -> None:
    registry = Registry(open_policy())
    registry.set(Source.CONSUL, [app("old", "10.1.0.5/24"), app("young", "10.0.0.6/24")])
    registered = registry.set(Source.CONSUL, [app("old", "10.0.0.5/24"), app("young", "10.0.0.6/24")])
    assert ids(registered.apps) == ["young"]
    assert registered.refused[0].key.id == "old"


def test_one_app_cannot_ask_for_two_addresses_of_one_prefix() -> None:
    registered = Registry(open_policy()).set(Source.CONSUL, [app("a", "10.0.0.5/24", "10.0.0.6/24")])
    assert registered.refused[0].reason is Reason.VIP_CONFLICT


def test_what_a_source_could_not_read_is_listed_and_touches_nothing() -> None:
    registry = Registry(open_policy())
    registered = registry.set(Source.CONSUL, [app("b", "203.0.113.11/32")], [unreadable("a")])
    assert ids(registered.apps) == ["b"]
    assert [item.key.id for item in registered.refused] == ["a"]
    assert registry.set(Source.CONSUL, [app("b", "203.0.113.11/32")]).refused == ()


def test_app_that_is_refused_and_now_unreadable_is_told_of_once_with_what_to_mend_first() -> None:
    registered = Registry(Policy()).set(Source.CONSUL, [app("a", "10.0.0.0/24")], [unreadable("a")])
    assert registered.apps == ()
    assert [item.reason for item in registered.refused] == [Reason.BAD_TAG]


def test_sources_do_not_touch_each_others_apps() -> None:
    registry = Registry(open_policy())
    registry.set(Source.CONFIG, [app("a", "203.0.113.10/32", source=Source.CONFIG)])
    registry.set(Source.CONSUL, [app("a", "203.0.113.11/32")])
    assert len(registry.set(Source.CONSUL, []).apps) == 1


def test_apps_that_share_a_vip_may_add_nat_rules_and_the_older_keeps_a_port() -> None:
    registry = Registry(open_policy(nat=frozenset({4})))
    udp, tcp, other = NatRule("udp", 53, 8053), NatRule("tcp", 53, 8053), NatRule("udp", 53, 9053)
    first = natted("z", "10.0.0.5/32", udp)
    registry.set(Source.CONSUL, [first])
    assert ids(registry.set(Source.CONSUL, [first, natted("a", "10.0.0.5/32", udp, tcp)]).apps) == ["z", "a"]
    registered = registry.set(Source.CONSUL, [first, natted("a", "10.0.0.5/24", other)])
    assert ids(registered.apps) == ["z"]
    assert registered.refused[0].reason is Reason.VIP_CONFLICT
    assert "consul:z" in registered.refused[0].detail
    assert ids(registry.set(Source.CONSUL, [natted("a", "10.0.0.5/24", other)]).apps) == ["a"]


def test_port_of_a_shared_vip_is_not_taken_away_by_an_older_app_that_asks_for_it_later() -> None:
    registry = Registry(open_policy(nat=frozenset({4})))
    young = natted("young", "10.0.0.5/32", NatRule("tcp", 443, 8443))
    registry.set(Source.CONSUL, [natted("old", "10.0.0.5/32"), young])
    changed = [natted("old", "10.0.0.5/32", NatRule("tcp", 443, 9999)), young]
    assert ids(registry.set(Source.CONSUL, changed).apps) == ["young"]


def test_one_app_cannot_send_one_port_to_two() -> None:
    app_ = natted("a", "10.0.0.5/32", NatRule("udp", 53, 8053), NatRule("udp", 53, 9053))
    registered = Registry(open_policy(nat=frozenset({4}))).set(Source.CONSUL, [app_])
    assert registered.refused[0].reason is Reason.VIP_CONFLICT


# -- who keeps what he has -------------------------------------------------------------------------------------------


def bounded(apps: int = 2000, vips: int = 4000, *, reserved: str = "") -> Policy:
    """Consul may hold so many; ``reserved`` is nobody's."""
    consul = replace(ANYTHING.sources[Source.CONSUL], max_apps=apps, max_vips=vips)
    kept = (notation.vip(reserved).prefix,) if reserved else ()
    return Policy(rules=Rules({**ANYTHING.sources, Source.CONSUL: consul}, kept))


def test_the_oldest_of_a_source_keep_their_places_and_the_rule_is_named() -> None:
    registry = Registry(bounded(apps=2))
    old = [app("m", "203.0.113.1/32"), app("n", "203.0.113.2/32")]
    registry.set(Source.CONSUL, old)
    many = [app(f"a{number}", f"203.0.113.{number + 10}/32") for number in range(9)]
    registered = registry.set(Source.CONSUL, [*many, *old])
    assert ids(registered.apps) == ["m", "n"]
    assert {item.reason for item in registered.refused} == {Reason.TOO_MANY_APPS}
    assert registered.refused[0].detail == "policy.consul.max_apps: consul may have 2 apps, and no more"
    assert "a" in ids(registry.set(Source.CONFIG, [app("a", "203.0.113.50/32", source=Source.CONFIG)]).apps)
    assert ids(registry.set(Source.CONSUL, [*many, old[1]]).apps) == ["n", "a0", "a"]


def test_app_that_changes_keeps_its_place_among_those_that_a_source_may_hold() -> None:
    registry = Registry(bounded(apps=1))
    registry.set(Source.CONSUL, [app("m", "203.0.113.1/32"), app("waits", "203.0.113.2/32")])
    registered = registry.set(Source.CONSUL, [app("m", "203.0.113.3/32"), app("waits", "203.0.113.2/32")])
    assert ids(registered.apps) == ["m"]


def test_vips_of_a_source_are_counted_once_each() -> None:
    registry = Registry(bounded(vips=2))
    asked = [app("a", "203.0.113.1/32", "203.0.113.2/32"), app("b", "203.0.113.1/32"), app("c", "203.0.113.3/32")]
    registered = registry.set(Source.CONSUL, asked)
    assert ids(registered.apps) == ["a", "b"]
    assert registered.refused[0].reason is Reason.TOO_MANY_VIPS
    assert "policy.consul.max_vips: consul may have 2 VIPs, and there is no room for 1" in registered.refused[0].detail


def test_monitors_of_a_source_are_counted_once_each_and_those_that_cost_no_look_not_at_all() -> None:
    consul = replace(ANYTHING.sources[Source.CONSUL], max_monitors=2)
    registry = Registry(Policy(rules=Rules({**ANYTHING.sources, Source.CONSUL: consul})))
    texts = {"a": ("consul", "tcp:h:1"), "b": ("tcp:h:1", "tcp:h:2"), "c": ("tcp:h:3", "tcp:h:2"), "d": ("consul",)}
    asked = [
        replace(app(id, f"203.0.113.{n}/32"), monitors=tuple(map(notation.monitor, each)))
        for n, (id, each) in enumerate(texts.items())
    ]
    registered = registry.set(Source.CONSUL, asked)
    assert ids(registered.apps) == ["a", "b", "d"]
    assert registered.refused[0].reason is Reason.TOO_MANY_MONITORS
    assert "policy.consul.max_monitors: consul may have 2 monitors" in registered.refused[0].detail


def test_narrower_limit_takes_from_the_youngest_and_a_wider_one_gives_back() -> None:
    registry = Registry(bounded())
    registry.set(Source.CONSUL, [app(id, f"203.0.113.{n}/32") for n, id in enumerate("zyx", 1)])
    assert ids(registry.set_policy(bounded(apps=2)).apps) == ["z", "y"]
    assert ids(registry.set_policy(bounded()).apps) == ["z", "y", "x"]


def test_narrower_policy_refuses_what_it_no_longer_allows_and_a_wider_one_takes_it() -> None:
    registry = Registry(open_policy())
    registry.set(Source.CONSUL, [app("a", "203.0.113.1/32"), app("b", "203.0.113.2/32")])
    registered = registry.set_policy(bounded(reserved="203.0.113.1/32"))
    assert ids(registered.apps) == ["b"]
    assert registered.refused[0].detail.startswith("VIP 203.0.113.1/32: policy.reserved[0] keeps")
    assert ids(registry.set_policy(open_policy()).apps) == ["a", "b"]


def test_app_that_was_refused_for_long_takes_nothing_from_anybody_once_it_is_allowed() -> None:
    registry = Registry(bounded(reserved="10.0.0.0/25"))
    early = app("early", "10.0.0.5/24")
    assert registry.set(Source.CONSUL, [early]).apps == ()
    registry.set_policy(Policy())
    registry.set(Source.CONFIG, [app("late", "10.0.0.6/24", source=Source.CONFIG)])
    registered = registry.set_policy(open_policy())
    assert ids(registered.apps) == ["late"]
    assert registered.refused[0].reason is Reason.VIP_CONFLICT
    registry.set(Source.HTTP, [app("later", "10.0.0.7/24", source=Source.HTTP)])
    assert ids(registry.set(Source.CONFIG, []).apps) == ["early"], "of those who wait the oldest is next"


def test_apps_that_share_a_vip_cannot_make_its_route_outgrow_an_update() -> None:
    def with_communities(id: str, *numbers: int, source: Source = Source.CONSUL) -> App:
        found = tuple(notation.community(f"1:{number}") for number in numbers)
        return App(AppKey(source, id), id, (notation.vip("203.0.113.1/32"),), communities=found)

    registry = Registry(open_policy())
    full = with_communities("full", *range(MOST_COMMUNITIES))
    registry.set(Source.CONSUL, [full])
    registered = registry.set(Source.CONSUL, [full, with_communities("more", 9999), with_communities("same", 1)])
    assert ids(registered.apps) == ["full", "same"]
    assert registered.refused[0].reason is Reason.COMMUNITY_NOT_ALLOWED
    assert ids(registry.set(Source.CONFIG, [with_communities("own", 9999, source=Source.CONFIG)]).apps)[-1] == "own"


def test_trial_tells_what_would_be_refused_and_changes_nothing() -> None:
    registry = Registry(open_policy())
    held = [app("a", "10.0.0.5/24", source=Source.HTTP), app("b", "10.1.0.5/24", source=Source.HTTP)]
    before = registry.set(Source.HTTP, held)
    assert registry.would_refuse(app("c", "203.0.113.1/32", source=Source.HTTP), held) is None
    refused = registry.would_refuse(app("a", "10.1.0.6/24", source=Source.HTTP), held)
    assert refused is not None
    assert refused.reason is Reason.VIP_CONFLICT
    assert registry.registered is before
    rival = app("rival", "10.0.0.7/24")
    assert registry.set(Source.CONSUL, [rival]).refused[0].key == rival.key, "a trial costs nobody his place"


ids_ = st.sampled_from([f"s{number}" for number in range(6)])
apps = st.builds(lambda id, third, last: app(id, f"10.0.{third}.{last}/24"), ids_, st.integers(0, 3), st.integers(1, 3))
lists = st.lists(apps, max_size=6, unique_by=lambda item: item.key)


@given(st.lists(lists, min_size=2, max_size=6), st.integers(1, 4), st.integers(1, 4))
@example([[app("a", "10.0.0.1/24"), app("b", "10.0.0.1/24")], [app("b", "10.0.0.1/24"), app("a", "10.0.0.2/24")]], 2, 1)
def test_whoever_asks_for_the_same_again_keeps_it_whatever_others_ask_for(
    steps: list[list[App]], most_apps: int, most_vips: int
) -> None:
    registry = Registry(bounded(most_apps, most_vips))
    for asked in steps:
        before = set(registry.registered.apps)
        registered = registry.set(Source.CONSUL, asked)
        assert before & set(asked) <= set(registered.apps)
        assert len(registered.apps) <= most_apps
        assert len({vip for item in registered.apps for vip in item.vips}) <= most_vips
        prefixes = [(vip.prefix, vip) for item in registered.apps for vip in item.vips]
        assert len({prefix for prefix, _ in prefixes}) == len(set(prefixes))
        answered = [item.key for item in registered.apps] + [item.key for item in registered.refused]
        assert sorted(answered) == sorted(item.key for item in asked)


class Whole(Registry):
    """Decides about all apps whenever anything changes."""

    def _merge(self) -> None:
        self._asked = {one.key: one for apps in self._lists.values() for one in apps}
        self._claims = {key: self._claim(one) for key, one in self._asked.items()}
        self._judged.clear()
        held, self._taken = self._taken.apps, Taken(self._policy.rules.sources)
        self._settle(self._asked.keys(), held)


VIPS = ["10.0.0.5/24", "10.0.0.6/24", "10.1.0.5/24", "203.0.113.10/32", "127.0.0.1/32"]
ASKING = st.builds(
    lambda id, vips, port, communities, spec: replace(
        app(id, *vips),
        nats=(NatRule("tcp", 53, port),) if port else (),
        communities=tuple(notation.community(f"65000:{number}") for number in range(communities)),
        monitors=(MonitorSpec("port", f"tcp:{spec}"),) if spec else (),
    ),
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from(VIPS), min_size=1, max_size=2, unique=True),
    st.sampled_from([0, 0, 8053, 8054]),
    st.sampled_from([0, 40]),
    st.sampled_from([0, 1, 2]),
)
LISTS = st.lists(ASKING, max_size=6, unique_by=lambda one: one.key)
SOURCES = st.sampled_from([Source.CONSUL, Source.HTTP])
ROOMY = open_policy(nat=frozenset({4}))
FEW = {source: replace(rules, max_apps=2, max_vips=3, max_monitors=1) for source, rules in ANYTHING.sources.items()}
NARROW = replace(ROOMY, rules=replace(ANYTHING, sources=FEW))


@given(st.lists(st.tuples(SOURCES, LISTS, st.sampled_from([None, None, None, ROOMY, NARROW])), max_size=8))
def test_what_is_given_bit_by_bit_is_what_is_given_when_all_is_looked_at(
    steps: list[tuple[Source, list[App], Policy | None]],
) -> None:
    registry, whole = Registry(ROOMY), Whole(ROOMY)
    for source, apps, policy in steps:
        mine = [replace(one, key=AppKey(source, one.key.id)) for one in apps]
        for one in (registry, whole):
            one.set(source, mine)
            if policy is not None:
                one.set_policy(policy)
        assert registry.registered.apps == whole.registered.apps
        assert {(item.key, item.reason) for item in registry.registered.refused} == {
            (item.key, item.reason) for item in whole.registered.refused
        }
        registry.trial(NARROW).set(source, ())
        assert registry.registered.apps == whole.registered.apps, "what is tried changes nothing"
