"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """Say how many: ``1 app``, ``2 apps``. ``several`` where it is not ``one`` with an s."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"
