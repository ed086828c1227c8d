"""Puts a NOTIFICATION message into words (RFC 4271 section 4.5 and those that added to it)."""

from __future__ import annotations

import re

_CODES = {
    1: ("message header error", {1: "connection not synchronised", 2: "bad message length", 3: "bad message type"}),
    2: (
        "OPEN message error",
        {
            1: "unsupported version",
            2: "bad peer AS",
            3: "bad BGP identifier",
            4: "unsupported optional parameter",
            6: "unacceptable hold time",
            7: "unsupported capability",
            11: "role mismatch",
        },
    ),
    3: (
        "UPDATE message error",
        {1: "malformed attribute list", 8: "invalid NEXT_HOP attribute", 11: "malformed AS_PATH"},
    ),
    4: ("hold timer expired", {}),
    5: ("finite state machine error", {}),
    6: (
        "cease",
        {
            1: "maximum number of prefixes reached",
            2: "administrative shutdown",
            3: "peer de-configured",
            4: "administrative reset",
            5: "connection rejected",
            6: "other configuration change",
            7: "connection collision",
            8: "out of resources",
            10: "BFD down",
        },
    ),
    7: ("ROUTE-REFRESH message error", {}),
}
_BAD_PEER_AS = (2, 2)
_CEASE = 6
_WITH_REASON = (2, 4)  # subcodes of Cease that carry the operator's words, RFC 9003


def describe(body: bytes) -> str:
    """Describe the body of a NOTIFICATION, which is at least two bytes: its code, subcode and data."""
    code, subcode, data = body[0], body[1], body[2:]
    name, subnames = _CODES.get(code, ("unknown error", {}))
    words = ", ".join(filter(None, (name, subnames.get(subcode, ""))))
    reason = _reason(data) if code == _CEASE and subcode in _WITH_REASON else ""
    if (code, subcode) == _BAD_PEER_AS:
        reason = _peer_as(data)
    return f"{words} ({code}/{subcode})" + (f": {reason}" if reason else "")


def _peer_as(data: bytes) -> str:
    """The AS that the OPEN had: RFC 4271 leaves the data open; ExaBGP writes a sentence there, BIRD the number."""
    said = re.search(rb"ASN in OPEN \((\d{1,10})\)", data)
    if said:
        return f"AS {int(said[1])}"
    return f"AS {int.from_bytes(data)}" if len(data) in (2, 4) else ""


def _reason(data: bytes) -> str:
    text = data[1 : 1 + data[0]].decode("utf-8", "replace") if data else ""
    return "".join(character for character in text if character.isprintable())
