"""The JSON API, version 1, and the probes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import gevent
import msgspec
from flask import Blueprint, Response, g, request
from gevent.lock import BoundedSemaphore

from consulcast import jsontext
from consulcast.drains import UnknownTarget, check_reason, lifetime
from consulcast.explain.explanation import Unknown
from consulcast.model import Refused, Source
from consulcast.registration import MAX_TEXT, check_name
from consulcast.web.bodies import (
    AppBody,
    AppRequest,
    ConsulBody,
    DrainBody,
    DrainRequest,
    ExplanationBody,
    PeerBody,
    PlanBody,
    StatusBody,
    VipBody,
)
from consulcast.web.errors import Failed, refused
from consulcast.web.guard import VOUCHED
from consulcast.web.problem import Problem
from consulcast.web.view import View

S = TypeVar("S", bound=msgspec.Struct)
# To read a large file takes a tenth of a second, and nothing else is done meanwhile: whoever may only read may not have
# that all the time.
PLAN_PAUSE, PLAN_PATIENCE = 0.2, 2.0  # seconds


def blueprint(view: View) -> Blueprint:
    """``/v1/…``, ``/healthz`` and ``/readyz``."""
    urls = Blueprint("api", __name__)

    @urls.get("/v1/apps")
    def apps() -> Response:
        return _list("apps", map(AppBody.of, view.apps()))

    @urls.get("/v1/apps/<anything:name>")
    def app(name: str) -> Response:
        check_name(name)
        for one in view.apps():
            if one.key == (Source.HTTP, name):
                return _json(AppBody.of(one))
        raise _unknown(view, name)

    @urls.put("/v1/apps/<anything:name>")
    def register(name: str) -> Response:
        verdict = view.register(_read(AppRequest).registration(name), vouched=request.environ[VOUCHED])
        if isinstance(verdict, Refused):
            raise refused(verdict)
        return _json(AppBody.of(verdict))

    @urls.delete("/v1/apps/<anything:name>")
    def unregister(name: str) -> Response:
        check_name(name)
        if not view.unregister(name):
            raise _unknown(view, name)
        return Response(status=204)

    @urls.get("/v1/drains")
    def drains() -> Response:
        return _list("drains", map(DrainBody.of, view.drains()))

    @urls.put("/v1/drains/<anything:name>")
    def drain(name: str) -> Response:
        wish = _read(DrainRequest)
        seconds, reason = lifetime(wish.for_), check_reason(wish.reason)
        try:
            return _json(DrainBody.of(view.drain(name, seconds, reason, g.caller, wish.force)))
        except UnknownTarget as error:
            raise Failed(404, Problem.NOT_FOUND, f'{error}; "force": true drains it all the same') from None

    @urls.delete("/v1/drains/<anything:name>")
    def undrain(name: str) -> Response:
        try:
            view.undrain(name)
        except UnknownTarget as error:
            raise Failed(404, Problem.NOT_FOUND, str(error)) from None
        return Response(status=204)

    @urls.get("/v1/vips")
    def vips() -> Response:
        return _list("vips", map(VipBody.of, view.vips()))

    @urls.get("/v1/peers")
    def peers() -> Response:
        return _list("peers", map(PeerBody.of, view.peers()))

    @urls.get("/v1/consul")
    def consul() -> Response:
        return _json(ConsulBody.of(view.consul()))

    @urls.get("/v1/explain/<anything:target>")
    def explain(target: str) -> Response:
        if len(target) > MAX_TEXT:
            raise Failed(400, Problem.BAD_REQUEST, f"a target has at most {MAX_TEXT} characters")
        found = view.explain(target)
        if isinstance(found, Unknown):
            raise Failed(404, found.reason, "\n".join([found.line, *found.hints]))
        return _json(ExplanationBody.of(found))

    @urls.post("/v1/reload")
    def reload() -> Response:
        trouble = view.reload()
        if trouble is not None:
            raise Failed(409, Problem.BAD_CONFIG, trouble)
        return Response(status=204)

    planning = BoundedSemaphore()

    @urls.get("/v1/plan")
    def plan() -> Response:
        if not planning.acquire(timeout=PLAN_PATIENCE):
            raise Failed(429, Problem.TOO_MANY, "others ask for plans", {"Retry-After": "1"})
        try:
            found = view.foresee()
            gevent.sleep(PLAN_PAUSE)
        finally:
            planning.release()
        if isinstance(found, str):
            raise Failed(409, Problem.BAD_CONFIG, found)
        return _json(PlanBody.of(found))

    @urls.get("/healthz")
    def healthz() -> Response:
        trouble = view.healthy()
        if trouble is not None:
            raise Failed(503, Problem.UNHEALTHY, trouble)
        return _json(StatusBody("ok"))

    @urls.get("/readyz")
    def readyz() -> Response:
        trouble = view.ready()
        if trouble is not None:
            raise Failed(503, Problem.NOT_READY, trouble)
        return _json(StatusBody("ready"))

    return urls


def _read(shape: type[S]) -> S:
    if request.mimetype != "application/json":
        what = f"Content-Type {request.mimetype!r}" if request.mimetype else "no Content-Type"
        raise Failed(415, Problem.UNSUPPORTED_MEDIA_TYPE, f"{what}: send application/json")
    try:
        return msgspec.json.decode(request.get_data(cache=False), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(400, Problem.BAD_REQUEST, f"body: {error}") from None


def _unknown(view: View, name: str) -> Failed:
    elsewhere = sorted({app.key.source for app in view.apps() if name in (app.key.id, app.asked.name)} - {Source.HTTP})
    hint = f"; it comes from {' and '.join(elsewhere)}: see /v1/apps" if elsewhere else ""
    return Failed(404, Problem.NOT_FOUND, f"no app {name!r} is registered over HTTP{hint}")


def _json(body: object) -> Response:
    return Response(jsontext.encode(body) + b"\n", content_type="application/json")


def _list(name: str, bodies: Iterable[msgspec.Struct]) -> Response:
    return _json({name: jsontext.pieces(bodies)})
