"""What comes over a wire: Consul's answers, ExaBGP's events, the relay's bytes, DNS answers, the kernel's messages."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import gevent
import gevent.socket
from gevent.event import Event
from hypothesis import strategies as st

from consulcast import tags
from consulcast.consul import transport
from consulcast.consul.bodies import Check, Service
from consulcast.consul.client import Client, Right
from consulcast.consul.errors import ConsulError
from consulcast.consul.join import Join
from consulcast.consul.settings import settings_from
from consulcast.executor import device_events, ifaddr, netlink, own_changes, requests, routes
from consulcast.executor.bgp import events, relay
from consulcast.executor.bgp.sessions import Sessions
from consulcast.executor.kernel import Link
from consulcast.executor.nat import netlink as netfilter
from consulcast.monitors import dns, sock_diag, targets
from tests.executor.bgp.values import peer
from tests.fuzz.target import Target, of_bytes
from tests.fuzz.texts import JSON_WORDS, WORDS

# -- Consul's answers: the first byte chooses the question, the rest is what comes back --------------------------------

HEADERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Consul-Index: 42\r\nX-Consul-Knownleader: true\r\n"
    b"X-Consul-Lastcontact: 0\r\nConnection: close\r\n\r\n"
)
CATALOG = (
    b'{"Node":{"Node":"n1","ID":"x"},"Services":{"dns-1":{"ID":"dns-1","Service":"dns","Tags":["enable_gocast",'
    b'"gocast_vip=203.0.113.1/32","gocast_monitor=consul"],"CreateIndex":12,"Port":53}}}'
)
CHECKS = (
    b'[{"Node":"n1","CheckID":"serfHealth","Name":"s","Status":"passing","Output":"x"},{"CheckID":"c","Status":'
    b'"warning","ServiceID":"dns-1","ServiceName":"dns"},{"CheckID":"_service_maintenance:dns-1","Status":"critical"}]'
)
BODIES = (
    *(CATALOG, CHECKS, b'{"dns-1":{"ID":"dns-1","Service":"dns","Tags":[]}}', b'{"c":{"CheckID":"c","Status":"x"}}'),
    *(b'"198.51.100.1:8300"', b'[{"Resource":"node","Segment":"n1","Access":"read","Allow":true}]'),
)
ERRORS = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 17\r\n\r\nNo cluster leader",
    b"HTTP/1.1 403 Forbidden\r\n\r\nrpc error: ACL not found",
    b"HTTP/1.1 301 Moved\r\nLocation: /ui/\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Consul-Index: 1\r\n\r\n4\r\nnull\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
)
HTTP_WORDS = (
    *(b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2 ", b"\r\n", b"\n", b"\r\n\r\n", b"Content-Length: ", b" 401 ", b" 429 "),
    *(b"X-Consul-Index: ", b"Content-Encoding: gzip\r\n", b"Location: http://[\r\n", b"Set-Cookie: a=b\r\n", b" 418 "),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"99999999999999999999",
        b"-1",
        b"\xd9\xa0",
        b"0x1",
        b"\x1f\x8b",
        b"X: \xff\r\n",
    ),
)


class _Told:
    """A connection to something that says what it is told to, whatever it is asked."""

    def __init__(self, said: bytes) -> None:
        self.said = said[:100_000]
        self.theirs: list[socket.socket] = []  # open until the answer is read: closed earlier, they would reset it

    def connect(self) -> socket.socket:
        """Give our end, in which the answer is already."""
        ours, theirs = socket.socketpair()
        theirs.sendall(self.said)
        theirs.shutdown(socket.SHUT_WR)
        self.theirs.append(theirs)
        return ours

    def close(self) -> None:
        """Close the other ends."""
        while self.theirs:
            self.theirs.pop().close()


SETTINGS = settings_from({}, address="127.0.0.1:1")
CLIENT = Client(SETTINGS)
HTTP = cast(Any, CLIENT)._http
QUESTIONS: tuple[Callable[[], Any], ...] = (
    lambda: CLIENT.catalog_node("n1", index=1, wait=1.0).data,
    lambda: CLIENT.health_node("n1").data,
    CLIENT.agent_services,
    CLIENT.agent_checks,
    CLIENT.status_leader,
    lambda: CLIENT.missing_rights([Right("node", "n1")]),
)
SERVICE = {"dns-1": Service("dns-1", "dns", ("enable_gocast", "gocast_vip=203.0.113.1/32", "gocast_monitor=consul"), 1)}


def _consul(data: bytes) -> str:
    if not data:
        return "nothing"
    number = data[0] % len(QUESTIONS)
    told = _Told(data[1:])
    HTTP._connections = transport.Connections(SETTINGS, 1)
    HTTP._connections._connect = told.connect
    found, trouble = None, None
    try:
        found = QUESTIONS[number]()
    except ConsulError as error:
        trouble = error
    finally:
        HTTP.close()
        told.close()
    if trouble is not None:
        assert len(str(trouble)) < 1000, "a message that fills the log"
        return trouble.kind
    services: dict[str, Service] = dict(found.services or {}) if number == 0 and found is not None else SERVICE
    checks: dict[str, Check] = {check.id: check for check in found or ()} if number == 1 else {}
    Join(tags.parse, "fail")(services, checks, 0.0)
    return f"answer {number}"


# -- ExaBGP's lines ----------------------------------------------------------------------------------------------------

SESSION = {
    "peer": {"address": "198.51.100.2", "as": 65000, "id": "198.51.100.2"},
    "local": {"address": "198.51.100.1", "as": 65001, "id": "1.1.1.1", "hold": 90, "families": ["ipv4 unicast"]},
    "fsm": "ESTABLISHED",
    "state": "up",
    "duration": 12,
    "families": ["ipv4 unicast", "ipv6 unicast"],
    "messages": {"sent": {"open": 1, "update": 2}, "received": {"open": 1}},
}
NEIGHBOR = {"address": {"local": "198.51.100.1", "peer": "198.51.100.2"}, "asn": {"local": 65001, "peer": 65000}}


def _line(kind: str, **more: Any) -> bytes:
    return json.dumps({"exabgp": "5.0.0", "type": kind, "neighbor": {**NEIGHBOR, **more}}).encode()


EVENT_SEEDS = (
    *(b"done", b"error", b"exabgp 5.0.15", json.dumps([SESSION]).encode(), b'{"type":"notification"}'),
    *(_line("state", state="up"), _line("state", state="down", reason="x"), _line("state", state="connected")),
    _line("negotiated", negotiated={"families": ["ipv4 unicast", "ipv6 unicast"]}),
    _line("notification", direction="receive", message={"body": "0x06020548656c6c6f"}),
    b'{"table":"198.51.100.2","part":0,"parts":1,"routes":{"203.0.113.1/32":"announce route 203.0.113.1/32"}}',
)


def _events(data: bytes) -> str:
    try:
        event = events.parse(data)
    except ValueError:
        return "ValueError"
    if isinstance(event, events.Snapshot):
        for session in event.sessions:
            assert isinstance(session.age, float)
            counts = [*session.sent.values(), *session.received.values()]
            assert all(isinstance(count, int) for count in counts), counts
    if isinstance(event, events.Table):
        assert isinstance(event.part, int)
        assert isinstance(event.parts, int)
    if isinstance(event, events.Down):
        assert isinstance(event.reason, str)
    if isinstance(event, events.Snapshot | events.Up | events.Down | events.Negotiated | events.Notified):
        Sessions([peer()], lambda: 1e6).apply(event)
    return type(event).__name__


# -- the relay ---------------------------------------------------------------------------------------------------------

SMALL = st.one_of(st.binary(max_size=32), st.sampled_from([b"\0", b"\n", b"\0\n\0", b"announce route x\n"]))
FEW = st.lists(SMALL, max_size=5)
PIECES = st.integers(0, 19).flatmap(lambda n: FEW if n else st.just([b"x\0" * 150_000, b"y"]))


def _relay(case: tuple[list[bytes], list[bytes], bool]) -> str:
    """Bytes cross in both ways whole and in order, less the daemon's NULs, however they are split."""
    commands, said, daemon_first = case
    daemon, relays_daemon = gevent.socket.socketpair()
    stdin, exabgp_out = gevent.socket.socketpair()
    stdout, exabgp_in = gevent.socket.socketpair()
    heard, obeyed, more = bytearray(), bytearray(), Event()

    def read(connection: Any, into: bytearray) -> None:
        while chunk := connection.recv(65536):
            into += chunk
            more.set()

    def say(connection: Any, pieces: list[bytes]) -> None:
        for piece in pieces:
            connection.sendall(piece)
            gevent.sleep(0)

    wanted = b"".join(commands).replace(b"\0", b"")
    with mock.patch.object(relay, "sys", SimpleNamespace(stdin=stdin, stdout=stdout)):
        copying = gevent.spawn(relay._copy, relays_daemon, relay.Lease(0, 0.0))
        readers = [gevent.spawn(read, daemon, heard), gevent.spawn(read, exabgp_in, obeyed)]
        gevent.joinall([gevent.spawn(say, daemon, commands), gevent.spawn(say, exabgp_out, said)], raise_error=True)
        with gevent.Timeout(10):
            while len(obeyed) < len(wanted) or (daemon_first and len(heard) < sum(map(len, said))):
                more.clear()
                more.wait()
            (daemon if daemon_first else exabgp_out).shutdown(socket.SHUT_WR)
            ended = copying.get()
    for one in (relays_daemon, stdout):
        one.shutdown(socket.SHUT_WR)
    gevent.joinall(readers, timeout=10, raise_error=True)
    for one in (daemon, relays_daemon, stdin, exabgp_out, stdout, exabgp_in):
        one.close()
    assert ended is daemon_first
    assert bytes(obeyed) == wanted
    assert bytes(heard) == b"".join(said)
    return "the daemon's end" if daemon_first else "ExaBGP's end"


# -- DNS ---------------------------------------------------------------------------------------------------------------

QUERY = dns.message(0x1234, targets.Question(targets.Endpoint("127.0.0.1", 53), "example.org", "A"))
DNS_SEEDS = (
    QUERY[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + QUERY[12:] + bytes.fromhex("c00c000100010000003c0004cb007101"),
    QUERY[:2] + struct.pack(">5H", 0x8303, 1, 0, 0, 0) + QUERY[12:],
    QUERY[:2] + struct.pack(">5H", 0x8005, 0, 0, 0, 0),
)


def _dns(data: bytes) -> str:
    if not dns.answers(QUERY, data):
        return "not an answer"
    look = dns.judge(data)
    assert not look.passed or (dns.flags(data) & 0x800F) == 0x8000
    assert len(look.detail) < 100
    return "passing" if look.passed else "failing"


# -- the kernel --------------------------------------------------------------------------------------------------------


class _Kernel:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def recv(self, size: int) -> bytes:
        """What is left, and then the end of a dump."""
        data, self.data = self.data, message(3, bytes(4))
        return data[:size]


def message(kind: int, body: bytes) -> bytes:
    """One netlink message."""
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + bytes(-len(body) % 4)


DEVICE = device_events.DeviceEvents("lo", own_changes.OwnChanges(lambda: 7), lambda kind: None, cast(Any, None))
INET = bytes([socket.AF_INET6, 10, 0, 0]) + struct.pack(">HH", 53, 0) + bytes(64)
KERNEL_SEEDS = (
    message(20, INET + struct.pack("=HHB3x", 5, 11, 1)) + message(20, INET) + message(3, bytes(4)),
    message(2, struct.pack("=i", -13) + bytes(16)),
    message(16, struct.pack("=BxHiII", 0, 1, 1, 0x1043, 0) + struct.pack("=HH4s", 7, 3, b"lo\0\0")),
    message(20, struct.pack("=BBBBi", 2, 32, 0, 0, 1) + struct.pack("=HH4s", 8, 1, bytes([203, 0, 113, 1]))),
    message(0xA00, bytes(4) + struct.pack("=HH12s", 15, 1, b"consulcast\0\0")),
)


def _kernel(data: bytes) -> str:
    heard = tuple(netlink.split(data))
    for one in heard:
        netlink.attributes(one.body)
        said = ifaddr.read(one.body), routes.read(one.body)
        assert said[0] is None or said[0].interface
        assert said[1] is None or not said[1].packed or said[1].prefix
    DEVICE._known = Link(1, True)
    with mock.patch.object(device_events, "link", return_value=Link(1, True)):
        DEVICE._take(netlink.Heard(heard, lost=False))
    try:
        list(map(requests.refusal, requests.answers(data)))
        list(netfilter.messages(data))
        found = list(map(sock_diag.parse, sock_diag._answers(cast(Any, _Kernel(data)))))
    except OSError:
        return "OSError"
    return f"{min(len(heard), 3)} messages, {min(len(found), 3)} listeners"


TARGETS: tuple[Target[Any], ...] = (
    of_bytes(
        "consul",
        _consul,
        (
            *(bytes([number]) + HEADERS + body for number, body in enumerate(BODIES)),
            *(bytes([number]) + error for number, error in enumerate(ERRORS)),
        ),
        (*HTTP_WORDS, *JSON_WORDS, *WORDS[:6]),
    ),
    of_bytes(
        "consul-body",
        lambda data: _consul(data[:1] + HEADERS + data[1:]),
        tuple(bytes([number]) + body for number, body in enumerate(BODIES)),
        (*JSON_WORDS, b'"Tags"', b'"Services"', b'"ID"', b'"Status"', b'"ServiceID"', b'"CreateIndex"', *WORDS),
    ),
    of_bytes("events", _events, EVENT_SEEDS, (*JSON_WORDS, b'"type"', b'"up"', b'"198.51.100.2"', b'"::1"', b"0x")),
    Target("relay", _relay, st.tuples(PIECES, PIECES, st.booleans())),
    of_bytes("dns", _dns, DNS_SEEDS, (QUERY[12:], QUERY[:2])),
    of_bytes("kernel", _kernel, KERNEL_SEEDS, (bytes(4), b"\xff" * 4, struct.pack("=HH", 4, 11), KERNEL_SEEDS[0][:16])),
)
