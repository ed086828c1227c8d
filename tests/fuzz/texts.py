"""Texts that others write: tags, the notations, the configuration file, the file of tokens, the state file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from consulcast import config, drain_file, notation, patterns, registration_file, tags
from consulcast.document import ConfigError
from consulcast.model import App, AppKey, Refused, Source
from consulcast.monitors import targets
from consulcast.notation import BadValue
from consulcast.planner import Defaults, plan
from consulcast.policy import Policy
from consulcast.registration import Registration
from consulcast.registry import Registry
from consulcast.web import tokens
from tests.executor.bgp.values import NEXT_HOP4
from tests.fuzz.target import Target, mutated, of_bytes

EXAMPLE = (Path(__file__).parents[2] / "config.example.yaml").read_bytes()
HOSTILE = (
    *(b";", b"$(id)", b"`id`", b"|", b"&&", b"\n", b"\r\n", b"\0", b"\x1b[2J", b"'", b'"', b"\\", b"../", b"%s", b"{}"),
    *("\u202e".encode(), "\u0660".encode(), "\u00b2".encode(), b"\xed\xa0\x80", b"\xff", b"9" * 5000, b"a" * 300),
)
WORDS = (
    *(b"gocast_vip=", b"gocast_monitor=", b"gocast_nat=", b"gocast_vip_communities=", b"enable_gocast", b"gocast_"),
    *(b"port:tcp:53", b"exec:@check", b"consul", b"http:http://127.0.0.1:8080/", b"https://[::1]:443", b"tcp:[::1]:1"),
    *(b"dns:127.0.0.1:example.org:AAAA", b";interval=", b";timeout=1s", b";rise=2", b";fall=3", b";status=200-299"),
    *(b";host=x", b";verify=false", b";address=::1", b";port=53", b"no-export", b"target:", b"65000:1", b"1:2:3"),
    *(b"203.0.113.10/32", b"2001:db8::10/128", b"0.0.0.0/0", b"::/0", b"/", b"tcp:53:8053", b"1h30m", b"500ms", b"1e9"),
)


def text(data: bytes) -> str:
    """Any bytes as a text; what is not UTF-8 becomes half of a surrogate pair, the worst that a text can hold."""
    return data.decode("utf-8", "surrogateescape")


# -- tags: the service's id, its name and its tags, one a line ---------------------------------------------------------

TAGS = b"dns-1\ndns\nenable_gocast\ngocast_vip=203.0.113.10/32\ngocast_vip=2001:db8::10/128\ngocast_nat=tcp:53:8053\n"
TAG_SEEDS = (
    TAGS + b"gocast_monitor=port:tcp:53;interval=1s;fall=3\ngocast_vip_communities=65000:1,no-export",
    TAGS + b"gocast_monitor=exec:@check a;b;interval=2s\ngocast_monitor=consul",
    TAGS + b"gocast_monitor=http:https://example.org:8443/h?a=b;status=200-299,304;verify=false;host=x.example",
    TAGS + b"gocast_monitor=dns:[::1]:example.org:AAAA;port=5353\ngocast_monitor=tcp:[2001:db8::1]:443",
)


def _tags(data: bytes) -> str:
    ident, name, *rest = (text(data) + "\n\n").split("\n")
    found = tags.parse(AppKey(Source.CONSUL, ident), name, ["enable_gocast", *rest])
    if isinstance(found, Refused):
        assert len(found.detail) < 3000, "a message that fills the log"
        assert len(found.key.id) <= 256
        return found.reason.value
    assert isinstance(found, App)
    _survives(found)
    registered = Registry(Policy(nat=frozenset({4, 6}))).set(Source.CONSUL, [found])
    plan(registered.apps, {}, Defaults(nat_to=(NEXT_HOP4,)), 0.0)
    return "app" if registered.apps else "app, refused by policy"


def _survives(app: App) -> None:
    """What is written out for the API and the state file means the same when it is read again."""
    words = Registration.of(app)
    assert tuple(map(notation.vip, words.vips)) == app.vips
    assert tuple(map(notation.nat, words.nats)) == app.nats
    assert tuple(map(notation.community, words.communities)) == app.communities
    for spec, written in zip(app.monitors, words.monitors, strict=True):
        assert notation.monitor(written) == spec, (spec, written)


# -- notations: the first byte chooses one -----------------------------------------------------------------------------

READERS: tuple[Callable[[str], object], ...] = (
    *(notation.vip, notation.community, notation.communities, notation.monitor, notation.nat, notation.port),
    *(notation.duration, patterns.prefix, patterns.vip_range, patterns.ports, patterns.community),
    targets.encode_name,
)
NOTATION_SEEDS = tuple(
    bytes([number]) + example
    for number, examples in enumerate(
        (
            *(
                (b"203.0.113.10/32", b"2001:db8::10/128"),
                (b"65000:1", b"target:1.2.3.4:5", b"1:2:3"),
                (b"1:2, no-peer",),
            ),
            tuple(line.partition(b"=")[2] for seed in TAG_SEEDS for line in seed.split(b"\n") if b"monitor" in line),
            *((b"tcp:53:8053",), (b"65535",), (b"1h30m", b".5s"), (b"203.0.113.0/24",), (b"2001:db8::/32",)),
            *((b"8000-8999",), (b"64512:*", b"target:*:1-9"), (b"example.org.", "größe.example".encode())),
        )
    )
    for example in examples
)


def _notation(data: bytes) -> str:
    if not data:
        return "nothing"
    read = READERS[data[0] % len(READERS)]
    try:
        value = read(text(data[1:]))
    except BadValue:
        return "BadValue"
    if read in (notation.vip, notation.community, notation.monitor):
        assert read(str(value)) == value
    return type(value).__name__


# -- the configuration file --------------------------------------------------------------------------------------------

CONFIG_SEEDS = (
    EXAMPLE,
    b"bgp: {local_as: 65001, peer_as: 65000, peer_ip: 198.51.100.1}\napps:\n- {name: dns, vip: 203.0.113.1/32}\n",
    b"agent: {listen_addr: ':8080', consul_addr: 'http://127.0.0.1:8500', cleanup_timer: 15m, tag_prefix: g}\n"
    b"bgp:\n  local_as: 65001\n  peers:\n  - {address: 2001:db8::1, peer_as: 1, ttl_security: 1, families: [ipv6]}\n"
    b"policy: {reserved: [203.0.113.255/32], services: [{name: 'a*', vips: [203.0.113.0/24]}], consul: {exec: [c]}}\n"
    b"commands: {c: {argv: [/bin/true], arguments: ['[a-z]+']}}\n",
)
YAML = b"""bgp: agent: apps: policy: commands: peers: null &a *a <<: [ ] { } ? !!python/ !!binary !!timestamp .inf .nan
0x10 1e400 -1 2001-01-01 yes !!int !!bool !!float !!set !!omap !!pairs !!null !x !!map !!seq""".split()
CONFIG_WORDS = (
    *(word + b" " for word in YAML),
    *(b"  ", b"- ", b": ", b"|\n", b">-\n", b"%YAML 1.1\n", b"---\n", b"\t", b"\xef\xbb\xbf", *WORDS),
)


@st.composite
def edited_lines(draw: st.DrawFn) -> bytes:
    """The example file with lines taken out, doubled, moved, indented otherwise, or given other values."""
    lines = EXAMPLE.split(b"\n")
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.integers(0, 4))
        if what == 0 and len(lines) > 1:
            del lines[at]
        elif what == 1:
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif what == 2:
            lines[at] = b" " * draw(st.integers(0, 4)) + lines[at].lstrip(b" #")
        else:
            key, colon, _ = lines[at].partition(b":")
            lines[at] = key.replace(b"#", b"") + colon + b" " + draw(mutated(CONFIG_WORDS, CONFIG_WORDS))
    return b"\n".join(lines).decode("utf-8", "ignore").encode()


def _config(data: bytes) -> str:
    try:
        written = data.decode("utf-8")  # as load() does
    except UnicodeDecodeError:
        return "not UTF-8"
    if re.search(r"(file|cert|key|ca)\W*: *\W?(/dev|/proc|/sys)", written):
        return "not tried"  # the file's owner may have any file read
    said = ""
    try:
        config.parse("fuzz.yaml", written)
    except ConfigError as error:
        said = str(error)
    assert not said or said.startswith("fuzz.yaml"), said
    return "ConfigError" if said else "config"


# -- tokens and state --------------------------------------------------------------------------------------------------

SECRET = "a-token-that-is-secret"
STATE_SEEDS = (
    b'{"version":1,"registrations":[{"registration":{"name":"a","vips":["203.0.113.1/32"]}}]}',
    b'{"version":1,"registrations":[{"registration":{"name":"a","vips":["203.0.113.1/32"],"ttl":"30s"},'
    b'"expires":1000000009.5},{"registration":{"name":"b","vips":["2001:db8::1/128"],"monitors":["port:tcp:53"],'
    b'"nats":["tcp:53"],"communities":["1:2"]}},{"registration":{"name":"c","new":1}}]}',
)
DRAIN_SEEDS = (
    b'{"version":1,"drains":[{"target":"node","since":1000000001.5}]}',
    b'{"version":1,"drains":[{"target":"203.0.113.1/32","since":1e9,"until":1000000009.5,"reason":"a b","who":"c"},'
    b'{"target":"consul:dns","since":-1e308,"until":1e308}]}',
)
JSON_WORDS = (
    *(b"null", b"true", b"[", b"]", b"{", b"}", b'"', b",", b":", b"1e999", b"-0", b"NaN", b"9" * 400, b'"\\ud800"'),
    *(b"[" * 3000, b'{"a":' * 3000, b'"\\u0000"', b"1.5", b'""', b"[]", b"{}"),
)


def _tokens(data: bytes) -> str:
    written, said = text(data), ""
    found: tuple[tokens.Token, ...] = ()
    try:
        found = tokens.parse("tokens", written)
    except tokens.BadTokens as error:
        said = str(error)
    assert SECRET not in said
    tokens.find(found, written)
    return "BadTokens" if said else f"{min(len(found), 3)} tokens"


def _state(data: bytes) -> str:
    try:
        state = registration_file.decode(data, 1e9, 5.0)
    except ValueError:
        return "ValueError"
    again = registration_file.decode(registration_file.encode(state, 1e9), 1e9, 5.0)
    assert again.apps == state.apps
    assert again.unreadable.keys() == state.unreadable.keys()
    return f"{min(len(state.held), 3)} held, {min(len(state.unreadable), 3)} kept unread"


def _drains(data: bytes) -> str:
    try:
        drains = drain_file.decode(data, 1e9, 5.0)
    except ValueError:
        return "ValueError"
    again = drain_file.decode(drain_file.encode(drains, 1e9), 1e9, 5.0)
    assert [(item.target, item.reason, item.who) for item in again] == [
        (item.target, item.reason, item.who) for item in drains
    ]
    assert all(item.since <= 5.0 and item.why.isprintable() for item in drains)
    return f"{min(len(drains), 3)} drains"


TARGETS: tuple[Target[bytes], ...] = (
    of_bytes("tags", _tags, TAG_SEEDS, (*WORDS, *HOSTILE)),
    of_bytes("notation", _notation, NOTATION_SEEDS, (*WORDS, *HOSTILE)),
    of_bytes("config", _config, CONFIG_SEEDS, CONFIG_WORDS),
    Target("config-example", _config, edited_lines()),
    of_bytes(
        "tokens",
        _tokens,
        (f"all read,register,drain {SECRET}\n# x\nb read sha256:{'0f' * 32}".encode(),),
        (b"sha256:", b"read", b"drain", b",", b"\n", b"#", *HOSTILE),
    ),
    of_bytes("state", _state, STATE_SEEDS, (*JSON_WORDS, *WORDS)),
    of_bytes("drains", _drains, DRAIN_SEEDS, (*JSON_WORDS, *WORDS)),
)
