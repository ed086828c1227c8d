"""pyroute2's ``IPRoute``, without the rest of pyroute2.

The package imports all that it has: a database, nftables, conntrack, ethtool. That is 4 MiB of memory, and as much time
as the rest of it, for one class. Its modules need none of it. So they are imported below two empty packages, which find
them where they are. ``kernel.py`` imports this when it is first needed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

_PACKAGES = ("pyroute2", "pyroute2.iproute")


def _iproute() -> Any:
    if _PACKAGES[0] not in sys.modules:
        for name in _PACKAGES:
            spec = importlib.util.find_spec(name)
            if spec is not None:
                sys.modules[name] = importlib.util.module_from_spec(spec)  # with its path, and nothing executed
    try:
        found = importlib.import_module("pyroute2.iproute.linux").IPRoute
    except (ImportError, AttributeError):  # another version of it has another order: all of it, then
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGES[0]]:
            del sys.modules[name]
        return importlib.import_module(_PACKAGES[0]).IPRoute
    sys.modules[_PACKAGES[0]].__dict__["IPRoute"] = found  # for who asks the package
    return found


IPRoute: Any = _iproute()

from pyroute2.netlink.exceptions import NetlinkError as NetlinkError  # noqa: E402
