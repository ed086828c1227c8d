"""HTTP: every URL through the application, and any bytes over a connection."""

from __future__ import annotations

import io
import json
import logging
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from consulcast.model import Reason
from consulcast.web import handler
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.errors import GOCAST_PATHS
from consulcast.web.limits import Limits
from consulcast.web.listen import listen
from consulcast.web.openapi import document
from consulcast.web.problem import Problem
from consulcast.web.rights import Access, Peer
from consulcast.web.server import Server
from consulcast.web.tokens import parse
from tests.fuzz.target import Target, mutated
from tests.fuzz.texts import HOSTILE, WORDS
from tests.web.daemon import Daemon
from tests.web.test_strict_http import BODY, GET, PIECES, STREAMS, statuses

TOKEN = "a-token-for-the-tests"
ACCESS = {
    "open": Access(),
    "tokens": Access(parse("tokens", f"all read,register,drain {TOKEN}"), tokens_set=True),
}
PEERS = (Peer("127.0.0.1", here=True), Peer("198.51.100.9"), Peer("uid 0", here=True, owner=True))
PATHS = tuple(document()["paths"])
PROBLEMS = {*map(str, Problem), *map(str, Reason)}
RENEWED = 500  # cases with one daemon, so that what is registered meets what is asked for


@dataclass(frozen=True)
class Request:
    """One request, as the server hands it on."""

    access: str
    peer: Peer
    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes


def pick(*values: Any) -> st.SearchStrategy[Any]:
    """One of these."""
    return st.sampled_from(values)


VALUES = st.one_of(pick(*WORDS, *HOSTILE, b"dns", b"203.0.113.1/32", b"30s"), st.text(max_size=8).map(str.encode))
NAMES = pick("name", "vip", "monitor", "nat", "vip_communities", "ttl", "", "x")
PAIRS = st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]}={quote(pair[1], safe='')}".encode())
GOOD = pick(
    b"name=dns&vip=203.0.113.1/32", b"name=dns&vip=203.0.113.1%2F32&monitor=port:tcp:53&nat=tcp:53:8053&ttl=30s"
)
QUERIES = st.one_of(
    st.just(b""), GOOD, st.lists(PAIRS, max_size=6).map(b"&".join), mutated((b"name=dns&vip=203.0.113.1/32",), WORDS)
)
TEXTS = st.one_of(st.text(max_size=6), pick(*(word.decode("utf-8", "replace") for word in WORDS)))
FIELDS = pick("vips", "monitors", "nats", "communities", "ttl", "x")
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
WISHES = st.dictionaries(FIELDS, st.one_of(st.lists(TEXTS, max_size=3), ANY), max_size=4)
GOOD_WISH = b'{"vips":["203.0.113.1/32"],"monitors":["port:tcp:53"],"nats":["tcp:53"],"ttl":"30s"}'
BODIES = st.one_of(
    pick(b"", GOOD_WISH, b'{"vips":["2001:db8::1/128"]}', b"[" * 20_000, b'{"x":' * 20_000, b"x" * 70_000),
    st.one_of(WISHES, ANY).map(lambda value: json.dumps(value).encode()),
    mutated((GOOD_WISH,), WORDS),
    st.binary(max_size=20),
)
HEADERS = st.tuples(
    pick("Origin", "Sec-Fetch-Site", "Host", "Accept", "Authorization", "X-Forwarded-For", "Range", "Cookie", "Expect"),
    st.one_of(
        pick("null", "cross-site", "none", "evil.example", "[::1", "*/*;q=x", "Bearer ", "Basic x", f"Bearer {TOKEN}"),
        pick("http://[", "http://127.0.0.1", "bytes=0-1", "application/openmetrics-text;version=\u00b2", "a:99999999"),
        st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=12),
    ),
)
URLS = st.one_of(
    pick(*(path.replace("{name}", "dns").encode() for path in PATHS)),
    st.one_of(VALUES, st.just(b"dns")).map(lambda name: b"/v1/apps/" + name),
    mutated(tuple(path.encode() for path in PATHS), (b"/", b"..", b"//", b"%2F", b"\0", b";")).map(
        lambda p: b"/" + p[1:]
    ),
)
REQUESTS = st.builds(
    Request,
    access=pick("open", "open", "open", "tokens"),
    peer=pick(PEERS[0], *PEERS),
    method=pick("GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW", "CONNECT"),
    path=URLS,
    query=QUERIES,
    headers=st.one_of(st.just(()), st.lists(HEADERS, max_size=2).map(tuple)),
    body=BODIES,
)


class _Applications:
    """The application behind each door; made anew now and then."""

    def __init__(self) -> None:
        self._left = 0
        self._made: dict[str, Any] = {}

    def get(self, access: str) -> Any:
        if not self._left:
            self._made = {name: make_app(Daemon(), Door(Settings(access=one))) for name, one in ACCESS.items()}
            self._left = RENEWED
        self._left -= 1
        return self._made[access]


APPLICATIONS = _Applications()


def _environ(asked: Request) -> dict[str, Any]:
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in asked.headers}
    json_body = asked.method == "PUT" or asked.body.startswith(b"{")
    return {
        "REQUEST_METHOD": asked.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": asked.path.decode("latin-1"),
        "QUERY_STRING": asked.query.decode("latin-1"),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8080",
        "CONTENT_LENGTH": str(len(asked.body)),
        "CONTENT_TYPE": "application/json" if json_body else "text/plain",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(asked.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "consulcast.peer": asked.peer,
        **headers,
    }


def _http(asked: Request) -> str:
    """Whatever is asked, the answer is 2xx or 4xx, and an error is one of those that are documented."""
    told: list[tuple[str, list[tuple[str, str]]]] = []
    answer = APPLICATIONS.get(asked.access)(_environ(asked), lambda status, headers, *_: told.append((status, headers)))
    status, headers = int(told[0][0][:3]), dict(told[0][1])
    endless = headers["Content-Type"] == "text/event-stream"
    body = next(iter(answer)) if endless and asked.method != "HEAD" else b"".join(answer)
    answer.close()
    assert 200 <= status < 300 or 400 <= status < 500, (status, body)
    assert all(value.isprintable() for value in headers.values()), headers
    # Of this host's own processes reading takes no token, and of the daemon's own user nothing does.
    path = "/" + asked.path.decode("latin-1").lstrip("/")  # as Werkzeug reads it
    guarded = path.startswith("/v1/apps") and (asked.method not in ("GET", "HEAD") or not asked.peer.here)
    if asked.access == "tokens" and guarded and not asked.peer.owner and status < 300:
        assert ("Authorization", f"Bearer {TOKEN}") in asked.headers, "let in without a token"
    if status >= 400 and asked.method != "HEAD":
        if path in GOCAST_PATHS:
            assert headers["Content-Type"].startswith("text/plain")
        else:
            error = json.loads(body)
            assert error["code"] == status
            assert error["reason"] in PROBLEMS, error
    return str(status)


class _Connected:
    """A server over a real socket, and what it logs."""

    def __init__(self) -> None:
        limits = Limits(idle_time=0.3, request_time=0.3, requests_per_second=1e9)
        door = Door(Settings(limits=limits))
        self.server = Server(listen("127.0.0.1:0"), make_app(Daemon(), door), door)
        self.server.start()
        self.faults: list[str] = []
        logging.getLogger(handler.__name__).addFilter(self._count)

    def _count(self, record: logging.LogRecord) -> bool:
        self.faults.append(record.getMessage())
        return False

    def close(self) -> None:
        self.server.stop(timeout=0)
        logging.getLogger(handler.__name__).removeFilter(self._count)

    def ask(self, data: bytes) -> bytes:
        """Send, and read to the end."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.server.server_port), timeout=5) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    received += part
            except ConnectionError:
                pass
        return received


CONNECTED: list[_Connected] = []
PUT = b"PUT /v1/apps/dns HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
WHOLE = (
    GET + b"\r\n",
    PUT + b"Content-Length: 27\r\n\r\n" + BODY,
    PUT + b"Transfer-Encoding: chunked\r\n\r\n1b;x=y\r\n" + BODY + b"\r\n0\r\nT: x\r\n\r\n",
    b"GET http://localhost/register?name=a&vip=203.0.113.1/32 HTTP/1.0\r\n\r\n",
    b"DELETE /v1/apps/dns HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n",
)
CHANGED = mutated(WHOLE, tuple(PIECES))
SOUND = st.lists(st.one_of(st.sampled_from(WHOLE), CHANGED), max_size=3).map(b"".join)


def _stream(data: bytes) -> str:
    """Whatever comes is answered in HTTP, and never with an error of ours."""
    if not CONNECTED:
        CONNECTED.append(_Connected())
    answer = CONNECTED[0].ask(data)
    assert answer.startswith(b"HTTP/1.1 ") or not answer
    assert answer or not data.strip(), "no answer"
    found = statuses(answer)
    assert all(100 <= status < 500 for status in found), answer
    assert not CONNECTED[0].faults
    return str(found[0]) if found else "closed"


TARGETS: tuple[Target[Any], ...] = (
    Target("http", _http, REQUESTS),
    Target("stream", _stream, st.one_of(STREAMS, SOUND, CHANGED)),
)
