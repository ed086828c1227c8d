"""JSON as it is handed out, whatever the names in it are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


def encode(value: Any) -> bytes:
    r"""Write a value as JSON.

    A name from Consul may hold half of a surrogate pair, as JSON can write one, and UTF-8 cannot hold it. It is
    written as the log shows it: as the characters ``\ud800``.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(msgspec.to_builtins(value)))


def pieces(values: Iterable[Any]) -> list[msgspec.Raw]:
    """Write values one by one, others get their turn meanwhile; what comes of it is a list for ``encode``."""
    from consulcast.hub import in_turns  # late: what is written on a terminal needs no hub

    return [msgspec.Raw(encode(value)) for value in in_turns(values)]


def _whole(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
    return value
