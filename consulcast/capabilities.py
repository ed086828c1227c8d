"""The Linux capabilities of this process: taken up at the start, lent to the few children that need them, given up.

A daemon that is not root has them from systemd's ``AmbientCapabilities=`` or from its interpreter's file. Every child
would have them too; here none has but those that are started within ``lent``. See capabilities(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterator
from enum import IntEnum


class Capability(IntEnum):
    """Those that this program has to do with; numbers of linux/capability.h."""

    DAC_READ_SEARCH = 2
    KILL = 5
    SETGID = 6
    SETUID = 7
    NET_ADMIN = 12
    NET_RAW = 13

    def __str__(self) -> str:
        return f"CAP_{self.name}"


class CapabilityError(Exception):
    """A capability is missing without which nothing works; the message names it and where it comes from."""


_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 24, 38, 47  # PR_…, linux/prctl.h
_RAISE = 2  # PR_CAP_AMBIENT_RAISE

_libc = ctypes.CDLL(None, use_errno=True)


class Sets:
    """The capabilities of this thread as capget(2) has them, each set a number of 64 bits."""

    def __init__(self, effective: int, permitted: int, inheritable: int) -> None:
        self.effective, self.permitted, self.inheritable = effective, permitted, inheritable

    @classmethod
    def read(cls) -> Sets:
        """Ask the kernel."""
        words = (ctypes.c_uint32 * 6)()
        _check(_libc.capget(_header(), words))
        low, high = words[:3], words[3:]
        return cls(*(a | b << 32 for a, b in zip(low, high, strict=True)))

    def write(self) -> None:
        """Tell the kernel. Raises ``OSError``."""
        sets = self.effective, self.permitted, self.inheritable
        words = (ctypes.c_uint32 * 6)(*(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
        _check(_libc.capset(_header(), words))


def has(capability: Capability) -> bool:
    """Whether this thread may do now what the capability is for."""
    return bool(Sets.read().effective & _bits([capability]))


def take_up() -> None:
    """Make what we are permitted effective, and keep it from our children. Raises ``CapabilityError``."""
    sets = Sets.read()
    if not sets.permitted & _bits([Capability.NET_ADMIN]):
        raise CapabilityError(
            f"{Capability.NET_ADMIN} is missing, so that user {os.geteuid()} can change neither addresses nor NAT: run "
            "it by deploy/consulcast.service, in a container with `--cap-add NET_ADMIN` as its user 0, or as root; see "
            "docs/privileges.md"
        )
    if os.geteuid() == 0:
        return  # whatever root starts has all, and only its bounding set can change that
    Sets(sets.permitted, sets.permitted, 0).write()  # what is not inheritable is no longer ambient either


@contextlib.contextmanager
def lent(*capabilities: Capability) -> Iterator[None]:
    """Give what this thread starts meanwhile these capabilities, as far as we have them ourselves.

    What starts it must not yield to another greenlet, whose child would have them too.
    """
    if os.geteuid() == 0:
        yield
        return
    permitted = Sets.read().permitted
    lending = [one for one in capabilities if permitted & _bits([one])]
    try:
        Sets(permitted, permitted, _bits(lending)).write()
        for capability in lending:
            _prctl(_CAP_AMBIENT, _RAISE, capability)
        yield
    finally:
        Sets(permitted, permitted, 0).write()


def give_up(keep: Collection[Capability] = ()) -> None:
    """Give up all but ``keep``, for this process and all that it will start, whatever that is."""
    _prctl(_SET_NO_NEW_PRIVS, 1)  # nor is there a way back by a file that is setuid or has capabilities
    permitted = Sets.read().permitted
    Sets(permitted, permitted, 0).write()  # to take from the bounding set asks for a capability itself
    kept = _bits(keep) & permitted
    for number in range(64):
        if not kept >> number & 1 and _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # the last one was before; or not root: then nothing gives what is in the bounding set
    Sets(kept, kept, 0).write()


def _bits(capabilities: Collection[Capability]) -> int:
    return sum(1 << capability for capability in set(capabilities))


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION, 0)  # 0: the calling thread


def _prctl(option: int, argument: int, more: int = 0) -> None:
    _check(_libc.prctl(option, argument, more, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
