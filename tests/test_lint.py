"""What is found wrong with tags, before they are registered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import tags
from consulcast.definitions import Service, Tag
from consulcast.lint import Finding, lint
from consulcast.model import App, AppKey, Source
from consulcast.policy import Policy, judge

GOOD = ("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=consul", "gocast_nat=udp:53:8053")
POLICY = Policy(nat=frozenset({4, 6}))


def found(*texts: str, computed: bool = False, prefix: str = "gocast") -> list[Finding] | None:
    marks = tuple(Tag(text, number, "${" not in text) for number, text in enumerate(texts, 1))
    return lint(Service("dns", 1, marks, computed), POLICY, prefix)


def codes(*texts: str, computed: bool = False) -> list[tuple[int, str]]:
    findings = found(*texts, computed=computed)
    assert findings is not None
    return [(finding.line, finding.code) for finding in findings]


def test_good_tags_have_no_findings() -> None:
    assert codes(*GOOD) == []
    assert codes(*GOOD, "traefik.enable=true", "primary", "v1.2.3", "enable_metrics", "vip=1") == []


def test_services_that_are_not_ours_are_left_alone() -> None:
    assert found() is None
    assert found("traefik.enable=true", "primary", "monitor", "enable", "vip", "http", "broadcast=yes") is None


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("gocast-vip=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast.vip=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast_vip:203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("GoCast_Vip=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocats_vip=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast_vips=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast_moniter=Consul", "gocast_monitor=Consul"),
        ("gocast_communities=1:2", "gocast_vip_communities=1:2"),
        ("enable-gocast", "enable_gocast"),
        ("enable_gocast=true", "enable_gocast"),
        ("Enable_GoCast", "enable_gocast"),
        ("gocast_enable", "enable_gocast"),
        (" enable_gocast", "enable_gocast"),
        ("gocast_weight=5", "one of gocast_vip=…"),
    ],
)
def test_what_looks_like_a_tag_of_ours_is_named_with_what_it_should_be(tag: str, meant: str) -> None:
    findings = found(tag, *GOOD)
    assert findings is not None
    (finding,) = findings
    assert (finding.line, finding.code, finding.tag) == (1, "unknown-tag", tag)
    assert f"write {meant}" in finding.message


def test_tags_without_the_one_that_enables_them() -> None:
    assert codes(*GOOD[1:]) == [(1, "not-enabled")]
    assert codes("enable-gocast", *GOOD[1:]) == [(1, "unknown-tag")]
    assert codes(*GOOD[1:], computed=True) == []


def test_every_bad_tag_is_found_at_its_line_with_the_daemons_code() -> None:
    tags = ("gocast_vip=1.2.3.4", "gocast_monitor=port:tcp:0", "gocast_monitor=exec:true", "gocast_nat=tcp:80:22")
    assert codes("enable_gocast", *tags) == [
        (2, "bad-tag"),
        (3, "bad-tag"),
        (4, "monitor-not-allowed"),
        (5, "nat-not-allowed"),
    ]
    assert codes("enable_gocast", "gocast_vip=127.0.0.1/32", "gocast_monitor=consul") == [(2, "vip-not-allowed")]
    assert codes("enable_gocast", "gocast_vip") == [(2, "bad-tag")]


def test_a_missing_vip_is_told_once() -> None:
    assert codes("enable_gocast", "gocast_monitor=consul") == [(1, "bad-tag")]
    assert codes("enable_gocast", "gocast-vip=203.0.113.1/32") == [(2, "unknown-tag")]


def test_what_is_put_together_later_is_no_finding_and_hides_none() -> None:
    findings = found("enable_gocast", "gocast_vip=${vip}", "gocast_monitor=nonsense")
    assert findings is not None
    assert [(finding.code, finding.wrong) for finding in findings] == [("computed", False), ("bad-tag", True)]
    assert codes("enable_gocast", computed=True) == []


def test_a_blank_before_a_tag_is_found_as_the_daemon_does_not_read_it() -> None:
    findings = found(*GOOD, " gocast_monitor=consul")
    assert findings is not None
    assert [(finding.code, finding.message) for finding in findings] == [
        ("unknown-tag", "it means nothing: write gocast_monitor=consul")
    ]
    app = tags.parse(AppKey(Source.CONSUL, "dns"), "dns", [*GOOD[:2], " gocast_nat=udp:53"])
    assert isinstance(app, App)
    assert (app.nats, app.ignored) == ((), (" gocast_nat=udp:53",))


def test_another_prefix() -> None:
    assert found("enable_any_cast", "any_cast_vip=203.0.113.1/32", prefix="any_cast") == []
    assert found(*GOOD, prefix="any_cast") is None
    findings = found("enable_any_cast", "any-cast-vip=203.0.113.1/32", prefix="any_cast")
    assert findings is not None
    assert "write any_cast_vip=203.0.113.1/32" in findings[0].message


def test_a_password_in_a_tag_is_not_shown() -> None:
    findings = found(*GOOD, "gocast_monitor=http:http://u:secret@h/")
    assert "secret" not in str(findings)


_TAGS = st.sampled_from(
    [*GOOD, "gocast_vip=1", "gocast_nat=x", "gocast_vip=10.0.0.0/24", "gocast_vip_communities=65535:666", "other", ""]
)


@given(st.lists(_TAGS, max_size=8))
def test_there_is_something_to_mend_exactly_when_the_daemon_would_refuse_it(texts: list[str]) -> None:
    texts = ["enable_gocast", *texts]
    app = tags.parse(AppKey(Source.CONSUL, "dns"), "dns", texts)
    taken = isinstance(app, App) and judge(app, POLICY) is None
    assert (found(*texts) == []) is taken
