"""Monitors as tags, URLs and the configuration file write them: ``port:tcp:53;fall=3;interval=1s``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from consulcast import notation
from consulcast.masking import masked
from consulcast.model import MonitorSpec
from consulcast.monitors import targets
from consulcast.notation import BadValue

KINDS = ("port", "exec", "consul", "http", "tcp", "dns")
COMMON = ("interval", "timeout", "rise", "fall")
OWN = {"port": ("address",), "http": ("status", "host", "verify"), "dns": ("port",)}  # options of one kind alone

_INTERVAL, _TIMEOUT = (0.1, 86400.0), (0.01, 300.0)  # seconds: shortest and longest
_MOST_LOOKS = 100
_LONGEST = 8192  # characters

# A shell command may hold `;` anywhere. An assignment to one of our names at its very end does nothing in a shell.
_LAST_OPTION = re.compile(rf"^(?P<rest>.*?)\s*;\s*(?P<name>{'|'.join(COMMON)})=(?P<value>[\w.+-]*)$", re.DOTALL)


def read(written: str | Mapping[str, object]) -> MonitorSpec:
    """Read a monitor: ``KIND:TARGET;option=value…``, or a mapping of ``monitor`` and the options.

    Raises ``BadValue``.
    """
    try:
        if isinstance(written, str):
            return _spec(written.strip(), {})
        options = {name: _text(value) for name, value in written.items() if name != "monitor"}
        text = written.get("monitor")
        if not isinstance(text, str):
            raise BadValue(
                "the key 'monitor' is missing: write {monitor: 'port:tcp:53', interval: 1s}; "
                "a text that holds a colon and a space stands in quotes"
            )
        return _spec(text.strip(), options)
    except BadValue as error:
        quoted = written if isinstance(written, str) else written.get("monitor", dict(written))
        raise BadValue(masked(f"monitor {quoted!r}: {error}")) from None


def _spec(text: str, options: dict[str, str]) -> MonitorSpec:
    if len(text) > _LONGEST or "\0" in text or _not_utf8(text):
        raise BadValue(f"write at most {_LONGEST} characters, none of them NUL or half of a surrogate pair")
    kind = text.partition(":")[0].partition(";")[0].strip()
    if kind not in KINDS:
        raise BadValue(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    rest, found = _split_command(text) if kind == "exec" else _split(text)
    for name, value in found:
        if name in options:
            raise BadValue(f"{name} is written twice: keep one of the two")
        options[name] = value
    colon, target = rest.partition(":")[1:]
    target = target.strip()
    if kind == "consul" and (target or colon):
        raise BadValue("`consul` takes no argument; it watches the service's own checks")
    if kind == "consul" and options:
        raise BadValue(
            "`consul` takes no options: its events need no polling, and a check in Consul has thresholds of its own "
            "(success_before_passing, failures_before_critical)"
        )
    if kind != "consul" and not target:
        raise BadValue(f"nothing follows `{kind}:`")
    known = (*COMMON, *OWN.get(kind, ()))
    for name in options:
        if name not in known:
            hint = "; a `;` in a URL is written %3B" if kind == "http" else ""
            raise BadValue(f"option {name!r} is not one of {', '.join(known)}{hint}")
    spec = MonitorSpec(
        kind,
        target,
        interval=_seconds("interval", options, _INTERVAL),
        timeout=_seconds("timeout", options, _TIMEOUT),
        rise=_count("rise", options),
        fall=_count("fall", options),
        options=tuple(sorted((name, value) for name, value in options.items() if name not in COMMON)),
    )
    targets.check(spec)
    return spec


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    rest, *words = text.split(";")
    found = []
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not value:
            raise BadValue(f"{word.strip()!r} is not option=value, such as interval=1s")
        found.append((name, value))
    return rest, found


def _split_command(text: str) -> tuple[str, list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []
    while match := _LAST_OPTION.match(text):
        text = match["rest"]
        found.append((match["name"], match["value"]))
    return text, found


def _seconds(name: str, options: Mapping[str, str], limits: tuple[float, float]) -> float | None:
    if name not in options:
        return None
    seconds = round(notation.duration(options[name]), 3)
    if not limits[0] <= seconds <= limits[1]:
        raise BadValue(f"{name}={options[name]}: write a time from {limits[0]:g}s to {limits[1]:g}s")
    return seconds


def _count(name: str, options: Mapping[str, str]) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= _MOST_LOOKS):
        raise BadValue(f"{name}={text}: write a number of looks from 1 to {_MOST_LOOKS}")
    return int(text)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _not_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
