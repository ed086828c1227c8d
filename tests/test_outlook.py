"""What leads from one state to another, in words."""

from __future__ import annotations

import ipaddress

from consulcast import notation
from consulcast.executor.bgp.peer import Peer
from consulcast.model import App, AppKey, Intent, MonitorSpec, Origin, Reason, Refused, Route, Source, Vip
from consulcast.outlook import Action, Kind, Scene, Step, steps
from consulcast.planner import Plan
from consulcast.registry import Registered
from consulcast.values import replace

VIP = notation.vip("203.0.113.10/32")
KEY = AppKey(Source.CONSUL, "dns")
APP = App(KEY, "dns", (VIP,))
PEER = Peer(
    *(ipaddress.ip_address("198.51.100.2"), 65010, 65001, ipaddress.ip_address("198.51.100.1")),
    router_id=ipaddress.IPv4Address("198.51.100.1"),
    password="secret",
)


def intent(reason: Reason = Reason.ANNOUNCED, *communities: str, vip: Vip = VIP, origin: Origin = Origin.IGP) -> Intent:
    route = Route(vip.prefix, tuple(map(notation.community, communities)), origin)
    return Intent(vip, route, True, reason is Reason.ANNOUNCED, reason, "", (KEY,))


def of(*intents: Intent) -> Scene:
    return Scene(plan=Plan({item.vip: item for item in intents}))


def test_the_same_is_nothing_to_do() -> None:
    scene = Scene(Registered((APP,)), Plan({VIP: intent()}), (PEER,))
    assert steps(scene, scene) == ()
    assert steps(of(intent(Reason.MONITOR_FAILING)), of(intent(Reason.MONITOR_PENDING))) == ()


def test_vips_come_go_wait_and_change() -> None:
    def one(before: Scene, after: Scene) -> tuple[Action, str, str]:
        (step,) = steps(before, after)
        assert (step.kind, step.subject) == (Kind.VIP, str(VIP))
        return step.action, step.reason, step.detail

    failing = intent(Reason.MONITOR_FAILING)
    assert one(of(), of(intent())) == (Action.ADD, "announced", "")
    assert one(of(failing), of(intent()))[0] is Action.ADD
    assert one(of(), of(failing))[:2] == (Action.WAIT, "monitor-failing")
    assert one(of(intent()), of(failing))[:2] == (Action.WITHDRAW, "monitor-failing")
    assert one(of(intent()), of())[:2] == (Action.WITHDRAW, "withdrawing")
    assert one(of(intent(Reason.ANNOUNCED, "1:1", "1:2")), of(intent(Reason.ANNOUNCED, "1:2", "1:3"))) == (
        *(Action.CHANGE, "announced", "communities -1:1, +1:3"),
    )
    assert one(of(intent()), of(intent(origin=Origin.EGP)))[2] == "origin igp to egp"


def test_what_damping_holds_back_is_no_change() -> None:
    assert steps(of(intent(Reason.SUPPRESSED)), of(intent())) == ()


def test_apps_come_go_and_are_refused_with_the_reason() -> None:
    refused = Refused(KEY, "dns", Reason.VIP_NOT_ALLOWED, "policy.consul.vips")
    taken, not_taken = Scene(Registered((APP,))), Scene(Registered((), (refused,)))
    assert steps(taken, not_taken) == (Step(Kind.APP, "consul:dns", Action.REFUSE, "vip-not-allowed", refused.detail),)
    assert steps(not_taken, not_taken) == ()
    assert [step.action for step in steps(not_taken, taken)] == [Action.ADD]
    assert [step.action for step in steps(taken, Scene())] == [Action.WITHDRAW]
    watched = Scene(Registered((replace(APP, monitors=(MonitorSpec("consul"),)),)))
    assert [(step.action, step.detail) for step in steps(taken, watched)] == [(Action.CHANGE, "monitors: consul")]


def test_peers_come_go_and_change_and_no_password_is_shown() -> None:
    def one(*peers: Peer) -> tuple[Action, str]:
        (step,) = steps(Scene(peers=(PEER,)), Scene(peers=peers))
        assert step.subject == "198.51.100.2"
        return step.action, step.detail

    assert one() == (Action.WITHDRAW, "the session ends")
    assert one(replace(PEER, password="other")) == (Action.CHANGE, "password: the session is reset")
    assert [step.action for step in steps(Scene(), Scene(peers=(PEER,)))] == [Action.ADD]
