"""Whether files that decide, or that hold secrets, are open to others."""

from __future__ import annotations

import os
import stat


def who_else(path: str, *, secret: bool) -> str:
    """Word who else may change a file, or read it where it is ``secret``; empty: nobody, or there is no such file.

    A group is its owner's own choice.
    """
    try:
        found = os.stat(path)
    except OSError:
        return ""
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to user {found.st_uid}, who decides by it what this host announces: chown root {path}"
    if found.st_mode & stat.S_IWOTH:
        return f"{path} can be written by everybody: chmod o-w {path}"
    if secret and found.st_mode & stat.S_IROTH:
        return f"{path} holds a secret and can be read by everybody: chmod o-r {path}"
    return ""
