"""What a GoCast file means here, and the same in our words."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consulcast import config
from consulcast.document import ConfigError
from consulcast.migration import Weight, migrate

# The sample of GoCast's own README, with its keys.
SAMPLE = """\
agent:
  listen_addr: :8080
  monitor_interval: 10s
  cleanup_timer: 15m
  consul_addr: http://127.0.0.1:8500/v1
  consul_query_interval: 5m
  consul_token: abc
bgp:
  local_as: 12345
  remote_as: 6789
  local_ip: 198.51.100.1
  peer_ip: 198.51.100.2
  communities:
    - 100:100
  origin: igp
apps:
  - name: app1
    vip: 203.0.113.1/32
    vip_config:
      bgp_communities: [ 111:222 ]
    monitors:
      - port:tcp:5000
"""


def said(text: str) -> dict[str, list[tuple[int, Weight, str]]]:
    found: dict[str, list[tuple[int, Weight, str]]] = {}
    for remark in migrate("g.yaml", text).remarks:
        found.setdefault(remark.key, []).append((remark.line, remark.weight, remark.text))
    return found


def test_every_key_of_the_sample_is_told_and_it_works() -> None:
    found = migrate("g.yaml", SAMPLE)
    assert found.works
    keys = {remark.key: remark.line for remark in found.remarks}
    for section, values in yaml.safe_load(SAMPLE).items():
        for name in values if section != "apps" else ():
            assert keys[f"{section}.{name}"] > 0
    assert keys["apps[0]"] == 17
    assert keys["policy"] == 0


def test_the_written_file_means_the_same() -> None:
    theirs, ours = config.parse("g", SAMPLE), config.parse("c", migrate("g.yaml", SAMPLE).file)
    for part in ("peers", "apps", "defaults", "rules"):
        assert getattr(ours, part) == getattr(theirs, part)
    assert (ours.consul.address, ours.consul.token) == (theirs.consul.address, theirs.consul.token)
    assert ours.agent.listen_addr == theirs.agent.listen_addr
    assert ours.warnings == ()


@pytest.mark.parametrize(
    ("text", "key", "word"),
    [
        ("agent: {foo: 1}", "agent.foo", "passes over it"),
        ("log: {level: 1}", "log", "passes over it"),
        ('bgp: {communities: ["70000:1", "1:x"]}', "bgp.communities[1]", "'1:x'"),
        ("apps: [{name: a, vip: 10.0.0.1}]", "apps[0].vip", "prefix length"),
        ("apps: [{name: a, vip: 10.0.0.1/32, monitors: [ping]}]", "apps[0].monitors[0]", "'ping'"),
        ("apps: [{name: a, vip: 10.0.0.1/32, port: 1}]", "apps[0].port", "passes over it"),
        ("apps: [{name: a, vip: 127.0.0.1/32}]", "apps[0]", "vip-not-allowed"),
        ("apps: [{name: a}]", "apps[0]", "needs a name and a vip"),
        ("bgp: {local_as: 1, remote_as: 2, origin: x}", "bgp.origin", "x"),
        ("bgp: {peer_ip: x, local_as: 1, peer_as: 2}", "bgp.peer_ip", "'x' is not an IP address"),
        ("bgp: {peer_as: 2}", "bgp.local_as", "is missing"),
        ("bgp: {local_as: 2}", "bgp.peer_as", "is missing"),
        ("foo: 1\nbgp: {local_as: 1, peer_as: 2}", "foo", "passes over it"),
        ("apps: {name: a}\nbgp: {local_as: 1, peer_as: 2}", "apps", "a list"),
        ("apps: [{name: a, vip: 10.0.0.1/32, monitors: consul}]", "apps[0].monitors", "write a list; it is a text"),
    ],
)
def test_what_would_be_refused_is_named(text: str, key: str, word: str) -> None:
    found = said(text)
    assert any(weight is Weight.MEND and word in what for _, weight, what in found[key])


def test_all_that_has_to_be_mended_is_told_at_once_and_never_called_the_same() -> None:
    text = (
        "agent: {listen_addr: 8080, monitor_interval: soon}\n"
        "bgp: {local_as: x, peer_as: 2, remote_as: 3, communities: nope, origin: IGP}\n"
        "apps: [{name: a, vip: 10.0.0.1/32, monitors: consul}, {name: b, vip: 10.0.0.2/32, nats: 1}]\n"
    )
    found = said(text)
    mend = {key for key, remarks in found.items() if any(weight is Weight.MEND for _, weight, _ in remarks)}
    assert {"agent.listen_addr", "agent.monitor_interval", "bgp.local_as", "bgp.communities"} <= mend
    assert {"bgp.remote_as", "apps[0].monitors", "apps[1].nats"} <= mend
    assert not [key for key in mend if any(weight is Weight.SAME for _, weight, _ in found[key])]


@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("monitors: ['exec:/bin/true']", "policy: {consul: {exec: allow}, http: {exec: allow}}"),
        ("nats: ['tcp:80:22']", "policy: {consul: {nat_dest: [1-65535]}, http: {nat_dest: [1-65535]}}"),
        ("vip_config: {bgp_communities: ['65535:666']}", 'policy: {consul: {communities: ["65535:666"]}}'),
        ("vip: 10.0.0.0/24", "policy: {consul: {vips: [{prefix: 10.0.0.0/24, min: 24}]}}"),
    ],
)
def test_what_a_tag_may_not_ask_for_has_the_line_that_allows_it_and_the_line_works(app: str, line: str) -> None:
    vip = "" if app.startswith("vip:") else "vip: 203.0.113.1/32, "
    text = f"bgp: {{local_as: 1, peer_as: 2}}\napps: [{{name: a, {vip}{app}}}]\n"
    ((at, weight, what),) = [one for one in said(text)["apps[0]"] if "tag" in one[2]]
    assert (at, weight) == (2, Weight.NOTE)
    assert f"`{line}`" in what
    config.parse("c", f"{text}{line}\n")


def test_where_gocast_did_something_else_it_is_said() -> None:
    found = said("apps: [{name: a, vip: 10.0.0.5/24, monitors: ['port:tcp:80']}]")
    texts = " ".join(what for _, _, what in found["apps[0]"])
    assert "10.0.0.5 is put on the host" in texts
    assert "GoCast tried to take the port itself" in texts


@pytest.mark.parametrize("text", ["[1]", "x", "a: b", "agent: {"])
def test_what_is_no_gocast_file_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        migrate("g.yaml", text)


_KEYS = st.sampled_from(["name", "vip", "monitors", "nats", "vip_config", "bgp_communities", "x"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["10.0.0.1/32", ":80", "exec:x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "vip", "monitors", "nats", "vip_config", "bgp_communities", "x"]), inner
        )
    ),
    max_leaves=8,
)
_FILES = st.dictionaries(
    st.sampled_from(["agent", "bgp", "apps", "other"]),
    _VALUES | st.dictionaries(st.sampled_from(["listen_addr", "local_as", "communities", "consul_addr"]), _VALUES),
)


@given(_FILES)
def test_nothing_but_a_config_error_comes_of_any_file(data: object) -> None:
    try:
        found = migrate("g.yaml", yaml.safe_dump(data))
    except ConfigError:
        return
    if found.works:
        config.parse("c", found.file)
