"""What the floor sees in Consul's answers, without decoding them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.floor import has_failed, has_tag


def catalog(*names: str, tags: tuple[str, ...] = ("enable_gocast",), indent: int | None = None) -> bytes:
    services = {
        name: {"ID": name, "Service": name, "Tags": list(tags) if name == "dns" else ["enable_gocast"], "Meta": {}}
        for name in names
    }
    return written({"Node": {"ID": "", "Meta": {}}, "Services": services}, indent)


def written(answer: object, indent: int | None) -> bytes:
    return json.dumps(answer, indent=indent, separators=(",", ":" if indent is None else ": ")).encode()


def check(service: str, status: str, output: str = "") -> dict[str, Any]:
    return {"Node": "h", "CheckID": f"service:{service}", "Status": status, "Output": output, "ServiceID": service}


def health(*checks: dict[str, Any], indent: int | None = None) -> bytes:
    return written(checks, indent)


def test_service_with_our_tag_is_seen_among_others() -> None:
    assert has_tag(catalog("app", "dns", "web"), "dns")
    assert has_tag(catalog("dns"), "dns")
    assert has_tag(catalog("app", "dns", "web", indent=4), "dns")


@pytest.mark.parametrize(
    "answer",
    [
        catalog("app", "dns-2"),
        catalog("app", "dns", "web", tags=("other",)),
        b"null",
        catalog("dns", "w", tags=(), indent=4),
    ],
)
def test_service_that_is_not_there_or_has_no_tag_of_ours_is_none(answer: bytes) -> None:
    assert not has_tag(answer, "dns")


def test_check_of_the_service_that_does_not_pass_is_seen() -> None:
    assert has_failed(health(check("app", "passing"), check("dns", "critical"), check("web", "passing")), "dns")
    assert has_failed(health(check("dns", "passing"), check("dns", "warning")), "dns")
    assert has_failed(health(check("app", "passing"), check("dns", "critical"), indent=4), "dns")
    assert not has_failed(health(check("app", "critical"), check("dns", "passing"), indent=4), "dns")


def test_checks_of_others_and_words_in_an_output_are_not_taken_for_it() -> None:
    others = health(check("app", "critical"), check("dns", "passing", '"Status":"critical"'), check("web", "critical"))
    assert not has_failed(others, "dns")
    assert not has_failed(health(), "dns")
