"""Which NAT rules should stand at this moment. Pure.

Up: after the VIP's address came. Down: not before the drain time is over. In between they stay, as the address does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set

from consulcast.model import Intent, Interface, Translation


def rules_now(
    intents: Iterable[Intent],
    present: Set[Interface],
    known: Collection[Translation],
    decided: Set[Interface],
    due: Set[Interface],
) -> frozenset[Translation]:
    """Tell which rules should stand.

    ``present``: addresses on the host. ``known``: the rules that stand or were asked for before. ``decided``: the VIPs
    of which every source has said what it asks for. ``due``: the VIPs to which no route leads any more, and whose drain
    time is over.
    """
    asking = [intent for intent in intents if intent.address and intent.nats]
    if not asking and not known:
        return frozenset()
    up = {item for intent in asking if intent.announce for item in intent.nats if item.vip in present}
    taken = {item.key for item in up}
    asked = {item for intent in asking for item in intent.nats}
    # Of the rest only what is known stays: a VIP that never was up gets no rule.
    stay = {
        item
        for item in known
        if item.key not in taken and item.vip not in due and (item in asked or item.vip not in decided)
    }
    return frozenset(up | stay)
