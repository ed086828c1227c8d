"""The commands that the configuration file names, and under which limits any command of ours runs. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

from consulcast.notation import BadValue

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BLANKS = re.compile(r"[ \t]+")
_LONGEST = 256  # characters of an argument


class User(Struct, frozen=True):
    """Whom a command runs as."""

    name: str
    uid: int
    gid: int
    home: str


class Limits(Struct, frozen=True):
    """What each process of a command may have; 0: no limit of ours. No core file, ever.

    ``memory``: bytes of address space. ``cpu``: seconds of CPU time. ``files``: open files. ``processes``: those of
    its user on this host, whoever started them; the kernel does not count root's.
    """

    memory: int = 4096 << 20  # room for a program in Go, which reserves much more than it uses
    cpu: int = 300  # the longest time-out that a monitor can have
    files: int = 1024
    processes: int = 1024


class Command(Struct, frozen=True):
    """An entry of ``commands:``: what is run, as whom, and which arguments may follow."""

    argv: tuple[str, ...]
    arguments: tuple[str, ...] = ()  # a regular expression for each; matched whole
    user: User | None = None
    limits: Limits = field(default_factory=Limits)


class Commands(Struct, frozen=True):
    """All that the file says of commands. ``user`` and ``limits`` are for those that a monitor writes out itself."""

    named: Mapping[str, Command] = field(default_factory=dict)
    user: User | None = None
    limits: Limits = field(default_factory=Limits)

    def find(self, target: str) -> Command:
        """Make the whole command of a monitor's target, ``@NAME ARGUMENT…`` or a line for the shell.

        Raises ``BadValue``, which names the place in the file.
        """
        call = named(target)
        if call is None:
            return Command(("bash", "-c", target), (), self.user, self.limits)
        name, given = call
        command = self.named.get(name)
        if command is None:
            known = ", ".join(sorted(self.named)) or "none at all"
            raise BadValue(f"commands has no {name!r}; it has {known}")
        if len(given) != len(command.arguments):
            wanted = len(command.arguments)
            raise BadValue(f"commands.{name}.arguments: {len(given)} are given, it takes {wanted}")
        for number, (argument, pattern) in enumerate(zip(given, command.arguments, strict=True)):
            if len(argument) > _LONGEST or not re.fullmatch(pattern, argument):
                raise BadValue(f"commands.{name}.arguments[{number}]: {argument[:80]!r} does not match {pattern!r}")
        return Command((*command.argv, *given), (), command.user, command.limits)


def named(target: str) -> tuple[str, tuple[str, ...]] | None:
    """Read ``@NAME ARGUMENT…``, split at blanks: no quotes, no escapes. ``None``: a line for the shell.

    Raises ``BadValue``.
    """
    if not target.startswith("@"):
        return None
    name, *arguments = _BLANKS.split(target[1:].strip(" \t"))
    if not NAME.fullmatch(name):
        raise BadValue("write exec:@NAME, or exec:@NAME ARGUMENT…, with a name of the file's `commands:`")
    return name, tuple(arguments)


class Programs:
    """The commands as the file has them now: a reload replaces them, and the next look runs what is new."""

    def __init__(self, current: Commands | None = None) -> None:
        self.current = current or Commands()
