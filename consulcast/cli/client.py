"""The daemon's HTTP API, over a unix socket, TCP or TLS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

import urllib3
from msgspec import Struct

from consulcast.cli.exits import AMISS, NOT_ALLOWED, NOT_FOUND, NOT_REACHABLE, UNUSABLE, Stop
from consulcast.cli.places import Place
from consulcast.unix_connection import UnixPool

Json: TypeAlias = Any  # as decoded

CONNECT_TIMEOUT = 3.05  # seconds: just over the kernel's first SYN retransmissions (1 s + 2 s)
_MOST = 64 << 20  # bytes of an answer; 10,000 apps have 5 MiB
_LOOK = "is it running? see `systemctl status consulcast` and `journalctl -u consulcast`, or say where with --url"
_ASK_AS_ROOT = (
    "ask as root or as the daemon's own user; or elsewhere with --url, where a token may be needed (--token-file)"
)
_STATUSES = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 400: UNUSABLE, 413: UNUSABLE}


class Failed(Stop):
    """The daemon answered that it did not do it. ``code`` is the HTTP status, ``reason`` the stable word for why."""

    def __init__(self, status: int, code: int, reason: str, message: str) -> None:
        super().__init__(status, message)
        self.code, self.reason = code, reason


class Nobody(Stop):
    """Nobody listens at any of the places."""


class Credentials(Struct, frozen=True):
    """How to show who we are, and how to know the daemon. ``token`` is never in an argument: others can read those."""

    token: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class Client:
    """The API of the first daemon that takes a connection. All methods raise ``Stop``."""

    def __init__(self, places: Sequence[Place], credentials: Credentials | None = None, timeout: float = 10.0) -> None:
        """``timeout``: seconds without a byte of an answer."""
        self._places, self._credentials = tuple(places), credentials or Credentials()
        self._timeout = timeout
        self._found: tuple[Place, urllib3.HTTPConnectionPool] | None = None

    def get(self, path: str, **query: object) -> Json:
        """Ask. Parameters that are ``None`` are left out."""
        return self.send("GET", path, **query)

    def send(self, method: str, path: str, body: Json = None, **query: object) -> Json:
        """Ask for a change, or for an answer. Returns the answer's body; ``None``: it has none."""
        response = self._request(method, _url(path, query), body)
        with response:
            data = self._read(response)
            if response.status >= 300:
                raise self._failed(response, data)
            if not data:
                return None
            try:
                return json.loads(data)
            except ValueError:
                raise self._strange("an answer that is not JSON") from None

    def stream(self, path: str, silence: float, **query: object) -> Iterator[bytes]:
        """Yield the lines of an answer that does not end; after ``silence`` seconds without a byte it has."""
        with self._request("GET", _url(path, query), None, silence) as response:
            if response.status >= 300:
                raise self._failed(response, self._read(response))
            rest = b""
            try:
                for part in response.stream(65536):
                    *lines, rest = (rest + part).split(b"\n")
                    if len(rest) > _MOST:
                        raise self._strange("a line without end")
                    yield from lines
            except (urllib3.exceptions.HTTPError, OSError) as error:
                why = _said(error)
                if isinstance(error, urllib3.exceptions.ProtocolError):
                    why = "the daemon closed it"  # the innermost error is about a number that did not come
                elif isinstance(error, urllib3.exceptions.ReadTimeoutError):
                    why = f"nothing came for {silence:g} s"
                raise Stop(NOT_REACHABLE, f"{self._where}: the stream ended: {why}") from None

    @property
    def place(self) -> Place:
        """Where the daemon is: where it answered, or will be looked for first."""
        return self._found[0] if self._found else self._places[0]

    @property
    def _where(self) -> str:
        return str(self.place)

    def _request(self, method: str, url: str, body: Json, silence: float | None = None) -> urllib3.BaseHTTPResponse:
        silence = self._timeout if silence is None else silence
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=silence)
        tried: list[str] = []
        denied = False
        for place, pool in [self._found] if self._found else ((place, self._pool(place)) for place in self._places):
            try:
                response = pool.urlopen(
                    *(method, url, None if body is None else json.dumps(body).encode(), self._headers(body)),
                    timeout=timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
                tried.append(f"  {place}: {_said(error)}")
                denied = denied or isinstance(_innermost(error), PermissionError)
                continue
            except (urllib3.exceptions.SSLError, ValueError) as error:
                raise Stop(NOT_REACHABLE, f"{place}: TLS: {_said(error)}: check --ca-file, --cert, --key") from None
            except urllib3.exceptions.TimeoutError:
                raise Stop(NOT_REACHABLE, f"{place}: no answer in {silence:g} s: does the daemon hang?") from None
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Stop(NOT_REACHABLE, f"{place}: {_said(error)}: is that consulcast?") from None
            self._found = (place, pool)
            return response
        if denied:
            raise Stop(NOT_ALLOWED, "\n".join(("no daemon takes a connection from this user", *tried, _ASK_AS_ROOT)))
        raise Nobody(NOT_REACHABLE, "\n".join(("no daemon takes a connection", *tried, _LOOK)))

    def _headers(self, body: Json) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "consulcast-cli"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._credentials.token:
            headers["Authorization"] = f"Bearer {self._credentials.token}"
        return headers

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        try:
            data = response.read(_MOST + 1)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Stop(NOT_REACHABLE, f"{self._where}: the answer broke off: {_said(error)}") from None
        if len(data) > _MOST:
            raise self._strange("an answer without end")
        return data

    def _failed(self, response: urllib3.BaseHTTPResponse, data: bytes) -> Stop:
        code = response.status
        try:
            said = json.loads(data)
            reason, message = str(said["reason"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            if code not in _STATUSES:
                return self._strange(f"HTTP status {code}")
            reason, message = "", data[:200].decode("utf-8", "replace").strip() or f"HTTP status {code}"
        if code in (401, 403) and reason in ("unauthorized", "forbidden", ""):
            token = "another token" if self._credentials.token else "a token"
            message = f"not allowed: {message}\ngive {token} with --token-file, or ask as root at the unix socket"
        status = _STATUSES.get(code, AMISS if code == 409 else NOT_REACHABLE)
        return Failed(status, code, reason, f"{self._where}: {message}")

    def _strange(self, what: str) -> Stop:
        return Stop(NOT_REACHABLE, f"{self._where}: {what}: is that consulcast?")

    def _pool(self, place: Place) -> urllib3.HTTPConnectionPool:
        if place.path:
            return UnixPool(place.path)
        host = f"[{place.host}]" if ":" in place.host else place.host
        if not place.tls:
            return urllib3.HTTPConnectionPool(host, place.port)
        given = self._credentials
        for path in filter(None, (given.ca_file, given.cert_file, given.key_file)):
            if not os.access(path, os.R_OK):
                raise Stop(UNUSABLE, f"{path} cannot be read")
        return urllib3.HTTPSConnectionPool(
            host,
            place.port,
            cert_reqs="CERT_REQUIRED",
            ca_certs=given.ca_file or None,
            cert_file=given.cert_file or None,
            key_file=given.key_file or None,
        )


def segment(name: str) -> str:
    """A name as the rest of a path, whatever it is made of."""
    return quote(name, safe="")


def _url(path: str, query: dict[str, object]) -> str:
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _said(error: BaseException) -> str:
    """The innermost error's words: urllib3 and ssl wrap the kernel's."""
    error = _innermost(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
