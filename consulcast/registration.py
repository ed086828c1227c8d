"""What is asked for over HTTP, in the words it was written in, and those words as an app."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Struct

from consulcast import notation
from consulcast.model import App, AppKey, Source
from consulcast.notation import BadValue

T = TypeVar("T")

MAX_NAME = 128  # characters
MAX_TEXT = 4096  # characters of one value
MAX_VALUES = 64  # VIPs of an app; the same for monitors, NAT rules and texts of communities
TTL_MIN, TTL_MAX = 1.0, 365 * 24 * 3600.0  # seconds

# Line ends and terminal codes would forge log lines; a lone surrogate cannot be written out again.
_CONTROL = {"Cc", "Cs", "Zl", "Zp"}


class Registration(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An app as it was asked for. The texts are kept, not their values, so that another version can read them anew."""

    name: str
    vips: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()
    nats: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()  # each a comma-separated list
    ttl: str = ""  # a duration; empty: until it is unregistered

    @classmethod
    def of(cls, app: App) -> Registration:
        """Write an app of any source in these words."""
        return cls(
            name=app.name,
            vips=tuple(map(str, app.vips)),
            monitors=tuple(map(str, app.monitors)),
            nats=tuple(f"{rule.protocol}:{rule.listen_port}:{rule.dest_port}" for rule in app.nats),
            communities=tuple(map(str, app.communities)),
        )

    @property
    def lifetime(self) -> float | None:
        """Seconds until it lapses unless it is renewed; ``None``: never. Raises ``BadValue``."""
        if not self.ttl:
            return None
        seconds = notation.duration(self.ttl)
        if not TTL_MIN <= seconds <= TTL_MAX:
            raise BadValue(f"ttl {self.ttl!r}: write a duration from 1s to 8760h")
        return seconds

    def app(self) -> App:
        """Read the texts. Raises ``BadValue``."""
        check_name(self.name)
        if not self.vips:
            raise BadValue("vip is missing: write address/length, such as 203.0.113.10/32")
        _ = self.lifetime
        communities = _each("vip_communities", self.communities, notation.communities)
        return App(
            key=AppKey(Source.HTTP, self.name),
            name=self.name,
            vips=_unique(_each("vip", self.vips, notation.vip)),
            monitors=_unique(_each("monitor", self.monitors, notation.monitor)),
            nats=_unique(_each("nat", self.nats, notation.nat)),
            communities=tuple(sorted({item for group in communities for item in group})),
        )


def check_name(name: str) -> None:
    """Raise ``BadValue`` unless ``name`` can name an app: 1 to 128 printable characters."""
    if not name:
        raise BadValue("name is missing")
    if len(name) > MAX_NAME or not name.isprintable():
        shown = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
        raise BadValue(f"name {shown!r}: use at most {MAX_NAME} printable characters")


def _each(what: str, texts: tuple[str, ...], read: Callable[[str], T]) -> list[T]:
    if len(texts) > MAX_VALUES:
        raise BadValue(f"{what}: {len(texts)} are given, at most {MAX_VALUES} are taken")
    for text in texts:
        if not text:
            raise BadValue(f"{what} is empty: give a value, or leave it out")
        if len(text) > MAX_TEXT or any(unicodedata.category(character) in _CONTROL for character in text):
            raise BadValue(f"{what} {text[:80]!r}: use at most {MAX_TEXT} characters, none of them a control character")
    return [read(text) for text in texts]


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
