"""A name from a tag is what its writer likes. It reaches no command, no rule, no label and no log line as it is."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consulcast import notation, tags
from consulcast.executor import addresses
from consulcast.executor.addresses import Addresses
from consulcast.executor.bgp import commands
from consulcast.executor.kernel import Kernel
from consulcast.executor.nat import nft, rules
from consulcast.journal import Journal
from consulcast.logtext import OneLine
from consulcast.model import App, AppKey, Intent, Reason, Refused, Source
from consulcast.planner import Defaults, plan
from consulcast.policy import Policy
from consulcast.registry import Registry
from tests.executor.bgp.values import NEXT_HOP4, peer

HOSTILE = [
    *("a\nb", "a\r\nINFO forged", '"; drop', "'; reboot; '", "$(reboot)", "`reboot`", "a;b", "a&b", "a|b", "a b"),
    *("\x1b[2J\x1b[31m", "\x9b2J", "\u202eevil", "\u2066x\u2069", "\0", "a\0b", "\ud800", "json", "#", "neighbor"),
    *("../../etc/passwd", "-rf", "--help", "%s%n", "{0}", "x" * 10_000, "\u2028", "\U000e0001", "größe", "}", "\\"),
]
TAGS = (
    *("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_vip=2001:db8:1::/128", "gocast_nat=tcp:53:8053"),
    *("gocast_monitor=exec:@check", "gocast_vip_communities=64512:1"),
)
PLAIN = "dns"


def intents(name: str) -> tuple[Intent, ...]:
    """Take a service of that name and id through all that is between the catalog and the host."""
    found = tags.parse(AppKey(Source.CONSUL, name), name, TAGS[:-2])
    if isinstance(found, Refused):
        assert len(name) > 256
        return ()
    assert isinstance(found, App)
    registered = Registry(Policy(nat=frozenset({4, 6}))).set(Source.CONSUL, [found])
    assert registered.apps == (found,)
    return tuple(plan(registered.apps, {}, Defaults(nat_to=(NEXT_HOP4,)), 0.0).intents.values())


@given(st.text(max_size=300))
@pytest.mark.parametrize("name", HOSTILE)
def test_no_command_and_no_rule_depends_on_a_name(name: str, text: str) -> None:
    for hostile in (name, text):
        ours, plain = intents(hostile), intents(PLAIN)
        for one, other in zip(ours, plain, strict=False):
            assert commands.announce(peer(), one.route) == commands.announce(peer(), other.route)
            assert nft.render(one.nats) == nft.render(other.nats)
            assert list(map(rules.written, one.nats)) == list(map(rules.written, other.nats))


@given(st.text(max_size=40))
@example("\ud800")
@example("lo")
@pytest.mark.parametrize("device", ["lo", "dummy-anycast0"])
@pytest.mark.parametrize("keeps_marks", [True, False])
def test_label_is_made_of_letters_digits_and_a_few_marks(device: str, keeps_marks: bool, name: str) -> None:
    kept = addresses._KEEPS_MARKS
    addresses._KEEPS_MARKS = keeps_marks
    try:
        labels = [Addresses(Kernel.__new__(Kernel), device)._label_for(text) for text in (name, *HOSTILE)]
    finally:
        addresses._KEEPS_MARKS = kept
    for label in labels:
        assert re.fullmatch(rf"(?:{device}:[A-Za-z0-9._-]+)?", label)
        assert len(label) <= 15


@given(st.text(max_size=300))
@pytest.mark.parametrize("name", HOSTILE)
def test_log_has_one_printable_line_an_event_whatever_the_name(name: str, text: str) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(OneLine().format(record))

    log, handler = logging.getLogger("consulcast.journal"), Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        for hostile in (name, text):
            key = AppKey(Source.CONSUL, hostile)
            app = App(key, hostile, (notation.vip("203.0.113.10/32"),), ignored=(f"gocast_{hostile}",))
            journal = Journal()
            journal.record(Registry(Policy()).set(Source.CONSUL, [app]), {})
            refused = Refused(key, hostile, Reason.BAD_TAG, f"tag {hostile!r}: {hostile}")
            journal.record(Registry(Policy()).set(Source.CONSUL, [], [refused]), {})
    finally:
        log.removeHandler(handler)
    assert len(lines) == 6
    assert all(line.isprintable() and len(line) < 5000 for line in lines)
    assert all(re.match(r"\S+ (INFO|WARNING) +consulcast\.journal app consul:", line) for line in lines)
