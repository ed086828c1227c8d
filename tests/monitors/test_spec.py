"""Monitors as they are written, what they mean, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.model import MonitorSpec
from consulcast.monitors import targets
from consulcast.notation import BadValue


def test_options_of_a_tag() -> None:
    spec = notation.monitor("port:tcp:53;fall=3;interval=1s")
    assert spec == MonitorSpec("port", "tcp:53", interval=1.0, fall=3)
    assert notation.monitor("port:tcp:53; interval=1s ; rise=2") == MonitorSpec("port", "tcp:53", interval=1.0, rise=2)


def test_mapping_of_the_configuration_file() -> None:
    written = {"monitor": "port:tcp:53", "interval": "1s", "timeout": "2s", "rise": 2, "fall": 3}
    assert notation.monitor(written) == MonitorSpec("port", "tcp:53", 1.0, 2.0, 2, 3)
    assert notation.monitor({"monitor": "http:https://[::1]/", "verify": False, "status": 204}).options == (
        ("status", "204"),
        ("verify", "false"),
    )


@pytest.mark.parametrize(
    ("text", "command", "fall"),
    [
        ("exec:test 1 = 0; /x --a=b:c", "test 1 = 0; /x --a=b:c", None),
        ("exec:a; b;fall=3", "a; b", 3),
        ("exec:a;fall=3;interval=1s", "a", 3),
        ("exec:a;fall=3;b", "a;fall=3;b", None),
        ("exec:a;fall=3;", "a;fall=3;", None),
        ("exec:a;timeout=5 curl http://[::1]:80/", "a;timeout=5 curl http://[::1]:80/", None),
        ("""exec:bash -c "a;fall=3\"""", """bash -c "a;fall=3\"""", None),
        ("exec:a;status=200", "a;status=200", None),
        ("exec:a\nb;fall=3", "a\nb", 3),
    ],
)
def test_only_known_options_at_the_end_of_a_command_are_options(text: str, command: str, fall: int | None) -> None:
    spec = notation.monitor(text)
    assert (spec.target, spec.fall) == (command, fall)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot:tcp:80", "kind 'prot' is not one of port, exec, consul, http, tcp, dns"),
        ("port", "nothing follows `port:`"),
        ("exec:", "nothing follows `exec:`"),
        ("exec:;fall=3", "nothing follows"),
        ("exec:a\0b", "NUL"),
        ("exec:\ud800", "surrogate"),
        ("consul:x", "takes no argument"),
        ("consul;fall=3", "failures_before_critical"),
        ("port:tcp:99999", "port '99999' is not a number from 1 to 65535"),
        ("port:tcp:0", "port '0'"),
        ("port:sctp:53", "write port:tcp:NUMBER"),
        ("port:53", "write port:tcp:NUMBER"),
        ("port:tcp:53;address=x", "is not an IP address"),
        ("port:tcp:53;fal=3", "option 'fal' is not one of interval, timeout, rise, fall, address"),
        ("port:tcp:53;fall", "'fall' is not option=value"),
        ("port:tcp:53;fall=", "is not option=value"),
        ("port:tcp:53;fall=0", "fall=0: write a number of looks from 1 to 100"),
        ("port:tcp:53;fall=x", "fall=x"),
        ("port:tcp:53;fall=1;fall=1", "fall is written twice"),
        ("port:tcp:53;interval=10", "duration '10'"),
        ("port:tcp:53;interval=1ms", "write a time from 0.1s to 86400s"),
        ("exec:a;timeout=x", "duration 'x'"),
        ("http:example.org", "write the whole URL"),
        ("http:ftp://example.org/", "write the whole URL"),
        ("http:http://:80/", "write the whole URL"),
        ("http:http://h:0/", "write the whole URL"),
        ("http:http://h:99999/", "not a URL"),
        ("http:http://[::1/", "not a URL"),
        ("http:http://a:b@h/", "a user and a password"),
        ("http:http://h/a b", "write it as %XX"),
        ("http:http://h/\r\nX: y", "write"),
        ("http:http://h/a;b=c", "a `;` in a URL is written %3B"),
        ("http:http://h/;status=20", "such as 200-299,304"),
        ("http:http://h/;verify=no", "write true, or false"),
        ("http:http://h/;host=a b", "is not a host's name"),
        ("tcp:h", "write tcp:HOST:PORT"),
        ("tcp::1:80", "is not a host's name"),
        ("tcp:[x]:80", "is not an IPv6 address"),
        ("tcp:h:0", "port '0'"),
        ("dns:127.0.0.1", "write dns:SERVER:NAME"),
        ("dns:::1:example.org", "write dns:SERVER:NAME"),
        ("dns:127.0.0.1:a..b", "is not a domain name"),
        ("dns:127.0.0.1:" + "a" * 64, "is not a domain name"),
        ("dns:127.0.0.1:example.org:FOO", "type 'FOO' is not one of A, NS"),
        ("dns:127.0.0.1:example.org;port=0", "port '0'"),
    ],
)
def test_mistake_is_told_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(BadValue, match=r"^monitor ") as caught:
        notation.monitor(text)
    assert says in str(caught.value)


def test_mapping_without_monitor_and_option_in_both_places_are_refused() -> None:
    with pytest.raises(BadValue, match="the key 'monitor' is missing"):
        notation.monitor({"interval": "1s"})
    with pytest.raises(BadValue, match="stands in quotes"):
        notation.monitor({"exec": "/check"})  # `- exec: /check` in YAML
    with pytest.raises(BadValue, match="fall is written twice"):
        notation.monitor({"monitor": "port:tcp:53;fall=3", "fall": 3})


@pytest.mark.parametrize(
    "text",
    [
        "consul",
        "port:udp:53",
        "port:tcp:53;interval=1.5s;timeout=0.01s;rise=2;fall=3;address=198.51.100.1",
        "exec:a; b;fall=3",
        "http:https://h/a%3Bb?c=d;interval=3600s;host=example.org;status=200-299,304;verify=false",
        "dns:[::1]:example.org:AAAA;port=5353",
    ],
)
def test_a_monitor_is_shown_as_it_is_written(text: str) -> None:
    assert str(notation.monitor(text)) == text


_WORDS = st.sampled_from(
    ["exec:", "port:tcp:53", ";", "fall=3", "interval=", "1s", " ", "=", "x", '"', "\n", ";fall=2"]
)


@given(st.lists(_WORDS, max_size=8).map("".join) | st.text(max_size=20).map(lambda text: f"exec:{text}"))
def test_what_is_shown_reads_back_as_the_same(text: str) -> None:
    with contextlib.suppress(BadValue):
        spec = notation.monitor(text)
        assert notation.monitor(str(spec)) == spec


@given(st.sampled_from(["port", "http", "tcp", "dns", "consul", "exec"]), st.text(max_size=30))
def test_any_text_is_a_monitor_or_a_bad_value(kind: str, text: str) -> None:
    with contextlib.suppress(BadValue):
        notation.monitor(f"{kind}:{text}")


def test_parts_of_a_url() -> None:
    url = targets.url(notation.monitor("http:https://[2001:db8::1]:8443/a?b=c;status=200,301-302;host=www.example.org"))
    assert url.endpoint == targets.Endpoint("2001:db8::1", 8443)
    assert (url.tls, url.path, url.host, url.server_name) == (True, "/a?b=c", "www.example.org", "www.example.org")
    assert url.statuses == ((200, 200), (301, 302))
    assert url.verify
    plain = targets.url(notation.monitor("http:http://127.0.0.1:8080"))
    assert (plain.path, plain.host, plain.statuses) == ("/", "127.0.0.1:8080", ((200, 299),))
    assert targets.url(notation.monitor("http:http://[::1]:80/")).host == "[::1]"


def test_parts_of_a_question() -> None:
    asked = targets.question(notation.monitor("dns:[2001:db8::53]:example.org:aaaa;port=5353"))
    assert asked == targets.Question(targets.Endpoint("2001:db8::53", 5353), "example.org", "AAAA")
    assert targets.question(notation.monitor("dns:ns.example.org:.:NS")).name == "."
    assert targets.encode_name(".") == b"\0"
    assert targets.encode_name("a.bc.") == b"\1a\2bc\0"
    assert targets.encode_name("bücher.example") == b"\x0dxn--bcher-kva\7example\0"
