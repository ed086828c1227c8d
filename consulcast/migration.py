"""What a GoCast file means here: key by key, app by app; and the same in consulcast's own words. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import yaml
from msgspec import Struct

from consulcast import config, notation
from consulcast.document import ConfigError, Document
from consulcast.model import App, AppKey, Reason, Refused, Source, Vip
from consulcast.notation import BadValue
from consulcast.policy import Policy, judge
from consulcast.values import replace

T = TypeVar("T")


class Weight(StrEnum):
    """What a remark asks for."""

    SAME = "same"  # nothing: it means what it meant
    NOTE = "note"  # to be known
    MEND = "mend"  # without a change, here or there, something is refused


class Remark(Struct, frozen=True):
    """What one key means here. ``line`` 0: it is not in the file."""

    line: int
    key: str
    weight: Weight
    text: str


class Migration(Struct, frozen=True):
    """The remarks, in the order of the file, and an equivalent file."""

    remarks: tuple[Remark, ...]
    file: str

    @property
    def works(self) -> bool:
        """Whether there is nothing to mend."""
        return all(remark.weight is not Weight.MEND for remark in self.remarks)


_SAME: Mapping[str, str] = {
    "agent.monitor_interval": "how often a monitor looks; Consul's checks and closed ports tell at once",
    "agent.cleanup_timer": "how long address and NAT outlive a failure; the route goes at once",
    "bgp.local_as": "this host's AS number",
    "bgp.peer_as": "the router's AS number",
    "bgp.remote_as": "the router's AS number: peer_as",
    "bgp.local_ip": "our address toward the peer, and the next hop",
    "bgp.peer_ip": "the router; more of them go in bgp.peers",
    "bgp.communities": "communities of every route",
    "bgp.origin": "the origin of every route",
}
_PLACES = {"agent.consul_addr": "consul.address", "agent.consul_token": "consul.token", "bgp.remote_as": "bgp.peer_as"}
_PARTS = ("agent", "bgp", "apps")
_MOST_REFUSALS = 50
_APP = ("name", "vip", "vip_config", "monitors", "nats")
_NO_EFFECT = "no effect here: blocking queries tell of changes at once, so nothing is polled"
_EVERYWHERE = "others may read there; changes are taken from this host alone until api.tokens_file is set (docs/api.md)"
_DEFAULTS = (
    ("agent.listen_addr", "GoCast listens on :8080 of every address; here it is 127.0.0.1:8080 unless written"),
    ("bgp.peer_ip", "the peer is the default gateway, as in GoCast"),
    ("bgp.local_ip", "our address is what the kernel would use toward the peer, as in GoCast"),
)
# What would be refused from a tag or over HTTP, and the line that allows it.
_TO_ADD = {
    Reason.MONITOR_NOT_ALLOWED: "policy: {consul: {exec: allow}, http: {exec: allow}}",
    Reason.NAT_NOT_ALLOWED: "policy: {consul: {nat_dest: [1-65535]}, http: {nat_dest: [1-65535]}}",
}


def migrate(name: str, text: str) -> Migration:
    """Read a GoCast file. Raises ``ConfigError`` where it is no YAML, or nothing like one."""
    document = Document(name, text)
    data = document.data
    if not isinstance(data, dict) or (data and not any(isinstance(part, dict | list) for part in data.values())):
        raise ConfigError(f"{name}: is no GoCast file: it has the parts agent, bgp and apps")
    remarks: list[Remark] = []
    written: dict[str, Any] = {}
    for section in data:
        if section == "apps":
            apps = data["apps"]
            remarks += _apps(document, apps if isinstance(apps, list) else [])
            written["apps"] = [_app(app) for app in apps if isinstance(app, dict)] if isinstance(apps, list) else apps
        elif section in ("agent", "bgp") and isinstance(data[section], dict):
            remarks += _section(document, section, data[section], written)
        elif section in _PARTS:
            written[section] = data[section]
        else:
            remarks.append(_unknown(document, str(section)))
    remarks += _left_out(data)
    file = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
    mended = {remark.key for remark in remarks if remark.weight is Weight.MEND}
    for key, why in _refusals(name, written):
        if key not in mended:
            key = next((old for old, new in _PLACES.items() if new == key and _has(data, old)), key)
            mended.add(key)
            remarks.append(Remark(document.line(f"$.{key}"), key, Weight.MEND, why))
    if _has(data, "bgp.remote_as") and data["bgp"].get("peer_as", data["bgp"]["remote_as"]) != data["bgp"]["remote_as"]:
        why = "another one than peer_as: leave one of them out"
        remarks.append(Remark(document.line("$.bgp.remote_as"), "bgp.remote_as", Weight.MEND, why))
        mended.add("bgp.remote_as")
    remarks = [
        one for one in remarks if one.weight is not Weight.SAME or not any(_is_in(key, one.key) for key in mended)
    ]
    return Migration(tuple(sorted(remarks, key=lambda remark: remark.line or len(text))), file)


def _is_in(key: str, outer: str) -> bool:
    return key == outer or key.startswith((f"{outer}.", f"{outer}["))


def _has(data: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.partition(".")
    return isinstance(data.get(section), dict) and name in data[section]


def _refusals(name: str, written: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the daemon would refuse the file for, one key after the other: each is left out to see the next."""
    left = copy.deepcopy(dict(written))
    for number in range(_MOST_REFUSALS):
        try:
            config.parse(name, yaml.safe_dump(left, sort_keys=False, allow_unicode=True))
        except ConfigError as error:
            key, _, why = str(error).removeprefix(f"{name}:").partition(": ")[2].partition(": ")
            yield key, why
            section, _, rest = key.partition(".")
            if re.fullmatch(r"apps\[\d+\].*", key) and isinstance(left.get("apps"), list):
                left["apps"][int(re.findall(r"\d+", key)[0])] = {"name": f"left-out-{number}", "vip": "203.0.113.1/32"}
            elif rest and isinstance(left.get(section), dict):
                field = re.split(r"[.\[]", rest)[0]
                if left[section].pop(field, None) is None:
                    if field not in ("local_as", "peer_as"):
                        return
                    left[section][field] = 64512
            elif left.pop(section, None) is None:
                return
        else:
            return


def _section(document: Document, section: str, values: dict[str, Any], written: dict[str, Any]) -> Iterator[Remark]:
    for name, value in values.items():
        key = f"{section}.{name}"
        if key == "agent.consul_query_interval":
            yield Remark(document.line(f"$.{key}"), key, Weight.NOTE, _NO_EFFECT)
            continue
        place = _PLACES.get(key, key)
        if key == "agent.listen_addr":
            host = str(value).rpartition(":")[0]
            everywhere = host not in ("127.0.0.1", "localhost", "[::1]") and not str(value).startswith("unix:")
            what = _EVERYWHERE if everywhere else "where the HTTP endpoint listens"
            yield Remark(document.line(f"$.{key}"), key, Weight.NOTE if everywhere else Weight.SAME, what)
        elif key == "bgp.communities" and (bad := list(_bad_communities(document, value))):
            yield from bad
        elif key in _SAME:
            yield Remark(document.line(f"$.{key}"), key, Weight.SAME, _SAME[key])
        elif place != key:
            hint = "; better in a file of its own: consul.token_file" if name == "consul_token" else ""
            yield Remark(document.line(f"$.{key}"), key, Weight.SAME, f"the same as {place}{hint}")
        else:
            yield _unknown(document, key)
            continue
        part, _, last = place.partition(".")
        written.setdefault(part, {})[last] = value


def _bad_communities(document: Document, values: Any) -> Iterator[Remark]:
    for number, value in enumerate(values if isinstance(values, list) else ()):
        try:
            notation.community(str(value))
        except BadValue as error:
            key = f"bgp.communities[{number}]"
            yield Remark(document.line(f"$.{key}"), key, Weight.MEND, str(error))


def _unknown(document: Document, key: str) -> Remark:
    return Remark(
        *(document.line(f"$.{key}"), key, Weight.MEND),
        "GoCast has no such key and passes over it; here the file is refused: remove it, or see config.example.yaml",
    )


def _left_out(data: Mapping[str, Any]) -> Iterator[Remark]:
    for key, meaning in _DEFAULTS:
        if not _has(data, key):
            yield Remark(0, key, Weight.NOTE, meaning)
    tags = "an exec: monitor, a VIP that is more than one address, and NAT to ports 22 and 179 of the host are refused"
    yield Remark(
        0, "policy", Weight.NOTE, f"in Consul tags and over HTTP {tags}, until the file says otherwise: {_ALL}"
    )


_ALL = "policy: {consul: {exec: allow, vips: [{prefix: 10.0.0.0/8, min: 24}], nat_dest: [1-65535]}}"


def _apps(document: Document, apps: Iterable[Any]) -> Iterator[Remark]:
    for number, app in enumerate(apps):
        at = f"apps[{number}]"
        if not isinstance(app, dict):
            yield Remark(document.line(f"$.{at}"), at, Weight.MEND, "is no app: write name and vip")
            continue
        for name in [key for key in app if key not in _APP]:
            yield _unknown(document, f"{at}.{name}")
        found = list(_one(document, at, app))
        yield from found
        if not found:
            what = f"app {app.get('name')!r} is announced as it was"
            yield Remark(document.line(f"$.{at}"), at, Weight.SAME, what)


def _one(document: Document, at: str, app: Mapping[str, Any]) -> Iterator[Remark]:
    """Read an app, and ask the policy about it: as one of the file, and as what a tag would ask for."""
    mend: list[Remark] = []

    def each(key: str, values: Any, read: Callable[[str], T]) -> tuple[T, ...]:
        found = []
        for number, value in enumerate(values if isinstance(values, list) else [values] if values else []):
            where = f"{at}.{key}[{number}]" if isinstance(values, list) else f"{at}.{key}"
            try:
                found.append(read(str(value)))
            except BadValue as error:
                mend.append(Remark(document.line(f"$.{where}"), where, Weight.MEND, str(error)))
        return tuple(found)

    name = str(app.get("name") or "")
    config_ = app.get("vip_config")
    made = App(
        AppKey(Source.CONFIG, name),
        name,
        each("vip", app.get("vip"), notation.vip),
        each("monitors", app.get("monitors"), notation.monitor),
        each("nats", app.get("nats"), notation.nat),
        each(
            *("vip_config.bgp_communities", config_.get("bgp_communities") if isinstance(config_, dict) else None),
            notation.community,
        ),
    )
    yield from mend
    line = document.line(f"$.{at}")
    if not name or not made.vips:
        if not mend:
            yield Remark(line, at, Weight.MEND, "needs a name and a vip: address/length")
        return
    policy = Policy(nat=frozenset({4, 6}))
    refused = judge(made, policy)
    if refused is not None:
        yield Remark(line, at, Weight.MEND, f"refused: {refused.reason}: {refused.detail}")
        return
    yield from (Remark(line, at, Weight.NOTE, text) for text in _differences(made))
    tagged = judge(replace(made, key=AppKey(Source.CONSUL, name)), policy)
    if tagged is not None:
        line_to_add = _TO_ADD.get(tagged.reason) or _of_what_it_asks(tagged, made)
        what = f"in this file it is allowed; as a Consul tag or over HTTP it needs the line `{line_to_add}`"
        yield Remark(line, at, Weight.NOTE, f"{what} ({tagged.reason}: {tagged.detail})")


def _of_what_it_asks(refused: Refused, app: App) -> str:
    if refused.reason is Reason.VIP_NOT_ALLOWED:
        ranges = ", ".join(f"{{prefix: {vip.prefix}, min: {vip.prefix.prefixlen}}}" for vip in app.vips)
        return f"policy: {{consul: {{vips: [{ranges}]}}}}"
    communities = ", ".join(f'"{community}"' for community in app.communities)
    return f"policy: {{consul: {{communities: [{communities}]}}}}"


def _differences(app: App) -> Iterator[str]:
    """Say where GoCast did something else with the same words."""
    for vip in app.vips:
        if _is_part(vip):
            ip, prefix = vip.interface.ip, vip.prefix
            yield f"VIP {vip}: {ip} is put on the host and {prefix} announced; GoCast put {prefix} there"
    for monitor in app.monitors:
        if monitor.kind == "port":
            yield f"monitor {monitor}: up while something listens; GoCast tried to take the port itself"


def _is_part(vip: Vip) -> bool:
    return vip.prefix.prefixlen < vip.prefix.max_prefixlen and vip.interface.ip != vip.prefix.network_address


def _app(app: Mapping[str, Any]) -> dict[str, Any]:
    return {key: app[key] for key in _APP if key in app}
