"""The status page at ``/``: readable without a script, and kept up to date by one where there is one."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from importlib import resources

import msgspec
from flask import Blueprint, Response, request
from markupsafe import Markup

from consulcast import __version__
from consulcast.web.board import Board, Meaning
from consulcast.web.errors import Failed
from consulcast.web.picture import Query
from consulcast.web.problem import Error, Problem
from consulcast.web.view import View

STREAMS = 32  # that may be open at a time
TEXT = 200  # characters that are looked for
_YEAR = 365 * 24 * 3600

# Nothing but our own two files, and no script or style within the page: what a name on it may contain can do nothing.
# The form is the search, which a reader without script sends here. No image is loaded from here, as GoCast's
# /register changes state with a GET.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
    "trusted-types consulcast"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}


def _nothing(code: str) -> str:
    """Know no reason's meaning."""
    return ""


def blueprint(view: View, meaning: Meaning = _nothing) -> Blueprint:
    """``/``, and ``/page/…`` which it needs. ``meaning`` tells what a reason's code means."""
    urls = Blueprint("page", __name__)
    board = Board(view, meaning)
    page, denied = (board.template(name) for name in ("page.html", "denied.html"))
    files = {name: _File(name, kind) for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"))}
    host = socket.gethostname()
    streams: set[object] = set()

    @urls.get("/")
    def status() -> Response:
        query = _query()
        feed = board.look(query)
        text = page.render(
            part=lambda name: Markup("\n").join(map(Markup, feed.parts[name].values())),
            version=board.name(feed),
            now=time.time(),
            query=query,
            host=host,
            release=__version__,
            style=files["page.css"].url,
            script=files["page.js"].url,
        )
        return Response(text, content_type="text/html; charset=utf-8", headers=_HEADERS)

    @urls.get("/page/<name>")
    def file(name: str) -> Response:
        if name not in files:
            raise Failed(404, Problem.NOT_FOUND, f"no file {name!r}")
        return files[name].response()

    @urls.get("/page/stream")
    def stream() -> Response:
        query, known = _query(), request.args.get("known", "")
        if len(streams) >= STREAMS:
            raise Failed(503, Problem.TOO_MANY, f"{STREAMS} pages are open", {"Retry-After": "5"})
        mine = object()

        def lines() -> Iterator[bytes]:
            streams.add(mine)
            try:
                yield b"event: files\ndata: %s\n\n" % " ".join(one.url for one in files.values()).encode()
                for news in board.follow(query, known):
                    yield news or b"event: alive\ndata: %d\n\n" % time.time()
            finally:
                streams.discard(mine)

        return Response(lines(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @urls.after_app_request
    def explained(response: Response) -> Response:
        """Tell a person, not a program, why there is no page for him."""
        if request.path != "/" or response.status_code < 400 or not request.accept_mimetypes.accept_html:
            return response
        error = msgspec.json.decode(response.get_data(), type=Error)
        text = denied.render(message=error.message, unauthorized=error.code == 401, host=host)
        response.set_data(text)
        response.content_type = "text/html; charset=utf-8"
        response.headers.extend(_HEADERS)
        return response

    return urls


class _File:
    """A file that is served as it is, under a name that another version of it has not."""

    def __init__(self, name: str, kind: str) -> None:
        self._data = resources.files("consulcast.web").joinpath("static", name).read_bytes()
        self._kind = f"{kind}; charset=utf-8"
        self._tag = hashlib.sha256(self._data).hexdigest()[:16]
        self.url = f"/page/{name}?v={self._tag}"

    def response(self) -> Response:
        """Answer with it, or that the browser has it already."""
        fixed = request.args.get("v") == self._tag
        response = Response(self._data, content_type=self._kind)
        response.headers["Cache-Control"] = f"private, max-age={_YEAR}, immutable" if fixed else "no-cache"
        response.set_etag(self._tag)
        return response.make_conditional(request)  # type: ignore[return-value]


def _query() -> Query:
    start = request.args.get("start", "0")
    if not start.isascii() or not start.isdigit() or len(start) > 6:
        raise Failed(400, Problem.BAD_REQUEST, "start is a number: how many to leave out")
    text, state = request.args.get("q", ""), request.args.get("state", "")
    return Query(text.strip()[:TEXT], state[:TEXT], int(start))
