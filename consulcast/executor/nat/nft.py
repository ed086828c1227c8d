"""NAT by nftables: a table of our own, replaced whole in one transaction by ``nft -f -``.

Single addresses are looked up in a map (one hash look-up, however many), whole prefixes are rules of their own.
The table's text is written, its JSON read: nft 1.0.6 does not take its own JSON back for such maps.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable
from typing import Any

from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat import command, nft_events, rules
from consulcast.executor.nat.backend import Made, NatError
from consulcast.executor.nat.command import CommandError
from consulcast.executor.nat.rules import OWNER
from consulcast.executor.netlink import Watcher
from consulcast.model import Translation

_TIMEOUT = 5.0
_QUESTIONS = 32  # children of 15 ms each
_FAMILIES = {4: "ip", 6: "ip6"}
_HOOKS = ("prerouting", "output")  # from others, and from this host itself
_PRIORITY = -100  # NF_IP_PRI_NAT_DST, where iptables does the same

CLEAR = f"add table inet {OWNER}\ndelete table inet {OWNER}\n"  # whether it was there or not


def render(translations: Iterable[Translation]) -> str:
    """Write the script that makes the table exactly this, whatever it was before.

    An empty table is kept: with the last user of conntrack gone, the kernel would break the flows that still drain.
    """
    ordered = rules.in_order(translations)
    hosts = [item for item in ordered if _is_host(item)]
    lines = [f"table inet {OWNER} {{"]
    for version in _FAMILIES:
        address = f"ipv{version}_addr"
        lines += [
            f"  map dnat{version} {{",
            f"    type {address} . inet_proto . inet_service : {address} . inet_service",
        ]
        elements = [
            f"{item.vip.ip} . {item.protocol} . {item.port} : {item.to} . {item.to_port}"
            for item in hosts
            if item.vip.version == version
        ]
        if elements:
            lines.append("    elements = {\n      " + ",\n      ".join(elements) + "\n    }")
        lines.append("  }")
    lines.append("  chain dispatch {")
    for version, family in _FAMILIES.items():
        key = f"{family} daddr . meta l4proto . th dport"
        lines.append(f'    dnat {family} to {key} map @dnat{version} comment "dnat{version}"')
    lines += [f"    {_prefix_rule(item)}" for item in ordered if not _is_host(item)]
    lines.append("  }")
    for hook in _HOOKS:
        lines += [
            f"  chain {hook} {{",
            f"    type nat hook {hook} priority {_PRIORITY}; policy accept;",
            f'    jump dispatch comment "{hook}"',
            "  }",
        ]
    lines.append("}")
    return CLEAR + "\n".join(lines) + "\n"


def parse(listing: str) -> frozenset[Translation] | None:
    """Read ``nft -j list table``; ``None``: it is not as ``render`` makes it."""
    found: list[Translation] = []
    chains: dict[str, tuple[Any, ...]] = {}
    comments: list[tuple[str, str]] = []
    maps = set()
    try:
        for item in json.loads(listing)["nftables"]:
            if "map" in item:
                maps.add(item["map"]["name"])
                found += [_element(key, data) for key, data in item["map"].get("elem", ())]
            elif "chain" in item:
                chain = item["chain"]
                chains[chain["name"]] = tuple(chain.get(field) for field in ("type", "hook", "prio", "policy"))
            elif "rule" in item:
                comments.append((item["rule"]["chain"], item["rule"].get("comment", "")))
        prefixes = [rules.read(text) for chain, text in comments if chain == "dispatch" and " " in text]
    except (KeyError, TypeError, ValueError):
        return None
    expected = [("dispatch", f"dnat{version}") for version in _FAMILIES]
    expected += [("dispatch", rules.written(item)) for item in rules.in_order(prefixes)]
    expected += [(hook, hook) for hook in _HOOKS]
    hooked = {hook: ("nat", hook, _PRIORITY, "accept") for hook in _HOOKS}
    if comments != expected or chains != {"dispatch": (None,) * 4, **hooked} or maps != {"dnat4", "dnat6"}:
        return None
    return frozenset((*found, *prefixes))


class Nft:
    """The table in the kernel."""

    name = "nft"

    def __init__(self) -> None:
        self._known: tuple[int, frozenset[Translation]] | None = None  # a ruleset's number, and what stood in it
        self._watcher: Watcher | None = None

    def missing(self) -> str:
        """Tell whether the tool is installed."""
        return "" if command.find("nft") else "no program nft: install nftables"

    def leftover(self) -> bool:
        """Whether our table is there."""
        return nft_events.table_exists()

    def read(self) -> frozenset[Translation] | None:
        """Read the table. Costs no child while nobody has changed any table of the host. Raises ``NatError``."""
        number = nft_events.generation()
        if self._known is not None and self._known[0] == number:
            return self._known[1]
        self._known = None
        listed = self._nft("", "-j", "list", "table", "inet", OWNER) if self.leftover() else None
        found = parse(listed) if listed is not None else frozenset()
        if found is not None and number is not None:
            self._known = (number, found)
        return found

    def apply(self, wanted: frozenset[Translation]) -> Made:
        """Replace the table in one transaction, without what the kernel refuses. Raises ``NatError``."""
        try:
            self._replace(wanted)
        except NatError as error:
            return self._apply_what_can_be(wanted, error)
        return Made(wanted)

    def _apply_what_can_be(self, wanted: frozenset[Translation], error: NatError) -> Made:
        failures = refused(wanted, self._objection)
        standing = wanted - failures.keys()
        if not failures or (not standing and self._objection(())):
            raise error  # it is not for one of them
        self._replace(standing)
        return Made(standing, failures, str(error))

    def _replace(self, wanted: frozenset[Translation]) -> None:
        number = nft_events.generation()
        self._known = None
        self._nft(render(wanted), "-f", "-")
        if number is not None and nft_events.generation() == number + 1:  # ours, and nobody's beside it
            self._known = (number + 1, wanted)

    def _objection(self, translations: Iterable[Translation]) -> str:
        """Ask the kernel whether it would take a table; the transaction is not carried out."""
        try:
            self._nft(render(translations), "-c", "-f", "-")
        except NatError as error:
            return str(error)
        return ""

    def remove(self) -> None:
        """Delete the table. Raises ``NatError``."""
        self._known = None
        if self.leftover():
            self._nft(CLEAR, "-f", "-")

    def start(self, on_change: Callable[[bool], None], spawn: Spawn) -> None:
        """Listen to the kernel's events."""
        self._watcher = nft_events.watcher(on_change, spawn)
        self._watcher.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._watcher is not None:
            self._watcher.stop()

    def _nft(self, stdin: str, *arguments: str) -> str:
        path = command.find("nft")
        if path is None:
            raise NatError(self.missing())
        try:
            done = command.run([path, *arguments], stdin, _TIMEOUT)
        except CommandError as error:
            raise NatError(str(error)) from None
        if done.status:
            raise NatError(f"nft: {done.why}")
        return done.output


def refused(wanted: Iterable[Translation], objection: Callable[[Iterable[Translation]], str]) -> dict[Translation, str]:
    """Find what the kernel refuses, in families and then in halves; all others fit into one table.

    ``objection`` tells why a table would be refused. It is asked a limited number of times; what is not told apart by
    then counts as refused together.
    """
    taken: list[Translation] = []
    failures: dict[Translation, str] = {}
    ordered = rules.in_order(wanted)
    portions = [[item for item in ordered if item.vip.version == version] for version in reversed(_FAMILIES)]
    questions = _QUESTIONS
    while portions:
        portion = portions.pop()
        if not portion:
            continue
        why = objection([*taken, *portion])
        questions -= 1
        if not why:
            taken += portion
        elif len(portion) == 1 or questions <= len(portions):
            failures |= dict.fromkeys(portion, why)
        else:
            half = len(portion) // 2
            portions += [portion[half:], portion[:half]]
    return failures


def _is_host(item: Translation) -> bool:
    return item.vip.network.prefixlen == item.vip.max_prefixlen


def _prefix_rule(item: Translation) -> str:
    family = _FAMILIES[item.vip.version]
    to = f"[{item.to}]:{item.to_port}" if item.to.version == 6 else f"{item.to}:{item.to_port}"
    return (
        f"{family} daddr {item.vip.network} {item.protocol} dport {item.port} dnat {family} to {to} "
        f'comment "{rules.written(item)}"'
    )


def _element(key: Any, data: Any) -> Translation:
    vip, protocol, port = key["concat"]
    to, to_port = data["concat"]
    return Translation(ipaddress.ip_interface(vip), protocol, port, ipaddress.ip_address(to), to_port)
