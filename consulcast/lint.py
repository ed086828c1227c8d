"""What is wrong with a service's tags, before anybody registers it. Pure.

The rules are those of the daemon (``tags``, ``policy``), asked about each tag alone, so that each finding has its line.
What is added are tags that look like ours and are none: the daemon must pass over them, as they may be somebody's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from msgspec import Struct

from consulcast import tags
from consulcast.definitions import Service, Tag
from consulcast.masking import masked
from consulcast.model import App, AppKey, Reason, Refused, Source
from consulcast.policy import Policy, judge
from consulcast.values import replace

UNKNOWN_TAG, NOT_ENABLED = "unknown-tag", "not-enabled"
COMPUTED = "computed"  # no finding: it is put in later, and nobody knows it here

_FIELDS = ("vip", "monitor", "nat", "vip_communities")
_LIKE = {
    **{"vips": "vip", "address": "vip", "ip": "vip", "monitors": "monitor", "check": "monitor", "checks": "monitor"},
    **{"nats": "nat", "community": "vip_communities", "communities": "vip_communities"},
    **{"vip_community": "vip_communities", "bgp_communities": "vip_communities"},
}
_CLOSE = 0.75  # of difflib's ratio
_SOME_VIP = "203.0.113.1/32"  # stands for one that is not known here


class Finding(Struct, frozen=True):
    """Something to mend, or (``COMPUTED``) that cannot be checked. ``code`` is stable, as the daemon's reasons are."""

    line: int
    service: str
    tag: str
    code: str
    message: str

    @property
    def wrong(self) -> bool:
        """Whether there is something to mend."""
        return self.code != COMPUTED


def lint(service: Service, policy: Policy, prefix: str = tags.DEFAULT_PREFIX) -> list[Finding] | None:
    """Check one service. ``None``: no tag of it is ours, or looks like it."""
    enable, ours = f"enable_{prefix}", []
    misspelt: dict[Tag, str] = {}
    for tag in service.tags:
        if tag.text == enable or _field(tag.text, prefix):
            ours.append(tag)
        elif meant := _meant(tag.text, prefix):
            misspelt[tag] = meant
    if not ours and not misspelt:
        return None
    found = [
        Finding(tag.line, service.name, tag.text, UNKNOWN_TAG, f"it means nothing: write {meant}")
        for tag, meant in misspelt.items()
    ]
    enabled = any(tag.text == enable for tag in ours)
    if not enabled and not service.computed and enable not in misspelt.values():
        found.append(
            Finding(service.line, service.name, enable, NOT_ENABLED, f"no tag means anything without {enable}")
        )
    values = [tag for tag in ours if tag.text != enable]
    known = [tag for tag in values if tag.known]
    found += [
        Finding(tag.line, service.name, tag.text, COMPUTED, "it is put together later: not checked")
        for tag in values
        if not tag.known
    ]
    alone = list(_each(service, known, policy, prefix))
    found += alone
    if not alone:
        missing = any(not tag.known and _field(tag.text, prefix) == "vip" for tag in values) or service.computed
        missing = missing or f"{prefix}_vip" in {meant.partition("=")[0] for meant in misspelt.values()}
        found += _together(service, known, policy, prefix, missing)
    return sorted(found, key=lambda finding: finding.line)


def _each(service: Service, known: list[Tag], policy: Policy, prefix: str) -> Iterable[Finding]:
    """Ask about each tag alone."""
    vips = [tag.text for tag in known if _field(tag.text, prefix) == "vip"]
    for tag in dict.fromkeys(known):
        is_vip = _field(tag.text, prefix) == "vip"
        app = _app(service, [tag.text] if is_vip else [tag.text, f"{prefix}_vip={_SOME_VIP}"], prefix)
        if isinstance(app, App) and not is_vip:
            beside = _app(service, vips, prefix)
            app = replace(app, vips=beside.vips) if isinstance(beside, App) else app
        refused = judge(app, policy) if isinstance(app, App) else app
        if refused is not None and (is_vip or refused.reason is not Reason.VIP_NOT_ALLOWED):
            yield _finding(refused, tag.line, service.name, tag.text)


def _together(service: Service, known: list[Tag], policy: Policy, prefix: str, vip_is_elsewhere: bool) -> list[Finding]:
    """Ask about all of them, when each is good."""
    texts = [tag.text for tag in known]
    if vip_is_elsewhere and not any(_field(text, prefix) == "vip" for text in texts):
        return []
    app = _app(service, texts, prefix)
    refused = judge(app, policy) if isinstance(app, App) else app
    return [] if refused is None else [_finding(refused, service.line, service.name, "")]


def _app(service: Service, texts: Iterable[str], prefix: str) -> App | Refused:
    name = service.name[:256] or "service"
    app = tags.parse(AppKey(Source.CONSUL, name), name, [f"enable_{prefix}", *texts], prefix)
    assert app is not None  # it has the tag that enables it
    return app


def _finding(refused: Refused, line: int, service: str, tag: str) -> Finding:
    shown = re.sub(r"^tag '.*?': ", "", refused.detail) if tag else refused.detail
    return Finding(line, service, masked(tag), refused.reason, shown)


def _field(tag: str, prefix: str) -> str:
    """The field of a tag that is ours, as the daemon reads it; "": it is not."""
    field = tag.partition("=")[0].rstrip()
    name = field.removeprefix(f"{prefix}_")
    return name if name != field and name in _FIELDS else ""


def _meant(tag: str, prefix: str) -> str:
    """What a tag was meant to be, if it looks like one of ours; "": it does not."""
    text = tag.strip().lower()
    match = re.fullmatch(r"([a-z0-9]+(?:[\s_.-]+[a-z0-9]+)*)\s*(?:([=:])\s*(.*))?", text, re.DOTALL)
    if match is None:
        return ""
    name = re.sub(r"[\s_.-]+", "_", match[1])
    value = tag.strip()[match.start(3) :] if match[3] else "…"
    enable = f"enable_{prefix}".lower()
    if name in (enable, f"{prefix}_enable".lower(), f"{prefix}_enabled".lower(), prefix.lower()) or _close(
        name, enable
    ):
        return f"enable_{prefix}"
    before, _, field = name.partition("_")
    head = len(prefix.split("_"))
    if head > 1:
        words = name.split("_")
        before, field = "_".join(words[:head]), "_".join(words[head:])
    if not field or not _close(before, prefix.lower()):
        return ""
    field = _LIKE.get(field, field)
    near = [field] if field in _FIELDS else difflib.get_close_matches(field, _FIELDS, 1, _CLOSE)
    if near:
        return f"{prefix}_{near[0]}={value}"
    known = ", ".join(f"{prefix}_{name}=…" for name in _FIELDS) if before == prefix.lower() else ""
    return f"one of {known}" if known else ""


def _close(one: str, other: str) -> bool:
    return one == other or difflib.SequenceMatcher(None, one, other).ratio() >= 0.8
