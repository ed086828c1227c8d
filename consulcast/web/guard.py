"""Requests that are refused before they reach a URL's own function: another site's, a stranger's, unreadable ones."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Collection
from urllib.parse import unquote_to_bytes, urlsplit

from flask import Flask, Response, g, request

from consulcast.web.door import Door
from consulcast.web.errors import Failed
from consulcast.web.problem import Problem
from consulcast.web.rights import CHANGING, Peer, caller, decide, needed

log = logging.getLogger(__name__)

# Whoever speaks for somebody else says so in one of these; a proxy on this host must not lend its callers its place.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
VOUCHED = "consulcast.vouched"  # in a request's environ: whether somebody stands behind what the caller says he is
_ANSWERED = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def install(app: Flask, door: Door) -> None:
    """Guard every URL of ``app``."""
    app.before_request(_refuse_unreadable(door))
    app.before_request(_refuse_cross_site)
    app.before_request(_refuse_strangers(door))

    @app.after_request
    def answered(response: Response) -> Response:
        """Tell a browser not to show the answer to another site's page."""
        for name, value in _ANSWERED.items():
            response.headers.setdefault(name, value)
        return response


def _refuse_cross_site() -> None:
    """What a browser sends for another site's page changes nothing here.

    ``Sec-Fetch-Site`` is ``none`` for what the user typed (W3C Fetch Metadata, section 2.4); programs send neither
    header. ``same-site`` is another port or host name, so another program. A browser tells it to https and to loopback
    alone (section 3), and the origin of an image or a link never: where it says neither, it may be for anybody's page.
    """
    if request.method in ("GET", "HEAD") and request.path not in CHANGING:
        return
    site = request.headers.get("Sec-Fetch-Site", "none").strip().lower()
    origin = request.headers.get("Origin")
    if "Sec-Fetch-Site" not in request.headers and origin is None and _is_browser():
        raise Failed(403, Problem.CROSS_SITE, "a browser sent this, and does not say for which page: use a program")
    if site not in ("none", "same-origin"):
        raise Failed(403, Problem.CROSS_SITE, f"a browser sent this for another site's page (Sec-Fetch-Site: {site})")
    if origin is not None and (request.scheme, _host().lower()) != _scheme_and_host(origin):
        raise Failed(403, Problem.CROSS_SITE, f"a browser sent this for a page of {origin}")


def _is_browser() -> bool:
    """Every browser begins so, and no page can have it say otherwise without asking first (a CORS preflight)."""
    return request.headers.get("User-Agent", "").startswith("Mozilla/") and "Authorization" not in request.headers


def _host() -> str:
    """Return the header as it came: Werkzeug makes an empty text of one that it does not like."""
    return str(request.environ.get("HTTP_HOST", ""))


def _scheme_and_host(origin: str) -> tuple[str, str]:
    try:
        url = urlsplit(origin.lower())
    except ValueError:
        return "", ""
    return url.scheme, url.netloc


def _refuse_strangers(door: Door) -> Callable[[], None]:
    own = {"localhost", socket.gethostname().lower().rstrip(".")}

    def refuse() -> None:
        """Let nobody do what he may not, nor a page do it under a name that its site has pointed to us."""
        scope = needed(request.method, request.path)
        if scope is None:
            return
        settings, gate, now = door.settings, door.gate, time.monotonic()
        peer: Peer = request.environ.get("consulcast.peer") or Peer.at(request.environ.get("REMOTE_ADDR", ""))
        if peer.here and any(name in request.headers for name in _FORWARDED):
            peer = Peer(peer.client, certificate=peer.certificate)
        authorization = request.headers.get("Authorization")
        if authorization is not None and not peer.owner:
            wait = gate.locked(peer, now)
            if wait:
                raise Failed(429, Problem.TOO_MANY, "too many wrong tokens from here", {"Retry-After": f"{wait:.0f}"})
        elif not peer.client.startswith("uid ") and not known_host(_host(), own | settings.hosts):
            # A page cannot send a token that it does not know, nor reach a unix socket.
            raise Failed(
                *(403, Problem.FOREIGN_HOST),
                f"{_host()!r} is no name of this host: ask by address, or add the name to api.hosts",
            )
        request.environ[VOUCHED] = settings.access.vouches(peer)
        denied = decide(settings.access, peer, authorization, scope)
        if denied is None:
            g.caller = caller(settings.access, peer, authorization)
            return
        if denied.code == 401 and authorization is not None:
            last = gate.failed(peer, now)
            more = "; tokens from there are not looked at for a while" if last else ""
            extra = {"client": str(peer.client), "reason": "wrong-token"}
            log.warning("%s: a wrong token, for %s %s%s", peer.client, request.method, request.path, more, extra=extra)
        headers = {"WWW-Authenticate": denied.challenge} if denied.challenge else {}
        problem = Problem.UNAUTHORIZED if denied.code == 401 else Problem.FORBIDDEN
        raise Failed(denied.code, problem, denied.message, headers)

    return refuse


def known_host(host: str, names: Collection[str]) -> bool:
    """Tell whether a ``Host`` header can only mean this host: an address, or one of ``names``.

    DNS rebinding needs a name; an address in the browser's own bar is the page's own site. HTTP/1.0 may have none.
    """
    if not host:
        return True
    name, port = host.lower(), ""
    if not name.endswith("]"):
        name, _, port = name.rpartition(":") if ":" in name else (name, "", "")
    if port and not (port.isascii() and port.isdigit()):
        return False
    try:
        if name.startswith("[") and name.endswith("]"):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return name.removesuffix(".") in names
    return True


def _refuse_unreadable(door: Door) -> Callable[[], None]:
    def refuse() -> None:
        """Two names that differ in bytes must not become one name of replacement characters."""
        query = request.environ.get("QUERY_STRING", "")
        limits = door.settings.limits
        if query.count("&") >= limits.parameters:
            raise Failed(400, Problem.TOO_LARGE, f"a query may have {limits.parameters} parameters")
        if (request.content_length or 0) > limits.body:
            raise Failed(413, Problem.TOO_LARGE, f"a body may have {limits.body} bytes")
        try:
            request.environ["PATH_INFO"].encode("latin-1").decode()
            unquote_to_bytes(query.encode("latin-1")).decode()
        except UnicodeError:
            raise Failed(400, Problem.BAD_REQUEST, "the URL is not UTF-8") from None

    return refuse
