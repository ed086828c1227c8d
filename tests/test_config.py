"""The configuration file: what GoCast's users have in theirs, and what a mistake in it is answered."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import config
from consulcast.changes import Kind
from consulcast.config import Config, parse
from consulcast.document import ConfigError
from consulcast.drains import Method, Settings
from consulcast.model import NatRule, Origin

GOCAST_SAMPLE = """
agent:
  # http server listen addr
  listen_addr: :8080
  # Interval for health check
  monitor_interval: 10s
  # Time to flush out inactive apps
  cleanup_timer: 15m
  # Consul api addr for dynamic discovery
  consul_addr: https://consul
  # interval to query consul for app discovery
  consul_query_interval: 5m

bgp:
  local_as: 12345
  remote_as: 6789
  # override the peer IP to use instead of auto discovering
  peer_ip: 198.51.100.254
  communities:
    - 100:100
    - 200:200
  origin: igp

# optional list of apps to register on startup
apps:
  - name: app1
    vip: 203.0.113.1/32
    vip_config:
      # additional per VIP BGP communities
      bgp_communities: [ aaaa:bbbb ]
    monitors:
      - port:tcp:5000
      - exec:/test.sh
    nats: [ "tcp:5000:5001" ]
"""
MINIMAL = "bgp: {local_as: 64512, peer_as: 64513}\n"


def bad(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse("file.yaml", text)
    return str(caught.value)


def bgp(text: str) -> Config:
    return parse("file.yaml", f"bgp:\n  local_as: 64512\n  peer_as: 64513\n{text}")


def test_gocasts_sample_is_read_once_its_placeholder_community_is_filled_in() -> None:
    assert bad(GOCAST_SAMPLE).startswith("file.yaml:30: apps[0].vip_config.bgp_communities[0]: community 'aaaa:bbbb'")
    found = parse("file.yaml", GOCAST_SAMPLE.replace("aaaa:bbbb", "12345:10"))
    (peer,) = found.peers
    assert (peer.local_as, peer.peer_as, str(peer.address)) == (12345, 6789, "198.51.100.254")
    assert [str(item) for item in found.defaults.communities] == ["100:100", "200:200"]
    assert found.defaults.cleanup_timer == 900
    assert found.consul.address == "https://consul"
    (app,) = found.apps
    assert app.nats == (NatRule("tcp", 5000, 5001),)
    assert [str(item) for item in app.monitors] == ["port:tcp:5000", "exec:/test.sh"]
    assert "consul_query_interval" in found.warnings[0]


def test_unquoted_community_is_a_text_not_a_base_60_number() -> None:
    found = bgp("  communities: [65000:1, 1:30]")
    assert [str(item) for item in found.defaults.communities] == ["1:30", "65000:1"]


def test_minimal_file() -> None:
    found = parse("file.yaml", MINIMAL)
    assert found.peers[0].address is None
    assert found.defaults.origin is Origin.IGP


def test_key_with_nothing_behind_it_means_its_default() -> None:
    found = bgp("  communities:\napps:\n- name: a\n  vip: 203.0.113.1/32\n  monitors:\n  vip_config:\n")
    assert found.apps[0].monitors == ()


def test_origin_unknown_is_gocasts_word_for_incomplete() -> None:
    assert bgp("  origin: unknown").defaults.origin is Origin.INCOMPLETE


def test_lease_and_graceful_restart_have_defaults_and_may_be_set() -> None:
    plain = config.parse("file.yaml", MINIMAL)
    assert (plain.lease, plain.graceful_restart) == (10, 0)
    text = "bgp: {local_as: 1, peer_as: 2, lease: 0s, graceful_restart: 2m}"
    told = config.parse("file.yaml", text)
    assert (told.lease, told.graceful_restart) == (0, 120)


def test_peers_inherit_what_bgp_says_and_override_it() -> None:
    found = bgp(
        "  hold_time: 9\n  local_ip: 198.51.100.1\n  peers:\n"
        "  - {address: 198.51.100.2}\n"
        "  - {address: '2001:db8::2', peer_as: 4200000099, hold_time: 0, port: 1179,"
        "     password: s3cret, ttl_security: 1}\n"
    )
    one, two = found.peers
    assert (one.peer_as, one.hold_time, str(one.local_address)) == (64513, 9, "198.51.100.1")
    assert (two.peer_as, two.hold_time, two.port, two.local_address) == (4200000099, 0, 1179, None)
    assert "s3cret" not in repr(found)


def test_password_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret pass\n")
    found = bgp(f"  peers: [{{address: 198.51.100.2, password_file: {secret}}}]")
    assert found.peers[0].password == "s3cret pass"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bgp:\n  locl_as: 1\n", "file.yaml:2: bgp.locl_as: unknown key"),
        ("bgp:\n  local_as: x\n", "file.yaml:2: bgp.local_as: write a whole number; it is a text (in quotes)"),
        ("bgp:\n  local_as: 1\n", "bgp.peer_as: is missing"),
        ("bgp:\n  peer_as: 1\n", "bgp.local_as: is missing"),
        ("bgp:\n  local_as: 0\n  peer_as: 1\n", "file.yaml:2: bgp.local_as: 0 is not an AS number"),
        ("bgp:\n  local_as: 1\n  peer_as: 2\n  remote_as: 3\n", "file.yaml:4: bgp.remote_as: differs from peer_as (2)"),
        ("bgp:\n  local_as: 1\n  local_as: 2\n", "file.yaml:3: local_as: stands twice, first on line 2"),
        (MINIMAL + "agent:\n  cleanup_timer: 15\n", "file.yaml:3: agent.cleanup_timer: duration '15'"),
        (MINIMAL + "agent:\n  tag_prefix: a-b\n", "file.yaml:3: agent.tag_prefix"),
        (MINIMAL + "agent:\n  run_dir: run\n", "file.yaml:3: agent.run_dir: 'run': write an absolute path"),
        (MINIMAL + "consul:\n  warning: maybe\n", "file.yaml:3: consul.warning"),
        (MINIMAL + "consul:\n  wait: 11m\n", "file.yaml:3: consul.wait"),
        (MINIMAL + "consul:\n  mass_removal: 1.5\n", "file.yaml:3: consul.mass_removal"),
        (MINIMAL + "consul:\n  stale_limit: 15s\n", "longer than restart_grace and removal_hold (15s)"),
        (
            MINIMAL + "consul: {stale_limit: 20s, removal_hold: 30s}\n",
            "longer than restart_grace and removal_hold (30s)",
        ),
        (
            MINIMAL[:-2] + ", damping: {reuse: 5000}}\n",
            "bgp.damping.reuse: must be 100 at least and less than suppress",
        ),
        (MINIMAL[:-2] + ", damping: {max_suppress: 1m}}\n", "bgp.damping.max_suppress: is too short for suppress"),
        (MINIMAL[:-2] + ", damping: {half_life: 0s}}\n", "bgp.damping.half_life: must be from 1s"),
        ("bgp: {local_as: 1, peer_as: 2, lease: 1s}", "file.yaml:1: bgp.lease: must be from 2s to 10m, or 0s for none"),
        ("bgp: {local_as: 1, peer_as: 2, lease: 11m}", "bgp.lease: must be"),
        ("bgp: {local_as: 1, peer_as: 2, graceful_restart: 4096s}", "bgp.graceful_restart: must be whole seconds from"),
        ("bgp: {local_as: 1, peer_as: 2, graceful_restart: 1500ms}", "bgp.graceful_restart: must be whole seconds"),
        (MINIMAL + "consul: {token: a, token_file: /b}\n", "file.yaml:2: consul.token_file"),
        (MINIMAL + "agent: {consul_token: a}\nconsul: {token: b}\n", "agent.consul_token: differs from consul.token"),
        (MINIMAL + "apps:\n- vip: 203.0.113.1/32\n", "file.yaml:3: apps[0]: the key 'name' is missing"),
        (MINIMAL + "apps:\n- name: a\n", "apps[0]: app 'a' has no VIP"),
        (MINIMAL + "apps:\n- name: a\n  vip: 203.0.113.1\n", "file.yaml:4: apps[0].vip: VIP '203.0.113.1' has no"),
        (
            MINIMAL + "apps:\n- {name: a, vip: 203.0.113.1/32}\n- {name: a, vip: 203.0.113.2/32}\n",
            "file.yaml:4: apps[1].name: 'a' is an app already",
        ),
        (
            MINIMAL + "apps:\n- name: a\n  vip: 203.0.113.1/32\n  monitors:\n  - prot:tcp:1\n",
            "file.yaml:6: apps[0].monitors[0]",
        ),
        ("bgp: [1\n", "file.yaml:2: not valid YAML"),
        ("- 1\n", "write keys with values; it is a list"),
        ("? [a]\n: 1\n", "file.yaml:1: a key must be a plain word"),
        ("&a [*a]", "an alias"),
        ("a: \x00", "not valid YAML"),
        ("[" * 100_000, "file.yaml:1: nested too deeply"),
        ("- " * 100_000, "file.yaml:1: nested too deeply"),
    ],
)
def test_mistake_is_named_with_file_line_key_and_fix(text: str, says: str) -> None:
    assert says in bad(text)


@pytest.mark.parametrize(
    ("peer", "says"),
    [
        ("{address: x}", "'x' is not an IP address"),
        ("{address: 198.51.100.2, port: 0}", "port: must be from 1 to 65535"),
        ("{address: 198.51.100.2, ttl: 256}", "ttl: must be from 1 to 255"),
        ("{address: 198.51.100.2, ttl: 2, ttl_security: 1}", "remove one of the two"),
        ("{address: 198.51.100.2, ttl_security: 255}", "ttl_security"),
        ("{address: 198.51.100.2, hold_time: 2}", "must be 0 or from 3 to 65535"),
        ("{address: 198.51.100.2, families: []}", "families: is empty"),
        ("{address: 198.51.100.2, families: [ipv5]}", "families[0]"),
        ("{address: 198.51.100.2, local_address: '2001:db8::1'}", "two families"),
        ("{address: 198.51.100.2, next_hop_ipv6: 198.51.100.1}", "not an IPv6 address"),
        ("{address: 198.51.100.2, password: 'a\"b'}", "without quotes"),
        ("{address: 198.51.100.2, password: a, password_file: /b}", "write it in one place"),
        ("{address: 198.51.100.2, password_file: /does/not/exist}", "cannot be read"),
    ],
)
def test_mistake_in_a_peer_is_named(peer: str, says: str) -> None:
    message = bad(f"bgp:\n  local_as: 1\n  peer_as: 2\n  peers:\n  - {peer}\n")
    assert message.startswith("file.yaml:5: bgp.peers[0]")
    assert says in message


def test_two_sessions_to_one_address_are_refused() -> None:
    assert "is a peer already" in bad(
        "bgp:\n  local_as: 1\n  peer_as: 2\n  peers: [{address: 198.51.100.2}, {address: 198.51.100.2}]"
    )


def test_peer_ip_beside_peers_is_refused() -> None:
    text = "bgp:\n  local_as: 1\n  peer_as: 2\n  peer_ip: 198.51.100.3\n  peers: [{address: 198.51.100.2}]"
    assert "file.yaml:4: bgp.peer_ip" in bad(text)


def test_aliases_of_aliases_are_refused_in_time() -> None:
    levels = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9))
    assert "aliases" in bad(f"a0: &a0 [x]\n{levels}")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="is not a file"):
        config.load(str(tmp_path / "fifo"))


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        config.load(str(tmp_path / "none.yaml"))
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(str(binary))


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse("file.yaml", text)


def test_stale_limit_is_none_unless_it_is_written() -> None:
    assert parse("file.yaml", MINIMAL).defaults.stale_limit is None
    assert parse("file.yaml", MINIMAL + "consul: {stale_limit: 5m}\n").defaults.stale_limit == 300


def test_publishing_and_hooks_are_off_by_default() -> None:
    found = parse("file.yaml", MINIMAL)
    assert (found.publish.kv, found.publish.service, found.hook) == ("", "", None)


def test_a_hook_runs_as_the_commands_do_and_for_the_kinds_that_are_named() -> None:
    text = "exec: {user: root, files: 9}\nhooks: {on_change: [/bin/x, -a], kinds: [vip], timeout: 2s, queue: 7}\n"
    found = parse("file.yaml", f"{MINIMAL}\n{text}").hook
    assert found is not None
    assert (found.command.argv, found.timeout, found.queue) == (("/bin/x", "-a"), 2.0, 7)
    assert found.kinds == frozenset({Kind.VIP})
    assert found.command.user is not None
    assert (found.command.user.name, found.command.limits.files) == ("root", 9)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("publish: {kv: /a/}", "publish.kv"),
        ("publish: {kv: a}", "ends with a slash"),
        ("publish: {kv: a//}", "publish.kv"),
        ("publish: {service: a.b}", "letters, digits and hyphens"),
        ("publish: {ttl: 14s}", "from 15s"),
        ("publish: {checks: true}", "unknown key 'checks'"),
        ("hooks: {on_change: [sh]}", "whole path"),
        ('hooks: {on_change: [/bin/sh, "a\\0"]}', "whole path"),
        ("hooks: {kinds: [vips]}", "hooks.kinds[0]"),
        ("hooks: {timeout: 0s}", "hooks.timeout"),
        ("hooks: {queue: 0}", "from 1 to 1000"),
    ],
)
def test_a_bad_way_to_publish_or_hook_is_refused_with_the_fix(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(error)):
        parse("file.yaml", f"{MINIMAL}\n{text}")


def test_drain_has_its_defaults_and_can_be_changed() -> None:
    assert parse("f", MINIMAL).defaults.drain == Settings(Method.GRACEFUL_SHUTDOWN, 4294967295, 3, 5.0, 30.0)
    text = MINIMAL + "drain: {method: med, med: 7, prepend: 1, wait: 1m, flows: 0s}\n"
    assert parse("f", text).defaults.drain == Settings(Method.MED, 7, 1, 60.0, 0.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{method: weight}", "drain.method"),
        ("{med: 4294967296}", "0 to 4294967295"),
        ("{med: -1}", "0 to 4294967295"),
        ("{prepend: 0}", "1 to 16"),
        ("{prepend: 17}", "1 to 16"),
        ("{wait: 2h}", "at most 1h"),
        ("{flows: 25h}", "at most 24h"),
        ("{wiat: 5s}", "wiat"),
    ],
)
def test_bad_drain_is_refused_with_its_place(text: str, says: str) -> None:
    assert says in bad(MINIMAL + f"drain: {text}\n")
