"""`policy:`, `exec:` and `commands:` of the configuration file."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
import yaml

from consulcast import config
from consulcast.config import parse
from consulcast.document import ConfigError
from consulcast.model import Source
from consulcast.monitors.command import Command, Limits, User
from consulcast.policy import DEFAULTS, Exec, Rules

BGP = "bgp: {local_as: 64512, peer_as: 64513}\n"
NOBODY = pwd.getpwnam("nobody")


def rules(text: str) -> Rules:
    return parse("file.yaml", BGP + text).rules


def bad(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        rules(text)
    return str(caught.value)


def test_without_a_policy_the_defaults_are_in_force() -> None:
    assert rules("") == Rules()


def test_example_file_has_the_defaults_of_a_source() -> None:
    path = Path(__file__).parent.parent / "config.example.yaml"
    assert config.load(str(path)).rules.sources[Source.CONSUL] == DEFAULTS[Source.CONSUL]
    written = yaml.safe_load(path.read_text())["exec"]
    assert rules(yaml.safe_dump({"exec": written})).commands.limits == Limits()


def test_every_key_is_read() -> None:
    found = rules("""
policy:
  reserved: [203.0.113.1, 203.0.113.128/25]
  services: [{name: "dns-*", vips: [203.0.113.0/28]}]
  consul:
    vips: [203.0.113.0/24, {prefix: 10.0.0.0/8, min: 24}, {prefix: "2001:db8::/32", max: 64}]
    communities: [64512:*, no-export]
    nat_listen: [53, 8000-8999]
    nat_dest: []
    monitors: [consul]
    exec: [a]
    max_apps: 5
    max_vips: 6
    max_monitors: 7
commands: {a: {argv: [/bin/a]}}
""")
    assert list(map(str, found.reserved)) == ["203.0.113.1/32", "203.0.113.128/25"]
    assert (found.services[0].name, str(found.services[0].vips[0])) == ("dns-*", "203.0.113.0/28")
    consul = found.sources[Source.CONSUL]
    assert list(map(str, consul.vips)) == [
        *("203.0.113.0/24 of length /32", "10.0.0.0/8 of length /24 to /32", "2001:db8::/32 of length /32 to /64")
    ]
    assert list(map(str, consul.communities)) == ["64512:*", "no-export"]
    assert list(map(str, consul.nat_listen)) == ["53", "8000-8999"]
    assert consul.nat_dest == ()
    assert (sorted(consul.monitors), consul.exec, sorted(consul.commands or ())) == (["consul"], Exec.COMMANDS, ["a"])
    assert (consul.max_apps, consul.max_vips, consul.max_monitors) == (5, 6, 7)
    assert found.sources[Source.HTTP] == DEFAULTS[Source.HTTP]


@pytest.mark.parametrize(
    ("word", "means", "names"),
    [
        ("deny", Exec.DENY, None),
        ("commands", Exec.COMMANDS, None),
        ("allow", Exec.ALLOW, None),
        ("[]", Exec.DENY, None),
    ],
)
def test_exec_of_a_source(word: str, means: Exec, names: object) -> None:
    found = rules(f"policy: {{consul: {{exec: {word}}}}}\n").sources[Source.CONSUL]
    assert (found.exec, found.commands) == (means, names)


def test_commands_take_from_exec_what_they_do_not_say() -> None:
    found = rules("""
exec: {user: nobody, memory: 100, cpu: 1500ms, files: 10, processes: 0}
commands:
  plain: {argv: [/bin/true]}
  own: {argv: [/bin/own, "-x"], arguments: ["[0-9]+"], user: "", memory: 1, cpu: 9s, files: 2, processes: 3}
""").commands
    user, limits = User("nobody", NOBODY.pw_uid, NOBODY.pw_gid, NOBODY.pw_dir), Limits(100 << 20, 2, 10, 0)
    assert (found.user, found.limits) == (user, limits)
    assert found.named == {
        "plain": Command(("/bin/true",), (), user, limits),
        "own": Command(("/bin/own", "-x"), ("[0-9]+",), None, Limits(1 << 20, 9, 2, 3)),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policy: {reserved: [203.0.113.1/24]}", "policy.reserved[0]: '203.0.113.1/24' is not a prefix"),
        ("policy: {consul: {vips: [x]}}", "policy.consul.vips[0]: 'x' is not a prefix"),
        ("policy: {http: {vips: [{min: 3}]}}", "policy.http.vips[0]: write a prefix, or {prefix:"),
        ("policy: {http: {vips: [{prefix: 10.0.0.0/8, max: 7}]}}", "write 8 <= min <= max <= 32"),
        ("policy: {http: {vips: [{prefix: 10.0.0.0/8, min: x}]}}", "min and max are prefix lengths"),
        ("policy: {http: {vips: [{prefix: 10.0.0.0/8, le: 9}]}}", "write a prefix, or {prefix:"),
        ("policy: {consul: {communities: [70000:1]}}", "policy.consul.communities[0]: '70000:1' is not a pattern"),
        ("policy: {consul: {nat_dest: [0]}}", "policy.consul.nat_dest[0]: 0 is not a port"),
        ("policy: {consul: {nat_listen: [9-8]}}", "policy.consul.nat_listen[0]: '9-8' is not a port"),
        ("policy: {consul: {monitors: [ping]}}", "policy.consul.monitors[0]: 'ping' is not one of port, exec"),
        ("policy: {consul: {exec: maybe}}", "policy.consul.exec"),
        ("policy: {consul: {exec: [none]}}", "policy.consul.exec[0]: there is no 'none' in `commands:`"),
        ("policy: {consul: {max_apps: -1}}", "policy.consul.max_apps: -1: write a number from 0"),
        ("policy: {services: [{name: '', vips: [203.0.113.0/28]}]}", "policy.services[0].name: is empty"),
        ("policy: {services: [{name: a, vips: []}]}", "policy.services[0].vips: is empty"),
        ("policy: {consol: {}}", "policy.consol: unknown key"),
        ("exec: {user: no-such-user}", "exec.user: there is no user 'no-such-user' on this host"),
        ("exec: {memory: -1}", "exec.memory: -1"),
        ("commands: {a: {argv: []}}", "commands.a.argv: write the program with its whole path"),
        ("commands: {a: {argv: [sh]}}", "commands.a.argv: write the program with its whole path"),
        ("commands: {'a b': {argv: [/bin/a]}}", "'a b': use up to 64 letters"),
        ("commands: {a: {argv: [/bin/a], arguments: ['[']}}", "commands.a.arguments[0]: '[': not a regular expression"),
        ("commands: {a: {argv: [/bin/a], user: no-such-user}}", "commands.a.user: there is no user"),
    ],
)
def test_mistake_is_named_with_file_line_key_and_fix(text: str, says: str) -> None:
    message = bad(f"{text}\n")
    assert message.startswith("file.yaml:2: ")
    assert says in message
