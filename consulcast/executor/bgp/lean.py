"""Spares ExaBGP's process what it imports and never uses: a tenth of a second of its start, and 5 MiB for ever.

None of it changes what ExaBGP does. A module that is used after all is imported then.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, ClassVar

# Asyncio has TLS with it, inspect a parser of Python, logging.handlers pickle, pdb all that a terminal wants.
RARELY_USED = ("argparse", "asyncio", "inspect", "logging.handlers", "pdb", "pprint", "random")
_PORTS = "exabgp.protocol.ip.port"  # ten thousand names of ports, for flow specifications; 1.5 MiB
_PORTS_FINGERPRINT = 0x318465F3


def import_when_used(name: str) -> None:
    """Have a module of the standard library imported at the first look at anything in it.

    ``importlib.util.LazyLoader`` does that at the second ``import``, because the interpreter then looks at the module.
    """
    if name in sys.modules:
        return
    stand_in = ModuleType(name)
    stand_in.__spec__ = ModuleSpec(name, None)

    def look(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    vars(stand_in)["__getattr__"] = look  # PEP 562
    sys.modules[name] = stand_in


def no_port_names() -> None:
    """Know no port by its name. Ports are written as numbers everywhere but in the rules of a firewall."""
    package = importlib.import_module(_PORTS.rpartition(".")[0])
    from exabgp.protocol.resource import Resource

    spec = PathFinder.find_spec(_PORTS, package.__path__)
    if spec is None or spec.origin is None:
        return
    with open(spec.origin, "rb") as source:
        if zlib.crc32(source.read()) != _PORTS_FINGERPRINT:
            return  # another ExaBGP, which costs what it costs

    class Port(Resource):  # type: ignore[misc]
        """A port that has no name."""

        NAME = "port"
        names: ClassVar[dict[int, str]] = {}
        codes: ClassVar[dict[str, int]] = {}

        def __str__(self) -> str:
            return str(int(self))

        name = __str__

    module = ModuleType(_PORTS)
    module.__spec__ = spec
    vars(module)["Port"] = Port
    sys.modules[_PORTS] = module
