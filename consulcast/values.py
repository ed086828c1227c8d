"""Another value like one that there is, as all values of the parts are frozen.

``msgspec.structs.replace`` at run time. A type checker is shown the one of dataclasses, which does the same with
dataclasses: it knows that one, and finds a field that is not there, or of another type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["replace"]
