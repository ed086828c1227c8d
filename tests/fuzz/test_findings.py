"""What fuzzing has found: each case that once ended badly, and how it ends now. docs/security-testing.md lists them."""

from __future__ import annotations

import json

import pytest

from tests.fuzz.every import TARGETS
from tests.fuzz.wire import HEADERS, SESSION, message

OK = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\n"
DEEP = b"[" * 3000
STATE = b'{"version":1,"registrations":[%s]}'
FOUND = {
    "a chunk longer than memory": (
        "consul",
        b"\0" + OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"9" * 20,
        "garbage",
    ),
    "a body longer than memory": (
        "consul",
        b"\0" + OK + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n{}",
        "garbage",
    ),
    "a chunk as long as no memory": (
        "consul",
        b"\0" + OK + b"Transfer-Encoding: chunked\r\n\r\n0fffffffffffffff\r\n",
        "unreachable",
    ),
    "a redirect that is not UTF-8": ("consul", b"\2HTTP/1.1 301 Moved\r\nLocation: /\xf3\r\n\r\n", "rejected"),
    "a status line of 60 KB": ("consul", b"\4HTTP/1" + b"[" * 60_000 + b"\r\n\r\n", "unreachable"),
    "a body nested too deeply": ("consul", b"\0" + HEADERS + b'{"Node":null,"Other":' + DEEP, "garbage"),
    "an event without an object": ("events", b'{"type":1,"neighbor":{"address":{"peer":"::1"}}}', "ValueError"),
    "a negotiation nested too deeply": ("events", DEEP, "ValueError"),
    "a session older than any number": (
        "events",
        json.dumps([{**SESSION, "duration": 10**400}]).encode(),
        "ValueError",
    ),
    "counts that are none": (
        "events",
        json.dumps([{**SESSION, "messages": {"sent": {"open": "x"}}}]).encode(),
        "ValueError",
    ),
    "counts in a list": ("events", json.dumps([{**SESSION, "messages": []}]).encode(), "ValueError"),
    "a part of a table that is none": ("events", b'{"table":"::1","part":"x","parts":[],"routes":{}}', "ValueError"),
    "a file nested too deeply": ("state", STATE % DEEP, "ValueError"),
    "a timestamp that is none": ("config", b"bgp: !!timestamp soon\n", "ConfigError"),
    "a boolean that is none": ("config", b"bgp: !!bool perhaps\n", "ConfigError"),
    "a number without digits": ("config", b"bgp: !!int ''\n", "ConfigError"),
    "a message of no length": ("kernel", bytes(16), "OSError"),
    "a listener cut short": ("kernel", message(20, bytes(50)), "OSError"),
    "a device cut short": ("kernel", message(16, bytes(12)), "OSError"),
    "an address cut short": ("kernel", message(20, bytes(4)), "OSError"),
    "an error that is no number of errno": ("kernel", message(2, bytes([0, 0, 0, 128])), "OSError"),
    "an error cut short": ("kernel", message(2, b""), "OSError"),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_once_ended_badly_ends_as_documented(what: str) -> None:
    target, case, end = FOUND[what]
    assert TARGETS[target].once(case) == end


def test_state_file_nested_to_any_depth_is_read_or_refused() -> None:
    for depth in range(800, 1010):  # somewhere there the file can just be read, and the entry alone cannot
        entry = b'{"registration":{"new":' + b"[" * depth + b"]" * depth + b"}}"
        assert TARGETS["state"].once(STATE % entry) in ("ValueError", "0 held, 1 kept unread")
