"""Tags that nearly are ours: a slip of the pen, or GoCast's names in another spelling. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable

from msgspec import Struct

from consulcast.model import IPAddress

_ALIKE = 0.8  # of difflib's ratio: one letter of ten, or two neighbours changed
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*")


class NearMiss(Struct, frozen=True):
    """A tag that is not read, and what was probably meant."""

    tag: str
    meant: str

    def __str__(self) -> str:
        return f"tag {self.tag!r} is not read: write {self.meant!r}"


def near_misses(tags: Iterable[str], prefix: str) -> tuple[NearMiss, ...]:
    """Find the tags that look like ours and are none."""
    enable = f"enable_{prefix}"
    fields = [f"{prefix}_{field}" for field in ("vip", "monitor", "nat", "vip_communities")]
    found = []
    for tag in tags:
        key, separator, value = tag.partition("=")
        if not separator and ":" in tag:
            key, separator, value = tag.partition(":")
        if tag == enable or (key.rstrip() in fields and separator == "="):
            continue
        plain = re.sub(r"[^a-z0-9]+", "_", key.strip().lower())
        alike = difflib.get_close_matches(plain, [enable, *fields], 1, _ALIKE)
        if alike:
            found.append(NearMiss(tag, enable if alike[0] == enable else f"{alike[0]}={value.strip()}"))
    return tuple(found)


def mentions(tag: str, address: IPAddress) -> bool:
    """Whether an address stands in a tag, in whatever notation."""
    for word in _ADDRESS.findall(tag.partition("=")[2] or tag):
        try:
            if ipaddress.ip_address(word.strip(":") if address.version == 4 else word) == address:
                return True
        except ValueError:
            continue
    return False
