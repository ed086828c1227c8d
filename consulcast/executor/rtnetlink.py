"""pyroute2's ``IPRoute``, without the rest of pyroute2.

The package imports all that it has: a database, nftables, conntrack, ethtool. That is 4 MiB of memory, and as much time
as the rest of it, for one class, whose modules need none of it. ``kernel.py`` imports this when it is first needed.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from consulcast.bare import import_bare

_linux = import_bare("pyroute2.iproute.linux", ("pyroute2", "pyroute2.iproute"), "IPRoute")
IPRoute: Any = (_linux or importlib.import_module("pyroute2")).IPRoute
sys.modules["pyroute2"].__dict__.setdefault("IPRoute", IPRoute)  # for who asks the package

from pyroute2.netlink.exceptions import NetlinkError as NetlinkError  # noqa: E402
