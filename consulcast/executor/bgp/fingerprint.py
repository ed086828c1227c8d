"""Whether the installed ExaBGP is the one that a patch was written for."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any


class DoesNotFit(Exception):
    """The installed ExaBGP is not the one that a patch was written for."""


def check(function: Callable[..., Any], fingerprint: int) -> None:
    """Raise ``DoesNotFit`` unless ``function`` has the source that ``fingerprint`` was taken of."""
    while hasattr(function, "__wrapped__"):  # another patch's
        function = function.__wrapped__
    name = f"{function.__module__}.{function.__qualname__}"
    try:
        source = _source(function)
    except OSError as error:
        raise DoesNotFit(
            f"no source of {name} of ExaBGP {_version()}: install exabgp==5.0.15 with its sources"
        ) from error
    found = zlib.crc32(source)
    if found != fingerprint:
        raise DoesNotFit(f"{name} of ExaBGP {_version()} is not the known one ({found:#010x}): install exabgp==5.0.15")


def _version() -> str:
    from exabgp.version import version

    return str(version)


def _source(function: Callable[..., Any]) -> bytes:
    """Cut a function out of its file, by the indentation.

    ``inspect.getsource`` does it too, with a tokeniser; it takes fifteen times as long, and keeps every file in memory.
    """
    code = function.__code__
    with open(code.co_filename, "rb") as file:
        lines = file.read().split(b"\n")[code.co_firstlineno - 1 :]
    begin = next(number for number, line in enumerate(lines) if not line.lstrip().startswith(b"@"))
    indentation = _indentation(lines[0])
    end = begin + 1
    while end < len(lines) and (
        not lines[end].strip() or lines[end].lstrip().startswith(b")") or _indentation(lines[end]) > indentation
    ):
        end += 1
    return b"\n".join(lines[:end]).rstrip()


def _indentation(line: bytes) -> int:
    return len(line) - len(line.lstrip())
