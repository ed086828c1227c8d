"""The tags of a Consul service as an app."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from consulcast import notation
from consulcast.masking import masked
from consulcast.model import App, AppKey, Reason, Refused
from consulcast.notation import BadValue

DEFAULT_PREFIX = "gocast"
MOST_VALUES = 64  # tags of one kind
_LONGEST_TAG = 8192 + 64  # characters; a monitor may have 8192
_LONGEST_NAME = 256  # characters of a service's name, and of its id
_SHOWN = 200  # characters of a tag in a message
_MOST_IGNORED = 8


def parse(key: AppKey, name: str, tags: Sequence[str], prefix: str = DEFAULT_PREFIX) -> App | Refused | None:
    """Read a service's tags.

    Returns ``None`` without ``enable_<prefix>``: nothing else is looked at then. A tag that cannot be read refuses
    the whole app: announcing it without that monitor, NAT rule or community would be worse than not at all.
    """
    if f"enable_{prefix}" not in tags:
        return None
    if max(len(key.id), len(name)) > _LONGEST_NAME:
        key = AppKey(key.source, _short(key.id))  # nobody wants the rest of it in every line about it
        detail = f"the service's name and id may have at most {_LONGEST_NAME} characters each"
        return Refused(key, _short(name), Reason.BAD_TAG, detail)
    values: dict[str, list[str]] = {"vip": [], "monitor": [], "nat": [], "vip_communities": []}
    unknown = []
    tag = ""
    try:
        for tag in tags:
            field, equals, value = tag.partition("=")
            field = field.strip().removeprefix(f"{prefix}_") if field.startswith(f"{prefix}_") else ""
            if field in values:
                if not equals or not value.strip():
                    raise BadValue(f"no value: write {prefix}_{field}=…")
                if len(tag) > _LONGEST_TAG:
                    raise BadValue(f"it has {len(tag)} characters, at most {_LONGEST_TAG} are taken")
                if len(values[field]) == MOST_VALUES:
                    raise BadValue(f"more than {MOST_VALUES} tags of {prefix}_{field} are not taken")
                values[field].append(value.strip())
            elif tag.lstrip().startswith(prefix):
                unknown.append(tag)
        tag = f"{prefix}_vip"
        if not values["vip"]:
            raise BadValue(f"missing: write {prefix}_vip=address/length")
        parsed: dict[str, list[Any]] = {}
        for field, read in _READERS.items():
            parsed[field] = []
            for value in values[field]:
                tag = f"{prefix}_{field}={value}"
                parsed[field].append(read(value))
    except BadValue as error:
        what = f"tag {_short(masked(tag))!r}: {_short(masked(str(error)), 3 * _SHOWN)}"
        return Refused(key, name, Reason.BAD_TAG, what)
    return App(
        key=key,
        name=name,
        vips=tuple(dict.fromkeys(parsed["vip"])),
        monitors=tuple(dict.fromkeys(parsed["monitor"])),
        nats=tuple(dict.fromkeys(parsed["nat"])),
        communities=tuple(sorted({item for group in parsed["vip_communities"] for item in group})),
        ignored=tuple(map(_short, sorted(unknown)[:_MOST_IGNORED])),
    )


def _short(text: str, longest: int = _SHOWN) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


_REMEMBERED = 256  # values; many apps have the same monitor and communities, and share them
_READERS: Mapping[str, Callable[[str], Any]] = {
    "vip": notation.vip,
    "monitor": lru_cache(_REMEMBERED)(notation.monitor),
    "nat": notation.nat,
    "vip_communities": lru_cache(_REMEMBERED)(notation.communities),
}
