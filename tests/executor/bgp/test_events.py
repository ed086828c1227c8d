from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest

from consulcast.executor.bgp import events, notification
from consulcast.executor.bgp.sums import Sum

PEER = ip_address("198.51.100.2")
HEAD = '{ "exabgp": "5.0.0", "time": 1, "host" : "vm", "pid" : 1, "ppid" : 2, "counter": 2, '
NEIGHBOR = (
    '"neighbor": { "address": { "local": "198.51.100.1", "peer": "198.51.100.2" }, '
    '"asn": { "local": 1, "peer": 2 }, "router-id": "198.51.100.1" '
)


def line(kind: str, content: str) -> bytes:
    """A line as ExaBGP 5.0.15 writes it."""
    return f'{HEAD}"type": "{kind}", {NEIGHBOR}, {content} }} }}'.encode()


def test_acknowledgements_are_bare_words() -> None:
    assert events.parse(b"done") == events.Acknowledged(True)
    assert events.parse(b"error") == events.Acknowledged(False)


def test_the_answer_to_a_nudge_is_told_from_other_acknowledgements() -> None:
    assert events.parse(b"exabgp 5.0.15") == events.Nudged()


def test_state_events_are_up_and_down() -> None:
    assert events.parse(line("state", '"state": "up"')) == events.Up(PEER)
    down = line("state", '"state": "down", "reason": "closing connection"')
    assert events.parse(down) == events.Down(PEER, "closing connection")


def test_connected_is_no_news_because_refused_attempts_tell_it_too() -> None:
    assert events.parse(line("state", '"state": "connected"')) is None


def test_negotiated_families_are_ip_versions() -> None:
    content = '"negotiated": { "message_size": 4096, "families": ["ipv4 unicast", "ipv6 unicast", "ipv4 multicast"] } '
    assert events.parse(line("negotiated", content)) == events.Negotiated(PEER, frozenset({4, 6}))


def test_a_notification_is_put_into_words() -> None:
    content = '"direction": "receive", "message": { "category": 3, "header": "0xFF", "body": "0x0202FDE9" } '
    assert events.parse(line("notification", content)) == events.Notified(
        PEER, "received OPEN message error, bad peer AS (2/2): AS 65001"
    )


def test_the_operators_words_in_a_shutdown_are_told() -> None:
    assert notification.describe(b"\x06\x02\x09back soon") == "cease, administrative shutdown (6/2): back soon"


def test_an_unknown_notification_has_its_numbers_told() -> None:
    assert notification.describe(b"\x2a\x07") == "unknown error (42/7)"


def test_the_operators_words_cannot_break_a_log_line() -> None:
    assert notification.describe(b"\x06\x04\x04a\nb\xff") == "cease, administrative reset (6/4): ab\ufffd"


def test_exabgps_own_shutdown_is_no_news() -> None:
    assert events.parse((HEAD + '"type": "notification", "notification": "shutdown" }').encode()) is None


def test_a_snapshot_takes_the_state_of_the_machine_not_the_late_summary() -> None:
    families = {"ipv4 unicast": True, "ipv6 unicast": True}

    def session(peer: str, fsm: str, state: str, duration: int) -> dict[str, object]:
        return {
            "fsm": fsm,
            "state": state,
            "duration": duration,
            "families": ["ipv4 unicast"],
            "peer": {"address": peer, "as": 65010},
            "local": {"address": "198.51.100.1", "as": 65001, "id": "198.51.100.9", "hold": 30, "families": families},
        }

    def configured(peer: str) -> events.Configured:
        told = ip_address(peer), 65010, 65001, ip_address("198.51.100.1"), ip_address("198.51.100.9")
        return events.Configured(*told, 30, frozenset({4, 6}))

    told = [
        session("198.51.100.2", "ESTABLISHED", "down", 77),  # in its first second
        session("198.51.100.3", "ESTABLISHED", "up", 5),
        session("2001:db8::2", "CONNECT", "down", 7),
    ]
    assert events.parse(json.dumps(told).encode()) == events.Snapshot(
        (
            events.Session(PEER, True, 0.0, frozenset({4}), configured("198.51.100.2")),
            events.Session(ip_address("198.51.100.3"), True, 5.0, frozenset({4}), configured("198.51.100.3")),
            events.Session(ip_address("2001:db8::2"), False, 0.0, frozenset({4}), configured("2001:db8::2")),
        )
    )


@pytest.mark.parametrize("wild", [b"", b"don", b"{}", b"[{}]", b"7", b'"x"', b"\xff\xfe", b'{"type": "state"'])
def test_what_is_not_understood_is_an_error_of_one_kind(wild: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        events.parse(wild)


def test_a_part_of_a_table_is_read_with_the_commands_that_made_it() -> None:
    told = {
        "table": "198.51.100.2",
        "part": 1,
        "parts": 3,
        "routes": {"203.0.113.1/32": "announce route", "::1/128": ""},
    }
    assert events.parse(json.dumps(told).encode()) == events.Table(
        PEER, 1, 3, {ip_network("203.0.113.1/32"): "announce route", ip_network("::1/128"): ""}
    )


def test_the_sum_of_a_table_is_read() -> None:
    told = {"table": "198.51.100.2", "count": 2, "sum": 5_000_000_000}
    assert events.parse(json.dumps(told).encode()) == events.TableSum(PEER, Sum(2, 5_000_000_000))


def test_a_foreign_prefix_with_host_bits_is_read_all_the_same() -> None:
    told = {"table": "198.51.100.2", "part": 0, "parts": 1, "routes": {"203.0.113.9/24": ""}}
    table = events.parse(json.dumps(told).encode())
    assert isinstance(table, events.Table)
    assert list(table.routes) == [ip_network("203.0.113.0/24")]
