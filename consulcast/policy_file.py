"""The file's `policy:`, `exec:` and `commands:` as rules. Each error names its place."""

from __future__ import annotations

import math
import pwd
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from consulcast import patterns, schema
from consulcast.document import ConfigError
from consulcast.model import Source
from consulcast.monitors.command import NAME, Command, Commands, Limits, User
from consulcast.monitors.spec import KINDS
from consulcast.notation import BadValue
from consulcast.policy import DEFAULTS, Exec, Owner, Rules, SourceRules

S = TypeVar("S")
T = TypeVar("T")
Error = Callable[[str, str], ConfigError]  # from a place and what is wrong there

_MOST = 1_000_000  # apps, VIPs, MiB, files, processes: more is a slip of the pen


def read(file: schema.File, error: Error) -> Rules:
    """Read them. Raises ``ConfigError``."""
    return _Reader(file, error).rules()


class _Reader:
    def __init__(self, file: schema.File, error: Error) -> None:
        self._file, self._error = file, error

    def rules(self) -> Rules:
        policy = self._file.policy
        commands = self._commands()
        written = {Source.CONFIG: policy.config, Source.CONSUL: policy.consul, Source.HTTP: policy.http}
        return Rules(
            sources={source: self._source(source, said, commands) for source, said in written.items()},
            reserved=self._each("$.policy.reserved", policy.reserved, patterns.prefix),
            services=tuple(self._owner(f"$.policy.services[{n}]", item) for n, item in enumerate(policy.services)),
            commands=commands,
        )

    def _owner(self, at: str, item: schema.ServicePolicy) -> Owner:
        if not item.name:
            raise self._error(f"{at}.name", "is empty: write a service's name, or a pattern such as dns-*")
        if not item.vips:
            raise self._error(f"{at}.vips", "is empty: write the prefixes that are for these services alone")
        return Owner(item.name, self._each(f"{at}.vips", item.vips, patterns.prefix))

    def _source(self, source: Source, said: schema.SourcePolicy, commands: Commands) -> SourceRules:
        at, default = f"$.policy.{source}", DEFAULTS[source]
        for number, kind in enumerate(said.monitors or ()):
            if kind not in KINDS:
                raise self._error(f"{at}.monitors[{number}]", f"{kind!r} is not one of {', '.join(KINDS)}")
        names = said.exec if isinstance(said.exec, list) else ()
        for number, name in enumerate(names):
            if name not in commands.named:
                raise self._error(f"{at}.exec[{number}]", f"there is no {name!r} in `commands:`")
        for key, limit in _limits(said).items():
            self._number(f"{at}.{key}", limit)

        def given(key: str, items: list[S] | None, to: Callable[[S], T], otherwise: tuple[T, ...]) -> tuple[T, ...]:
            return otherwise if items is None else self._each(f"{at}.{key}", items, to)

        return SourceRules(
            vips=given("vips", said.vips, patterns.vip_range, default.vips),
            communities=given("communities", said.communities, patterns.community, default.communities),
            nat_listen=given("nat_listen", said.nat_listen, patterns.ports, default.nat_listen),
            nat_dest=given("nat_dest", said.nat_dest, patterns.ports, default.nat_dest),
            monitors=default.monitors if said.monitors is None else frozenset(said.monitors),
            exec=default.exec if said.exec is None else Exec.COMMANDS if names else _exec(said.exec),
            commands=frozenset(names) if names else None,
            **{"max_apps": default.max_apps, "max_vips": default.max_vips, "max_monitors": default.max_monitors}
            | _limits(said),
        )

    def _commands(self) -> Commands:
        base = self._file.exec
        user, limits = self._user("$.exec.user", base.user), self._limits("$.exec", base, Limits())
        named = {}
        for name, entry in self._file.commands.items():
            at = f"$.commands.{name}"
            if not NAME.fullmatch(name):
                raise self._error(at, f"{name!r}: use up to 64 letters, digits, dots, hyphens and underscores")
            if not entry.argv or not entry.argv[0].startswith("/"):
                raise self._error(f"{at}.argv", "write the program with its whole path, then its arguments")
            for number, word in enumerate(entry.argv):
                if "\0" in word:
                    raise self._error(f"{at}.argv[{number}]", "holds a NUL character")
            for number, pattern in enumerate(entry.arguments):
                try:
                    re.compile(pattern)
                except re.error as why:
                    raise self._error(
                        f"{at}.arguments[{number}]", f"{pattern!r}: not a regular expression: {why}"
                    ) from None
            own = user if entry.user is None else self._user(f"{at}.user", entry.user)
            named[name] = Command(tuple(entry.argv), tuple(entry.arguments), own, self._limits(at, entry, limits))
        return Commands(named, user, limits)

    def _limits(self, at: str, said: schema.Exec | schema.Command, otherwise: Limits) -> Limits:
        for key in ("memory", "files", "processes"):
            self._number(f"{at}.{key}", getattr(said, key) or 0)
        return Limits(
            otherwise.memory if said.memory is None else said.memory << 20,
            otherwise.cpu if said.cpu is None else math.ceil(said.cpu),
            otherwise.files if said.files is None else said.files,
            otherwise.processes if said.processes is None else said.processes,
        )

    def _user(self, at: str, name: str) -> User | None:
        if not name:
            return None
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise self._error(at, f"there is no user {name!r} on this host") from None
        return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)

    def _number(self, at: str, number: int) -> None:
        if not 0 <= number <= _MOST:
            raise self._error(at, f"{number}: write a number from 0 to {_MOST}")

    def _each(self, at: str, items: Iterable[S], to: Callable[[S], T]) -> tuple[T, ...]:
        return tuple(self._value(f"{at}[{number}]", item, to) for number, item in enumerate(items))

    def _value(self, at: str, item: S, to: Callable[[S], T]) -> T:
        try:
            return to(item)
        except BadValue as error:
            raise self._error(at, str(error)) from None


def _limits(said: schema.SourcePolicy) -> dict[str, int]:
    """What is written of how much a source may hold."""
    limits = {"max_apps": said.max_apps, "max_vips": said.max_vips, "max_monitors": said.max_monitors}
    return {key: limit for key, limit in limits.items() if limit is not None}


def _exec(word: str | list[str]) -> Exec:
    return Exec.DENY if isinstance(word, list) else Exec(word)  # an empty list: none
