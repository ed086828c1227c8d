"""What one peer is told of one prefix, for those who ask how far a route is."""

from __future__ import annotations

from msgspec import Struct

from consulcast.model import IPAddress


class Told(Struct, frozen=True):
    """How far a prefix is at one peer. The texts are ExaBGP's commands.

    ``table``: what ExaBGP's own table has, "" if nothing; ``None``: it was not asked, or did not answer in time.
    """

    peer: IPAddress
    wanted: str = ""  # "": nothing is wanted, or the peer has no next hop of the prefix's family
    told: str = ""  # as acknowledged
    under_way: bool = False
    refused: int = 0  # times in a row
    carried: bool = False  # the session is up, and this address family was agreed upon
    table: str | None = None
