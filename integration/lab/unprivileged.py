"""A program as a user that is not root, with the capabilities that a test gives it and no way to any other."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from integration.lab.host import Lab

USER = 64321  # has no entry in /etc/passwd; its group has the same number
XTABLES_LOCK = "/run/xtables.lock"


def as_user(
    lab: Lab, *capabilities: str, groups: Sequence[int] = (), files: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Return what to put before a command on a host of the lab. ``capabilities``: ``net_admin`` and so on.

    This interpreter is made readable for that user, where it lies in somebody's home. ``files``: pairs of paths, of
    which the program sees the first where the second is.
    """
    held = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    group = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    sets = [f"--{kind}={held}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", *group, *sets, "--"]
    mounts = [f"mount --bind {shlex.quote(source)} {shlex.quote(target)}" for source, target in files]
    # `ip netns exec` has made a mount namespace, which ends with the program
    script = "\n".join(["set -e", *_opened(lab), *mounts, 'exec "$@"'])
    return ["sh", "-c", script, "sh", *user]


def private_directory(path: Path) -> Path:
    """Make a directory of that user alone, as systemd makes ``RuntimeDirectory=``."""
    path.mkdir(mode=0o700)
    os.chown(path, USER, USER)
    return path


def _opened(lab: Lab) -> Iterable[str]:
    """Put what this interpreter needs into a place of its own, wherever the way to it is closed to others."""
    needed = {Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    for closed in sorted({top for path in needed if (top := _closed(path)) is not None}):
        inside = sorted(path for path in needed if path.is_relative_to(closed))
        outer = [path for path in inside if not any(path != o and path.is_relative_to(o) for o in inside)]
        for number, path in enumerate(outer):
            kept = lab.dir / f"kept{str(closed).replace('/', '-')}-{number}"
            yield f"mkdir -p {kept}; mount --bind {shlex.quote(str(path))} {kept}"
        yield f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(closed))}"
        for number, path in enumerate(outer):
            kept = lab.dir / f"kept{str(closed).replace('/', '-')}-{number}"
            yield f"mkdir -p {shlex.quote(str(path))}; mount --bind {kept} {shlex.quote(str(path))}"


def _closed(path: Path) -> Path | None:
    """Find the first directory on the way that others may not walk through."""
    return next((p for p in [*reversed(path.parents), path] if not p.stat().st_mode & stat.S_IXOTH), None)
