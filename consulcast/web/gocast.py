"""GoCast's own URLs, as its scripts call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from consulcast.executor.protocols import SessionState
from consulcast.model import Refused
from consulcast.notation import BadValue
from consulcast.registration import Registration
from consulcast.web.errors import Failed, refused
from consulcast.web.guard import VOUCHED
from consulcast.web.problem import Problem
from consulcast.web.view import Messages, SessionInfo, View

METHODS = ("GET", "POST")  # GoCast looks at the query alone, whatever the method

# GoBGP's numbers for the states of RFC 4271 section 8.2.2. All that is known of a session that is down is that it is
# tried again, which GoBGP calls ACTIVE.
_ACTIVE, _ESTABLISHED = 3, 6

_REPEATED = {"vip": "vips", "monitor": "monitors", "nat": "nats", "vip_communities": "communities"}
_SINGLE = ("name", "ttl")


def blueprint(view: View) -> Blueprint:
    """``/register``, ``/unregister``, ``/info`` and ``/ping``."""
    urls = Blueprint("gocast", __name__)

    def url(path: str) -> Callable[[Callable[[], Response]], Callable[[], Response]]:
        return urls.route(path, methods=METHODS, endpoint=path.removeprefix("/"))

    @url("/register")
    def register() -> Response:
        verdict = view.register(_registration(), vouched=request.environ[VOUCHED])
        if isinstance(verdict, Refused):
            raise refused(verdict)
        return _text("")

    @url("/unregister")
    def unregister() -> Response:
        name = request.args.get("name", "")
        if not name:
            raise Failed(400, Problem.BAD_VALUE, "need app name specified")
        view.unregister(name)
        return _text("")

    @url("/info")
    def info() -> Response:
        session = view.info()
        body = msgspec.json.encode(None if session is None else _gobgp_peer(session))
        return Response(body + b"\n", content_type="application/json")

    @url("/ping")
    def ping() -> Response:
        return _text("I-AM-ALIVE\n")

    return urls


def _registration() -> Registration:
    """Read the query. GoCast passes over names that it does not know: a misspelt one loses a monitor without a word."""
    texts: dict[str, Any] = {}
    for name, values in request.args.lists():
        if name in _REPEATED:
            texts[_REPEATED[name]] = tuple(values)
        elif name not in _SINGLE:
            known = ", ".join((*_SINGLE, *_REPEATED))
            raise BadValue(f"parameter {name!r} is not known: write one of {known}")
        elif len(values) > 1:
            raise BadValue(f"{name} is given {len(values)} times")
        else:
            texts[name] = values[0]
    return Registration(**{"name": "", **texts})


def _text(body: str) -> Response:
    return Response(body, content_type="text/plain; charset=utf-8")


def _gobgp_peer(session: SessionInfo) -> dict[str, Any]:
    """Write the session as the JSON of GoBGP's ``Peer`` message (api/gobgp.proto); what is empty is left out there."""
    peer = session.peer
    state: dict[str, Any] = {
        "local_as": peer.local_as,
        "messages": {"received": _counts(session.received), "sent": _counts(session.sent)},
        "neighbor_address": str(peer.address),
        "peer_as": peer.peer_as,
        "session_state": _ESTABLISHED if peer.state is SessionState.UP else _ACTIVE,
    }
    if session.router_id is not None:
        state["router_id"] = str(session.router_id)
    conf = {"local_as": peer.local_as, "neighbor_address": str(peer.address), "peer_as": peer.peer_as}
    return {"conf": conf, "state": state}


def _counts(messages: Messages) -> dict[str, int]:
    counts = {
        "notification": messages.notification,
        "update": messages.update,
        "open": messages.open,
        "keepalive": messages.keepalive,
    }
    return {**counts, "total": sum(counts.values())}
