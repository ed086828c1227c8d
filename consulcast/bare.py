"""A module of a package whose own import would take far more than the module: it is imported below empty packages.

They have the packages' paths and nothing executed, so that the module, and what it needs, is found where it is.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


def import_bare(module: str, packages: tuple[str, ...], wanted: str) -> ModuleType | None:
    """Import it, unless its packages are there already: then it is theirs.

    ``None``: another version of the library has another order, and nothing of it is left imported. ``wanted`` is what
    the module must have.
    """
    if packages[0] not in sys.modules:
        for name in packages:
            spec = importlib.util.find_spec(name)
            if spec is not None:
                sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        found = importlib.import_module(module)
    except ImportError:
        found = None
    if found is not None and hasattr(found, wanted):
        return found
    for name in [name for name in sys.modules if name.partition(".")[0] == packages[0]]:
        del sys.modules[name]
    return None
