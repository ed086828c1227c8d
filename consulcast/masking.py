"""What must not be repeated to whoever reads logs and answers."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=//)[^/?#\s]*@")


def masked(text: str) -> str:
    """Return the text without the user and password of any URL in it (RFC 3986 section 3.2.1)."""
    return _USER.sub("***@", text)
