"""The first line: whether, and if not, the true cause."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from consulcast import reasons
from consulcast.changes import Change, Kind
from consulcast.consul.bodies import AgentCheck
from consulcast.damping import Flaps
from consulcast.executor.protocols import Found, RouteState
from consulcast.executor.reach import Reach
from consulcast.explain import answer
from consulcast.explain.explanation import Explanation, Mark, Stage, Step
from consulcast.explain.facts import Facts, OfPeer, OfVip, Shown
from consulcast.explain.find import find
from consulcast.model import AppKey, Health, Reason, Refused, Source, Stale, Verdict
from consulcast.values import replace
from tests.explain.world import DNS, ROUTER, VIP, down, facts, failing, shown

WELL = shown("dns", *DNS)
KEY = AppKey(Source.CONSUL, "dns")
UNKNOWN_NODE = "Consul does not know node 'host': is CONSUL_NODE its name, and has the token's policy node \"host\"?"
THERE = Reach(device="tor", hop=ROUTER.address, answers=True)


def explain(target: str, known: Facts) -> Explanation:
    subject = find(target, known)
    assert subject is not None
    return answer.explain(target, subject, known)


def steps(told: Explanation, stage: Stage) -> list[Step]:
    return [step for step in told.steps if step.stage is stage]


def line(*services: Shown, target: str = "dns", **more: Any) -> str:
    told = explain(target, facts(*services or (WELL,), **more))
    assert told.todo == ("" if told.announced else reasons.todo(told.reason))
    return told.line


def at_reason(reason: Reason, detail: str = "", **more: Any) -> dict[str, Any]:
    """The VIP is found to be so."""
    known = facts(WELL, found={VIP: (reason, detail)})
    return {"vips": {VIP: replace(known.vips[VIP], **more)}}


def peer(error: str = "", **more: Any) -> dict[str, Any]:
    return {"peers": (OfPeer(down(error), **more),), "found": {VIP: (Reason.PEER_DOWN, "")}}


def test_announced() -> None:
    told = explain("dns", facts(WELL))
    assert told.line == "203.0.113.10/32 is announced to 1 of 1 peers"
    assert (told.announced, told.reason, told.cause) == (True, "announced", "")
    assert {step.mark for step in told.steps} == {Mark.OK}
    assert [step.stage for step in told.steps] == [
        *(Stage.SOURCE, Stage.TAGS, Stage.POLICY, Stage.MONITOR),
        *(Stage.SHARING, Stage.DAMPING, Stage.ADDRESS, Stage.ROUTE, Stage.PEER),
    ]


def test_announced_to_one_of_two_says_why_not_to_the_other() -> None:
    away = replace(down("hold timer expired (4/0)"), address=ipaddress.ip_address("198.51.100.3"))
    assert line(peers=(OfPeer(ROUTER), OfPeer(away))) == (
        "203.0.113.10/32 is announced to 1 of 2 peers; not to 198.51.100.3 AS65010: peer-down: hold timer expired (4/0)"
    )


def test_a_peer_that_is_up_and_does_not_have_it_is_named_with_the_reason() -> None:
    other = replace(ROUTER, address=ipaddress.ip_address("198.51.100.3"))
    known = facts(WELL, peers=(OfPeer(ROUTER), OfPeer(other)))
    first, second = known.vips[VIP].told
    for told, words in (
        (replace(second, told="", wanted=""), "no-next-hop: no IPv4 next hop for it: set next_hop_ipv4"),
        (replace(second, carried=False), "family-not-negotiated: IPv4 is not agreed upon in the session"),
        (replace(second, told="", refused=2), "bgp-failed: ExaBGP refused "),
        (replace(second, told=""), "announcing: not acknowledged yet"),
    ):
        vips = {VIP: replace(known.vips[VIP], told=(first, told))}
        said = explain("dns", replace(known, vips=vips)).line
        assert said.startswith("203.0.113.10/32 is announced to 1 of 2 peers; ")
        assert f"203.0.113.10/32 not to 198.51.100.3 AS65010: {words}" in said


def test_an_address_without_its_local_route_is_told_though_the_vip_is_announced() -> None:
    known = facts(WELL)
    vips = {VIP: replace(known.vips[VIP], undelivered=True)}
    told = explain("dns", replace(known, vips=vips))
    assert told.line.startswith("203.0.113.10/32 is announced to 1 of 1 peers; but the kernel has no local route to ")
    assert steps(told, Stage.ADDRESS)[0].mark is Mark.WRONG


def test_a_monitor_says_since_when() -> None:
    assert line(verdicts={"dns": failing()}) == (
        "203.0.113.10/32 is NOT announced: monitor-failing: consul:dns: check 'service:dns' is critical, for 1 min"
    )


def test_of_two_services_the_one_that_fails_is_named_with_those_that_share() -> None:
    other = shown("ntp", *DNS)
    said = line(WELL, other, verdicts={"ntp": failing("down")})
    assert "consul:ntp: down" in said
    assert "the VIP is shared by services dns, ntp" in said


def test_the_services_of_a_shared_vip_that_do_not_pass_are_named() -> None:
    told = explain("dns", facts(WELL, shown("ntp", *DNS), verdicts={"ntp": failing("down")}))
    assert steps(told, Stage.SHARING)[0].text == (
        "wanted by consul:dns (dns, passing), consul:ntp (ntp, failing); no instance of ntp passes"
    )


def test_an_instance_that_fails_while_another_passes_is_told_with_the_announcement() -> None:
    said = line(shown("dns", *DNS, id="a"), shown("dns", *DNS, id="b"), verdicts={"b": failing("down")})
    assert said == "203.0.113.10/32 is announced to 1 of 1 peers; though consul:b does not pass: monitor-failing: down"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            at_reason(Reason.CLEANED_UP, "consul:dns: down"),
            "cleaned-up: failing for longer than agent.cleanup_timer: consul:dns: down",
        ),
        (
            at_reason(Reason.DRAINING, "consul:dns: maintenance", route_state=RouteState.CLEAR),
            "NOT announced: draining: consul:dns: maintenance",
        ),
        (at_reason(Reason.WOULD_ANNOUNCE), "NOT announced: would-announce: this daemon only observes"),
        (at_reason(Reason.SUPPRESSED, "flapped 5 times"), "suppressed: flapped 5 times"),
        (at_reason(Reason.ADDRESS_FAILED, "device lo is down"), "address-failed: device lo is down"),
        (at_reason(Reason.NAT_FAILED, "no program nft"), "nat-failed: no program nft"),
        (at_reason(Reason.CONSUL_STALE, "too long"), "consul-stale: too long"),
        (
            {**at_reason(Reason.NO_NEXT_HOP), "gaps": ("peer 198.51.100.2: none",)},
            "no-next-hop: peer 198.51.100.2: none",
        ),
        (at_reason(Reason.NO_NEXT_HOP), "no-next-hop: no peer has an IPv4 next hop: set next_hop_ipv4"),
        (
            at_reason(Reason.NOT_NEGOTIATED, "no peer takes IPv4 routes"),
            "no peer takes IPv4 routes: 198.51.100.2 AS65010 did not agree to IPv4 unicast",
        ),
        (at_reason(Reason.BGP_FAILED), "bgp-failed: ExaBGP refuses the route"),
        (
            {**at_reason(Reason.ANNOUNCING), "found": {VIP: (Reason.ANNOUNCING, "")}, "exabgp": "exit status 1"},
            "announcing: ExaBGP has not acknowledged the route yet; it last ended: exit status 1",
        ),
    ],
)
def test_the_reconciler_s_reasons(more: dict[str, Any], words: str) -> None:
    more.pop("found", None)
    assert words in line(**more)


def test_what_is_drained_and_has_its_route_still_is_said_to_be_announced() -> None:
    """It is: with a lower preference. ``status`` says the same."""
    told = explain("dns", facts(WELL, **at_reason(Reason.DRAINING, "consul:dns: drained by root; announced with x")))
    assert told.line == (
        "203.0.113.10/32 is announced to 1 of 1 peers; draining: consul:dns: drained by root; announced with x"
    )
    assert (told.announced, told.reason) == (True, "draining")
    assert "consulcast undrain" in told.todo
    assert steps(told, Stage.ROUTE)[0].mark is Mark.UNKNOWN
    more = at_reason(Reason.DRAINING, "consul:dns: drained by root; withdrawn", route_state=RouteState.CLEAR)
    assert explain("dns", facts(WELL, **more)).line.startswith("203.0.113.10/32 is NOT announced: draining: ")


def test_of_several_vips_each_that_is_not_announced_is_named() -> None:
    services = [
        shown(name, "enable_gocast", f"gocast_vip={vip}", "gocast_monitor=consul")
        for name, vip in (("a", "203.0.113.1/32"), ("b", "203.0.113.2/32"), ("c", "203.0.113.3/32"))
    ]
    said = explain("203.0.113.0/24", facts(*services, verdicts={"a": failing(), "b": failing()})).line
    assert said.startswith("203.0.113.1/32 is NOT announced: monitor-failing: ")
    assert said.endswith("(203.0.113.2/32 neither: monitor-failing; 203.0.113.3/32 is announced)")


def test_more_vips_than_one_explanation_has_are_not_passed_over_in_silence() -> None:
    many = [shown(f"s{number}", "enable_gocast", f"gocast_vip=203.0.113.{number}/32") for number in range(20)]
    told = explain("203.0.113.0/24", facts(*many))
    assert told.line.endswith("; 4 more VIPs of it are not looked at: ask for them, or see `consulcast status`")


def test_an_address_that_is_under_way() -> None:
    more = at_reason(Reason.ANNOUNCING, route_state=RouteState.CLEAR)
    known = replace(facts(WELL, **more), found=Found())
    assert "announcing: address 203.0.113.10/32 is being added" in explain("dns", known).line


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            peer("sent OPEN message error, bad peer AS (2/2): AS 65011"),
            "198.51.100.2 AS65010: wrong AS: it is AS 65011, and not AS 65010 as peer_as says",
        ),
        (
            peer("received OPEN message error, bad peer AS (2/2)"),
            "wrong AS: it does not know us as AS 65001, which local_as says",
        ),
        (peer("", reach=Reach(trouble="no route to 198.51.100.2")), "no route to 198.51.100.2"),
        (peer("", reach=replace(THERE, answers=False)), "198.51.100.2 does not answer on tor (ARP"),
        (
            peer("", reach=THERE, password=True),
            "is there on tor, but there is no answer to our SYN: wrong or missing MD5",
        ),
        (peer("", reach=THERE, password=True), "MD5 password (ours is set)"),
        (peer("", reach=THERE), "MD5 password (ours is not set)"),
        (peer("no connection: refused", reach=THERE), "is there on tor, and the connection is refused or closed"),
        (peer("no connection: refused", reach=THERE, silent=True), "no answer to our SYN"),
        (
            peer("cease, administrative shutdown (6/2)", reach=THERE, silent=True),
            "no answer to our SYN: wrong or missing MD5 password (ours is not set), a firewall, or nobody of address "
            "198.51.100.2; the session ended with: cease, administrative shutdown (6/2)",
        ),
        (peer("hold timer expired (4/0)", reach=THERE), "198.51.100.2 AS65010: hold timer expired (4/0)"),
        ({**peer("x"), "exabgp": "exit status 1"}, "ExaBGP last ended: exit status 1"),
    ],
)
def test_why_a_peer_is_down(more: dict[str, Any], words: str) -> None:
    said = line(**more)
    assert said.startswith("203.0.113.10/32 is NOT announced: peer-down: 198.51.100.2 AS65010: ")
    assert words in said


def test_a_refused_app_is_named_with_the_rule() -> None:
    refused = Refused(KEY, "dns", Reason.VIP_NOT_ALLOWED, "VIP 203.0.113.10/32: not in policy.consul.vips (empty)")
    for target in ("dns", "203.0.113.10"):
        told = explain(target, facts(WELL, refuse=(refused,)))
        assert "NOT announced: vip-not-allowed: consul:dns: " in told.line
        assert "policy.consul.vips (empty)" in told.line
        assert steps(told, Stage.POLICY)[0].mark is Mark.WRONG


def test_a_vip_that_one_has_and_another_may_not_is_announced_and_the_refusal_told() -> None:
    second = AppKey(Source.CONSUL, "second")
    refused = Refused(second, "second", Reason.VIP_CONFLICT, "taken by consul:dns")
    known = facts(WELL, shown("second", *DNS), refuse=(refused,))
    said = explain("203.0.113.10", known)
    assert said.announced
    assert "consul:second is refused: vip-conflict" in said.line
    assert steps(said, Stage.SHARING)[0].mark is Mark.UNKNOWN
    own = explain("second", known)
    assert not own.announced
    assert own.line.startswith("203.0.113.10/32 of consul:second is NOT announced: vip-conflict: ")


def test_a_misspelt_tag_is_named_where_only_a_missing_one_is_known() -> None:
    typo = shown("dns", "enable_gocast", "gocast-vip=203.0.113.10/32")
    for target in ("dns", "203.0.113.10"):
        assert line(typo, target=target).endswith(
            "NOT announced: bad-tag: consul:dns: tag 'gocast-vip=203.0.113.10/32' is not read: "
            "write 'gocast_vip=203.0.113.10/32'"
        )


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (["enable-gocast"], "tag 'enable-gocast' is not read: write 'enable_gocast'"),
        (["http"], "has no tag 'enable_gocast'; its tags: 'http'"),
        ([], "its tags: none at all"),
    ],
)
def test_a_service_that_does_not_ask(tags: list[str], words: str) -> None:
    said = line(shown("dns", *tags))
    assert said.startswith("dns is NOT announced: not-enabled: service 'dns' (id 'dns') has no tag 'enable_gocast'")
    assert words in said


def test_a_service_that_waits_for_its_checks() -> None:
    known = replace(facts(WELL), apps=(), asked=(), intents={}, vips={})
    assert "monitor-pending: service 'dns' (id 'dns') is not taken yet" in explain("dns", known).line


def test_consul_s_doubts_are_told_with_the_announcement() -> None:
    stale = Stale(990.0, "no answer")
    told = explain("dns", facts(WELL, stale={KEY: stale}, consul={"stale": stale}))
    assert told.line.endswith("; consul-stale: Consul's last good answer stands for 10 s: no answer")
    assert steps(told, Stage.SOURCE)[0].mark is Mark.UNKNOWN


@pytest.mark.parametrize(
    ("consul", "code", "words"),
    [
        (
            {"stale": Stale(990.0, UNKNOWN_NODE), "synced": False, "agent_node": "web-1"},
            "consul-node-unknown",
            "CONSUL_NODE (consul.node) is 'host', and the agent at http://127.0.0.1:8500 is of node 'web-1'",
        ),
        (
            {"stale": Stale(990.0, UNKNOWN_NODE), "synced": False},
            "consul-node-unknown",
            "no token is sent (consul.token_file, CONSUL_HTTP_TOKEN)",
        ),
        (
            {"stale": Stale(990.0, UNKNOWN_NODE), "synced": False, "has_token": True},
            "consul-node-unknown",
            "policy node",
        ),
        (
            {"stale": Stale(990.0, "Consul does not know our token (403)"), "has_token": True},
            "consul-denied",
            "does not know our token",
        ),
        (
            {"stale": Stale(990.0, "no answer"), "synced": False},
            "consul-stale",
            "Consul at http://127.0.0.1:8500 is not believed for 10 s: no answer",
        ),
        ({"synced": False}, "consul-stale", "http://127.0.0.1:8500 has not answered yet"),
    ],
)
def test_what_is_not_known_while_consul_does_not_say(consul: dict[str, Any], code: str, words: str) -> None:
    told = answer.unknown("web", facts(consul=consul))
    assert (told.reason, told.line.startswith(f"web is not known here: {code}: ")) == (code, True)
    assert words in told.line


def test_a_peer_s_address_is_known_for_what_it_is() -> None:
    told = answer.unknown("198.51.100.2", facts(WELL))
    assert "it is a peer, AS65010: session up" in told.hints
    told = answer.unknown("198.51.100.2", facts(WELL, peers=(OfPeer(down("hold timer expired (4/0)")),)))
    assert "it is a peer, AS65010: session down: hold timer expired (4/0)" in told.hints


def test_what_has_gone_is_told_with_its_last_changes() -> None:
    gone = Change(7, 0.0, Kind.APP, "consul:old", "removed")
    told = answer.unknown("old", facts(WELL, changes=(gone,)))
    assert "it was here: 1970-01-01T00:00:00Z app consul:old removed" in told.hints


def test_what_nobody_asks_for() -> None:
    known = facts(WELL, shown("consul"), shown("other", "http"))
    told = answer.unknown("dnss", known)
    assert told.line.startswith("dnss is not known here: unknown-target: no service on Consul's node 'host'")
    assert told.line.endswith("; nearest: dns")
    assert told.hints[-1] == "services on node host without the tag enable_gocast: other"


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (Facts(), "Consul is not used (no CONSUL_NODE, no consul.node), and there is no app at all"),
        (replace(facts(WELL), consul=None), "Consul is not used (no CONSUL_NODE, no consul.node)"),
    ],
)
def test_what_nobody_asks_for_where_consul_is_not_used(known: Facts, words: str) -> None:
    assert words in answer.unknown("web", known).line


def test_the_monitor_s_step_has_its_figures() -> None:
    (step,) = steps(explain("dns", facts(WELL, verdicts={"dns": failing()})), Stage.MONITOR)
    assert step.mark is Mark.WRONG
    assert step.text == (
        "consul: failing for 1 min: check 'service:dns' is critical [every 10 s, rise 1, fall 2, next look in 5.0 s]"
    )
    assert step.values == {
        "monitor": "consul",
        "health": "failing",
        "since": "2023-11-14T22:12:20Z",
        "interval": 10,
        "timeout": 5,
        "rise": 1,
        "fall": 2,
        "against": 0,
        "last_look": "2023-11-14T22:13:15Z",
        "next_look": "2023-11-14T22:13:25Z",
        "trouble": "",
    }


def test_damping_is_shown_while_it_counts() -> None:
    more = at_reason(Reason.SUPPRESSED, "flapped", flaps=Flaps(4200.4, 5, True, "2026-01-01T00:00:00Z"))
    (step,) = steps(explain("dns", facts(WELL, **more)), Stage.DAMPING)
    assert (step.mark, step.text) == (Mark.WRONG, "penalty 4200 after 5 flaps: held until 2026-01-01T00:00:00Z")
    calm = at_reason(Reason.ANNOUNCED, "", flaps=Flaps(900.0, 1, False, ""))
    assert steps(explain("dns", facts(WELL, **calm)), Stage.DAMPING)[0].mark is Mark.OK


def test_an_address_of_somebody_else_s_is_told_from_ours_and_from_a_missing_one() -> None:
    known = facts(WELL)
    for found, mark, words in (
        (Found(frozenset({VIP.local}), frozenset({VIP.local})), Mark.OK, "is on lo (ours)"),
        (Found(frozenset({VIP.local})), Mark.OK, "is on lo (somebody else's, used and never removed)"),
        (Found(), Mark.WRONG, "is wanted and not on lo"),
        (Found(trouble="device lo is down"), Mark.WRONG, "device lo is down"),
        (None, Mark.UNKNOWN, "the kernel does not say"),
    ):
        (step,) = steps(explain("dns", replace(known, found=found)), Stage.ADDRESS)
        assert (step.mark, words in step.text) == (mark, True), step.text


def test_a_table_of_exabgp_s_that_differs_is_shown() -> None:
    known = facts(WELL)
    vip = known.vips[VIP]
    other = replace(vip, told=(replace(vip.told[0], table=""),))
    (step,) = steps(explain("dns", replace(known, vips={VIP: other})), Stage.PEER)
    assert "ExaBGP's table has nothing" in step.text


def test_nothing_is_claimed_of_a_vip_that_is_not_planned_yet() -> None:
    known = replace(facts(WELL), vips={VIP: OfVip(VIP)}, intents={})
    assert "nothing is planned yet" in explain("dns", known).line


def test_a_verdict_that_is_unknown_is_no_failure() -> None:
    pending = Verdict(Health.UNKNOWN, Reason.MONITOR_PENDING, "no verdict yet", 999.0)
    told = explain("dns", facts(WELL, verdicts={"dns": pending}))
    assert (told.reason, steps(told, Stage.MONITOR)[0].mark) == ("monitor-pending", Mark.UNKNOWN)


def test_what_a_failing_check_has_put_out_is_said_in_one_line_that_is_not_too_long() -> None:
    said = {
        "service:dns": AgentCheck("critical", "dns", "no zone\nis  loaded"),
        "long": AgentCheck("warning", "dns", "x" * 5000),
        "well": AgentCheck("passing", "dns", "all is well"),
        "other": AgentCheck("critical", "ntp", "not this one"),
        "silent": AgentCheck("critical", "dns", ""),
        "disk": AgentCheck("critical", "", "the node's"),
    }
    (step,) = steps(explain("dns", facts(WELL, verdicts={"dns": failing()}, checks=said)), Stage.MONITOR)
    assert "'service:dns' says: no zone is loaded; 'long' says: xxx" in step.text
    assert "'disk' says: the node's" in step.text
    assert not any(word in step.text for word in ("all is well", "not this one", "'silent'", "x" * 201))
    (step,) = steps(explain("dns", facts(WELL, checks=said)), Stage.MONITOR)
    assert "says" not in step.text
