from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from consulcast.consul.answers import CATALOG_NODE, CHECKS, Catalog, Health


def catalog(count: int = 100, *, changed: int = -1, index: int = 1, **node: Any) -> bytes:
    tags = [["enable_gocast", f"gocast_vip=203.0.113.{number}/32"] for number in range(count)]
    if changed >= 0:
        tags[changed].append("changed")
    services = {
        f"web-{number}": {"ID": f"web-{number}", "Service": "web", "Tags": tags[number], "CreateIndex": number}
        for number in range(count)
    }
    return json.dumps({"Node": {"Node": "n1", "ModifyIndex": index, **node}, "Services": services}).encode()


def health(count: int = 100, *, failing: int = -1) -> bytes:
    return json.dumps(
        [
            {
                "CheckID": f"service:{n}",
                "ServiceID": str(n),
                "Output": "." * 50,
                "Status": "critical" if n == failing else "passing",
            }
            for n in range(count)
        ]
    ).encode()


@pytest.mark.parametrize("count", [1, 100])
def test_what_is_read_is_what_the_answer_says(count: int) -> None:
    one, two = Catalog(), Health()
    for body in (catalog(count), catalog(count, changed=0), catalog(count, index=2), catalog(count, Node="n2")):
        assert one.decode(body) == CATALOG_NODE.decode(body)
    for body in (health(count), health(count, failing=0), health(0), b"null", health(count)):
        assert two.decode(body) == CHECKS.decode(body)


def test_services_that_did_not_change_are_the_same_objects() -> None:
    reader = Catalog()
    former = reader.decode(catalog())
    now = reader.decode(catalog(changed=50))
    assert former is not None
    assert now is not None
    assert former.services
    assert now.services
    assert [name for name in now.services if now.services[name] is not former.services[name]] == ["web-50"]


def test_services_that_did_not_change_are_the_same_objects_though_the_node_did() -> None:
    reader = Catalog()
    former = reader.decode(catalog())
    now = reader.decode(catalog(Node="n2"))
    assert former is not None
    assert now is not None
    assert now.node is not None
    assert (now.node.name, now.services is former.services) == ("n2", True)


def test_checks_that_did_not_change_are_the_same_objects() -> None:
    reader = Health()
    former = reader.decode(health()) or ()
    now = reader.decode(health(failing=50)) or ()
    assert [check.id for check, other in zip(now, former, strict=True) if check is not other] == ["service:50"]


def test_answer_that_did_not_change_is_the_same_object() -> None:
    catalogs, checks = Catalog(), Health()
    assert catalogs.decode(catalog()) is catalogs.decode(catalog())
    assert checks.decode(health()) is checks.decode(health())


@pytest.mark.parametrize("body", [b"null", b'{"Node":null,"Services":null}', catalog(0), catalog(1)])
def test_a_short_catalog_after_a_long_one_and_a_long_one_again(body: bytes) -> None:
    reader = Catalog()
    for some in (catalog(), body, catalog(), catalog(changed=3)):
        assert reader.decode(some) == CATALOG_NODE.decode(some)


def test_services_may_become_null_beside_a_long_node() -> None:
    reader, meta = Catalog(), {"note": "x" * 10_000}
    full, empty = catalog(Meta=meta), catalog(0, Meta=meta)
    for body in (full, empty, empty.replace(b"{}", b"null"), full):
        assert reader.decode(body) == CATALOG_NODE.decode(body)


def test_services_that_stand_before_their_node_are_read_as_well() -> None:
    reader = Catalog()
    for changed in (5, 6):
        said = json.loads(catalog(changed=changed))
        body = json.dumps({"Services": said["Services"], "Node": said["Node"]}).encode()
        assert reader.decode(body) == CATALOG_NODE.decode(body)


@pytest.mark.parametrize("cut", [1, 2, 3, 5000])
def test_answer_that_was_cut_short_is_refused_and_the_next_is_read(cut: int) -> None:
    catalogs, checks = Catalog(), Health()
    catalogs.decode(catalog())
    checks.decode(health())
    with pytest.raises(msgspec.DecodeError):
        catalogs.decode(catalog(changed=1)[:-cut])
    with pytest.raises(msgspec.DecodeError):
        checks.decode(health(failing=1)[:-cut])
    assert catalogs.decode(catalog(changed=1)) == CATALOG_NODE.decode(catalog(changed=1))
    assert checks.decode(health(failing=1)) == CHECKS.decode(health(failing=1))


def test_a_text_that_many_services_or_checks_have_is_held_once() -> None:
    said = Catalog().decode(catalog())
    assert said is not None
    assert said.services
    tags = [service.tags for service in said.services.values() if service.tags]
    assert len({id(some[0]) for some in tags}) == 1
    assert len({id(check.status) for check in Health().decode(health(count=100)) or ()}) == 1
