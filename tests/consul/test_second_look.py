"""consulcast.consul.second_look: how the witnesses are asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consulcast.consul import second_look
from consulcast.consul.bodies import Service
from consulcast.consul.errors import ConsulError
from consulcast.consul.evidence import Doubts, Read
from consulcast.consul.second_look import SecondLook
from consulcast.consul.settings import settings_from
from tests.consul.server import Request, Server, reply

GONE = Service("gone", "gone", ("app",))
OTHERS = {f"s{number}": Service(f"s{number}", "other", ("app",)) for number in range(second_look.MANY)}
CHOSEN = 'ID == "gone" or ID == "s0"'


class Consul:
    """What the catalog and the agent have; ``filters`` makes of the services what a filter leaves."""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {name: {"ID": name, "Service": name, "Tags": ["app"]} for name in OTHERS}
        self.filters: Callable[[dict[str, Any], str], dict[str, Any]] = lambda services, chosen: {
            name: service for name, service in services.items() if f'ID == "{name}"' in chosen.split(" or ")
        }
        self.status = 200

    def __call__(self, request: Request) -> bytes:
        if request.path == "/v1/agent/services":
            return reply(json.dumps({name: {"Service": name, "Tags": ["app"]} for name in self.services}))
        if request.path.startswith("/v1/internal"):
            return reply(json.dumps([{"Allow": True} for _ in json.loads(request.body)]))
        if "filter" in request.query and self.status != 200:
            return reply("Selector is not valid", self.status)
        chosen = request.query.get("filter")
        services = self.services if chosen is None else self.filters(self.services, chosen)
        return reply(json.dumps({"Node": {"Node": "n1"}, "Services": services}))


@pytest.fixture
def consul() -> Consul:
    return Consul()


@pytest.fixture
def server(consul: Consul) -> Iterator[Server]:
    with Server(consul) as server:
        yield server


def look(server: Server, services: tuple[Service, ...] = (GONE,), shown: Any = OTHERS) -> Any:
    """What the catalog's witness says."""
    looking = SecondLook(
        settings_from({}, address=server.address), "n1", lambda service: "app" in (service.tags or ()), lambda: shown
    )
    evidence = looking(Doubts(services=services, catalog=True))
    looking.close()
    assert set(evidence.agent_services) >= {"s0"}  # type: ignore[arg-type]  # no error
    return evidence.services


def reads(server: Server) -> list[str]:
    """Which services the catalog was asked for; "": all."""
    asked = [request for request in server.requests if request.path.startswith("/v1/catalog")]
    assert all("consistent" in request.query for request in asked)
    return [request.query.get("filter", "") for request in asked]


def test_of_many_services_those_in_doubt_are_asked_for_and_one_that_is_there(server: Server) -> None:
    assert set(look(server).ids) == {"s0"}
    assert reads(server) == [CHOSEN]


def test_what_is_there_after_all_is_seen(server: Server, consul: Consul) -> None:
    consul.services["gone"] = {"ID": "gone", "Service": "gone", "Tags": ["app"]}
    found = look(server)
    assert (set(found.ids), found.apps) == ({"gone", "s0"}, {"gone"})
    consul.services["gone"]["Tags"] = []
    assert look(server).apps == frozenset()
    assert reads(server) == [CHOSEN] * 2


@pytest.mark.parametrize("left", [{}, {"s1": 1}, {"gone": 1}], ids=["nothing", "another", "not the witness"])
def test_an_answer_without_the_one_that_is_there_proves_nothing_and_all_are_asked_for(
    server: Server, consul: Consul, left: dict[str, int]
) -> None:
    consul.services["gone"] = {"ID": "gone", "Service": "gone", "Tags": []}
    consul.filters = lambda services, chosen: {name: services[name] for name in left}
    assert len(look(server).ids) == second_look.MANY + 1
    assert reads(server) == [CHOSEN, ""]


def test_a_consul_that_knows_no_such_filter_is_asked_for_all(server: Server, consul: Consul) -> None:
    consul.status = 400
    assert len(look(server).ids) == second_look.MANY
    assert reads(server) == [CHOSEN, ""]


def test_a_consul_that_does_not_look_at_filters_answers_with_all(server: Server, consul: Consul) -> None:
    consul.filters = lambda services, chosen: services
    assert len(look(server).ids) == second_look.MANY
    assert reads(server) == [CHOSEN]


def test_a_denial_is_no_reason_to_ask_for_more(server: Server, consul: Consul) -> None:
    consul.status = 403
    assert isinstance(look(server), ConsulError)
    assert reads(server) == [CHOSEN]


@pytest.mark.parametrize(
    ("services", "shown"),
    [
        ((), OTHERS),
        ((GONE,), {"s1": OTHERS["s1"]}),
        (tuple(Service(f"g{number}", "g", ()) for number in range(second_look.FEW + 1)), OTHERS),
        ((Service('a" or ID != "', "g", ()),), OTHERS),
        ((Service("a\\", "g", ()),), OTHERS),
        ((GONE,), {f'"{name}"': service for name, service in OTHERS.items()}),
    ],
    ids=["none in doubt", "few at all", "many in doubt", "a quote", "a backslash", "no witness that can be named"],
)
def test_else_all_are_asked_for(server: Server, services: tuple[Service, ...], shown: Any) -> None:
    assert isinstance(look(server, services, shown), Read)
    assert reads(server) == [""]
