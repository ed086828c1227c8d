"""Requests that are refused before they reach a URL's own function."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

from flask import Flask, request

from consulcast.web.errors import Failed, Problem

# GoCast's URLs that change state with a GET: any page that a browser on this network shows could call them.
_CHANGING = ("/register", "/unregister")


def install(app: Flask) -> None:
    """Guard every URL of ``app``."""
    app.before_request(_refuse_cross_site)
    app.before_request(_refuse_undecodable)


def _refuse_cross_site() -> None:
    """What a browser sends for another site's page changes nothing here.

    ``Sec-Fetch-Site`` is ``none`` for what the user typed (W3C Fetch Metadata, section 2.4); programs send neither
    header. ``same-site`` is another port or host name, so another program.
    """
    if request.method in ("GET", "HEAD") and request.path not in _CHANGING:
        return
    site = request.headers.get("Sec-Fetch-Site", "none").strip().lower()
    origin = request.headers.get("Origin")
    if site not in ("none", "same-origin"):
        raise Failed(403, Problem.CROSS_SITE, f"a browser sent this for another site's page (Sec-Fetch-Site: {site})")
    if origin is not None and (request.scheme, request.host.lower()) != _scheme_and_host(origin):
        raise Failed(403, Problem.CROSS_SITE, f"a browser sent this for a page of {origin}")


def _scheme_and_host(origin: str) -> tuple[str, str]:
    try:
        url = urlsplit(origin.lower())
    except ValueError:
        return "", ""
    return url.scheme, url.netloc


def _refuse_undecodable() -> None:
    """Two names that differ in bytes must not become one name of replacement characters."""
    try:
        request.environ["PATH_INFO"].encode("latin-1").decode()
        unquote_to_bytes(request.environ.get("QUERY_STRING", "").encode("latin-1")).decode()
    except UnicodeError:
        raise Failed(400, Problem.BAD_REQUEST, "the URL is not UTF-8") from None
