"""What has to hold whenever nothing is under way, whatever has been before."""

from __future__ import annotations

import json
from collections import Counter

from integration.chaos.fleet import translations
from integration.chaos.world import FOREIGN, World


def problems(world: World) -> list[str]:
    """Everything that is not as it has to be, a sentence each."""
    return [*_routes(world), *_addresses(world), *_nat(world), *_processes(world)]


def _routes(world: World) -> list[str]:
    wanted = {vip for vip, up in world.truth().items() if up}
    there = set(world.bird.routes())
    missing = [f"{vip} is not at the router though its apps are well" for vip in sorted(wanted - there)]
    return missing + [f"{vip} is at the router though it has not to be" for vip in sorted(there - wanted)]


def _addresses(world: World) -> list[str]:
    """A VIP that is up has its address exactly once; one that fails may keep it; nobody else's is touched."""
    listed = json.loads(world.host.run("ip", "-j", "addr", "show"))
    there = Counter(
        f"{item['local']}/{item['prefixlen']}" for device in listed for item in device.get("addr_info", []) if item
    )
    on_lo = {
        f"{item['local']}/{item['prefixlen']}"
        for device in listed
        if device.get("ifname") == "lo"
        for item in device["addr_info"]
    }
    truth = world.truth()
    found = [f"{vip} is on the host {there[vip]} times" for vip, up in truth.items() if up and there[vip] != 1]
    found += [f"{vip} is on the host {there[vip]} times" for vip, up in truth.items() if not up and there[vip] > 1]
    others = {"127.0.0.1/8", "::1/128", *FOREIGN}
    found += [f"{address} is left on the host" for address in sorted(on_lo - truth.keys() - others)]
    return found + [f"{address}, which is not ours, is gone" for address in FOREIGN if address not in on_lo]


def _nat(world: World) -> list[str]:
    tables = json.loads(world.host.run("nft", "-j", "list", "ruleset"))["nftables"]
    there: Counter[tuple[str, str, int]] = Counter()
    for item in tables:
        if "map" in item and item["map"]["table"] == "consulcast":
            there.update(tuple(element[0]["concat"]) for element in item["map"].get("elem", []))
    wanted = translations(world.services.values())
    found = [
        f"the NAT rule for {rule} is there {there[rule]} times"
        for rules in wanted.values()
        for rule in rules
        if there[rule] != 1
    ]
    asked = {vip.partition("/")[0] for vip in world.truth()}
    found += [f"the NAT rule for {rule} is left" for rule in there if rule[0] not in asked]
    return found + (["the operator's table was changed"] if world.operators_table() != world.operator else [])


def _processes(world: World) -> list[str]:
    if not world.daemon.process.alive:
        return [f"the daemon has ended with status {world.daemon.process.returncode}"]
    return ["the daemon's log has a traceback"] if "Traceback" in world.daemon.log() else []
