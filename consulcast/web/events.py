"""What has changed: ``/v1/events``, and the same as a stream of server-sent events for as long as somebody listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from flask import Blueprint, Response, request

from consulcast import jsontext
from consulcast.changes import LAST, Change, Changes, Kind
from consulcast.hub import in_turns
from consulcast.web.bodies import EventBody
from consulcast.web.errors import Failed
from consulcast.web.problem import Problem

STREAMS = 32  # that may be open at a time
HEARTBEAT = 5.0  # seconds without a change, after which a comment shows that both ends are still there


def blueprint(changes: Changes) -> Blueprint:
    """``/v1/events`` and ``/v1/events/stream``."""
    urls = Blueprint("events", __name__)
    open_streams: set[object] = set()

    @urls.get("/v1/events")
    def events() -> Response:
        kind, subject = request.args.get("kind"), request.args.get("subject")
        if kind is not None and kind not in set(Kind):
            raise Failed(400, Problem.BAD_REQUEST, f"no kind {kind!r}: {', '.join(Kind)}")
        last = changes.number  # there may be more by when these are written
        found = [
            change
            for change in changes.after(_number("after", request.args.get("after")))
            if kind in (None, change.kind) and subject in (None, change.subject)
        ]
        newest = found[-max(1, _number("limit", request.args.get("limit"), LAST)) :]
        body = {"events": jsontext.pieces(map(EventBody.of, newest)), "last": last}
        return Response(jsontext.encode(body) + b"\n", content_type="application/json")

    @urls.get("/v1/events/stream")
    def stream() -> Response:
        text = request.headers.get("Last-Event-ID", request.args.get("after"))
        after = changes.number if text is None else _number("after", text)
        if len(open_streams) >= STREAMS:
            raise Failed(503, Problem.TOO_MANY, f"{STREAMS} streams are open", {"Retry-After": "5"})
        mine = object()

        def lines() -> Iterator[bytes]:
            open_streams.add(mine)
            try:
                # A browser that comes back after a restart of ours knows a number that there is not yet.
                yield b"retry: 1000\n\n"
                for news in changes.follow(after if after <= changes.number else 0, HEARTBEAT):
                    yield _events(news) or b": nothing new\n\n"
            finally:
                open_streams.discard(mine)

        return Response(lines(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return urls


def _events(changes: Iterable[Change]) -> bytes:
    return b"".join(_event(change) for change in in_turns(changes))


@lru_cache(maxsize=LAST)  # once for all who listen
def _event(change: Change) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (change.number, jsontext.encode(EventBody.of(change)))


def _number(name: str, text: str | None, default: int = 0) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Failed(400, Problem.BAD_REQUEST, f"{name} is a number: that of a change, or how many")
    return int(text)
