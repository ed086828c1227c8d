"""How a command is started: with what command line, in which environment, and with nothing of ours open.

posix_spawn can set neither limits nor a user, and a fork of this whole process stalls every greenlet. So two small
programs of util-linux, which every Debian has, stand before the command: prlimit and setpriv, each of which becomes the
next. Together they take 1.1 ms, in the child; a Python of our own takes 6 ms, and a shell's `ulimit` no user.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
from collections.abc import Collection, Mapping

from consulcast import capabilities
from consulcast.capabilities import Capability
from consulcast.monitors.command import Command, User

_PASSED_ON = ("PATH", "HOME", "LANG")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS_PATH = "/usr/bin:/bin"
_CLOEXEC = 4  # CLOSE_RANGE_CLOEXEC
_LAST = 2**32 - 1
_TO_BECOME_ANOTHER = (Capability.SETGID, Capability.SETUID)

_libc = ctypes.CDLL(None)


class CannotStart(Exception):
    """The command cannot be started here; the message says why. It says nothing of the service."""


def line(command: Command) -> list[str]:
    """Write the whole command line. Raises ``CannotStart``."""
    limits, user = command.limits, command.user
    words = [
        _tool("prlimit"),
        "--core=0",
        *_limit("as", resource.RLIMIT_AS, limits.memory),
        *_limit("cpu", resource.RLIMIT_CPU, limits.cpu),
        *_limit("nofile", resource.RLIMIT_NOFILE, limits.files),
        *_limit("nproc", resource.RLIMIT_NPROC, limits.processes),
        "--",
        _tool("setpriv"),
        "--inh-caps=-all",  # with it the ambient ones, which a daemon that is not root may have
    ]
    if user is not None:
        if user.uid != os.geteuid():
            _may_be_another(user)
            words += [f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups"]
        words.append("--no-new-privs")  # no way back by a setuid program
    return [*words, "--", *command.argv]


def lendings(command: Command) -> Collection[Capability]:
    """Which of our capabilities setpriv needs to make it another user's; the command itself has none."""
    user = command.user
    return () if user is None or user.uid == os.geteuid() else _TO_BECOME_ANOTHER


def environment(command: Command) -> Mapping[str, str]:
    """What the command gets of our environment: no token is in it."""
    found = {"PATH": _DEFAULT_PATH, **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}}
    user = command.user
    return found if user is None else {**found, "HOME": user.home, "USER": user.name, "LOGNAME": user.name}


def seal() -> None:
    """See that no descriptor of ours is handed on, also one that our own parent or a library has left open.

    All of Python's are closed in children anyway. What a child is to have is duplicated for it, which is not touched.
    """
    try:
        if _libc.close_range(3, ctypes.c_uint(_LAST), _CLOEXEC) == 0:
            return
    except AttributeError:  # glibc before 2.34
        pass
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # the listing's own


def _limit(word: str, which: int, wanted: int) -> list[str]:
    """Limit a resource; the kernel takes no more than the daemon's own hard limit unless it is root."""
    if not wanted:
        return []
    hard = resource.getrlimit(which)[1]
    return [f"--{word}={wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)}"]


def _tool(name: str) -> str:
    found = shutil.which(name, path=_TOOLS_PATH)
    if found is None:
        raise CannotStart(f"there is no program {name}: install util-linux")
    return found


def _may_be_another(user: User) -> None:
    """Raise ``CannotStart`` unless we can become that user, and end what runs as that user."""
    missing = [str(one) for one in (*_TO_BECOME_ANOTHER, Capability.KILL) if not capabilities.has(one)]
    if missing:
        raise CannotStart(
            f"to run it as user {user.name!r} the daemon needs {', '.join(missing)} (deploy/drop-ins/exec-user.conf, "
            "docs/privileges.md); or leave `user` out"
        )
