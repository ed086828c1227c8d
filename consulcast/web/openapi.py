"""The OpenAPI document: the paths by hand, the schemas from the bodies themselves."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from flask import Blueprint, Response

from consulcast import __version__
from consulcast.changes import Kind
from consulcast.drains import MAX_TARGET
from consulcast.registration import MAX_NAME, MAX_TEXT, MAX_VALUES
from consulcast.web.bodies import (
    AppBody,
    AppRequest,
    AppsBody,
    ConsulBody,
    DrainBody,
    DrainRequest,
    DrainsBody,
    EventsBody,
    ExplanationBody,
    PeersBody,
    PlanBody,
    StatusBody,
    VipsBody,
)
from consulcast.web.errors import GOCAST_PATHS
from consulcast.web.problem import Error
from consulcast.web.rights import needed

Json = dict[str, Any]

_NAME = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "format": "app-name"}
_ERRORS = {
    400: "The request or a value of it cannot be read",
    401: "No token was sent, or one that is not known",
    403: "The caller may not, or a browser sent it on behalf of another site",
    404: "There is no such thing; of an explanation: nobody asks for it, and the message says what may be meant",
    409: "Not allowed: the reason code and the text are those of the log",
    413: "The body is too large",
    415: "The body is not JSON",
    429: "Too many requests, or too many wrong tokens; Retry-After says when to come back",
    500: "The change cannot be written, or the daemon erred",
    503: "Not so; the message says why",
    507: "The change cannot be written: the disk is full",
}


def blueprint() -> Blueprint:
    """``/v1/openapi.json``."""
    urls = Blueprint("openapi", __name__)
    text = msgspec.json.encode(document()) + b"\n"

    @urls.get("/v1/openapi.json")
    def openapi() -> Response:
        return Response(text, content_type="application/json")

    return urls


def document() -> Json:
    """Build the document, OpenAPI 3.1."""
    apps, drains = (AppRequest, AppBody, AppsBody), (DrainRequest, DrainBody, DrainsBody)
    answers = (VipsBody, PeersBody, ConsulBody, EventsBody, ExplanationBody, PlanBody, StatusBody)
    shapes = (*apps, *drains, *answers, Error)
    _, schemas = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "consulcast",
            "version": __version__,
            "description": "Announces service VIPs over BGP. The URLs outside /v1 are GoCast's, and the probes.",
        },
        "paths": {path: _guarded(path, item) for path, item in (_API | _GOCAST).items()},
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }


# What a caller without either may do depends on where it is and on the configuration (docs/api.md): hence the `{}`.
_SCHEMES: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of api.tokens_file"},
    "certificate": {"type": "mutualTLS", "description": "A client certificate of api.tls.client_ca_file"},
}


def _guarded(path: str, item: Json) -> Json:
    """Add what every URL may answer, and the scope that it takes."""
    return {method: _with_access(path, method, operation) for method, operation in item.items()}


def _with_access(path: str, method: str, operation: Any) -> Any:
    if method == "parameters":
        return operation
    scope = needed(method.upper(), path)
    error = _text if path in GOCAST_PATHS else partial(_json, "Error")
    refusals = {str(code): error(_ERRORS[code]) for code in ((401, 403, 429) if scope else (429,))}
    security: list[Json] = [{}, {"token": []}, {"certificate": []}] if scope else []
    more = {"security": security, **({"x-scope": scope.value} if scope else {})}
    return {**operation, "responses": {**operation["responses"], **refusals}, **more}


def _json(shape: str | None, what: str) -> Json:
    if shape is None:
        return {"description": what}
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _text(what: str) -> Json:
    return {"description": what, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _operation(name: str, summary: str, status: int, answer: Json, *errors: int, **more: Any) -> Json:
    wrong = {str(code): _json("Error", _ERRORS[code]) for code in errors}
    return {"operationId": name, "summary": summary, "responses": {str(status): answer, **wrong}, **more}


def _gocast(name: str, summary: str, answer: Json, *errors: int, parameters: list[Json]) -> Json:
    wrong = {str(code): _text(_ERRORS[code]) for code in errors}
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": {"200": answer, **wrong}}


def _query(name: str, schema: Json, what: str, required: bool = False) -> Json:
    return {"name": name, "in": "query", "required": required, "description": what, "schema": schema}


def _list(form: str) -> Json:
    items = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "format": form}
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_VALUES}


_APP: Json = {"name": "name", "in": "path", "required": True, "schema": _NAME}
_TARGET: Json = {
    "name": "target",
    "in": "path",
    "required": True,
    "description": "An app (source:id), a service's name or id, a VIP, a prefix, or an address",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "format": "target"},
}
_DRAINED: Json = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "node, an app (source:id, or the id alone), a service, or a VIP",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_TARGET, "format": "drain-target"},
}


def _body(shape: str) -> Json:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


_COUNT: Json = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}

_API: Json = {
    "/v1/apps": {
        "get": _operation("apps", "Every app of every source", 200, _json("AppsBody", "The apps")),
    },
    "/v1/apps/{name}": {
        "parameters": [_APP],
        "get": _operation("app", "One app that is registered over HTTP", 200, _json("AppBody", "The app"), 400, 404),
        "put": _operation(
            *("register", "Register an app, change it in place, or renew its time to live"),
            *(200, _json("AppBody", "The app as it stands now")),
            *(400, 409, 413, 415, 500, 507),
            requestBody=_body("AppRequest"),
        ),
        "delete": _operation(
            *("unregister", "Let an app go that was registered over HTTP"),
            *(204, _json(None, "It is let go")),
            *(400, 404, 500, 507),
        ),
    },
    "/v1/drains": {
        "get": _operation("drains", "Every drain that was asked for here", 200, _json("DrainsBody", "The drains")),
    },
    "/v1/drains/{name}": {
        "parameters": [_DRAINED],
        "put": _operation(
            *("drain", "Take out of service without a loss; or change for how long, and why"),
            *(200, _json("DrainBody", "The drain as it stands now")),
            *(400, 404, 413, 415, 500, 507),
            requestBody=_body("DrainRequest"),
        ),
        "delete": _operation(
            *("undrain", "End a drain", 204, _json(None, "It is ended")),
            *(400, 404, 500, 507),
        ),
    },
    "/v1/vips": {"get": _operation("vips", "Every VIP that is asked for", 200, _json("VipsBody", "The VIPs"))},
    "/v1/peers": {"get": _operation("peers", "Every BGP neighbour", 200, _json("PeersBody", "The peers"))},
    "/v1/consul": {"get": _operation("consul", "What is known of Consul", 200, _json("ConsulBody", "What is known"))},
    "/v1/explain/{target}": {
        "parameters": [_TARGET],
        "get": _operation(
            *("explain", "Is it announced from this host, and if not, why not?", 200),
            *(_json("ExplanationBody", "The answer, its chain of reasons, and the last changes"), 400, 404),
        ),
    },
    "/v1/events": {
        "get": _operation(
            *("events", "The last changes of state, the oldest first", 200, _json("EventsBody", "The changes"), 400),
            parameters=[
                _query("after", _COUNT, "Number of the last change that is known already"),
                _query("limit", _COUNT, "Only so many, the newest"),
                _query("kind", {"type": "string", "enum": [str(kind) for kind in Kind]}, "Only of this kind"),
                _query("subject", {"type": "string"}, "Only about this app, VIP, peer …"),
            ],
        )
    },
    "/v1/events/stream": {
        "get": _operation(
            *("eventsStream", "Changes of state as they happen: server-sent events, each data an EventBody", 200),
            {"description": "The stream", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            *(400, 503),
            parameters=[_query("after", _COUNT, "Begin after this change; else with the next one")],
        )
    },
    "/v1/plan": {
        "get": _operation(
            *("plan", "What a reload would do now; nothing is done"),
            *(200, _json("PlanBody", "Its steps")),
            409,
        ),
    },
    "/v1/reload": {
        "post": _operation(
            *("reload", "Read the configuration file anew; a bad one changes nothing"),
            *(204, _json(None, "It holds now")),
            409,
        )
    },
    "/healthz": {"get": _operation("healthz", "Does the daemon work?", 200, _json("StatusBody", "It does"), 503)},
    "/readyz": {
        "get": _operation("readyz", "Has the host once been as it should be?", 200, _json("StatusBody", "It has"), 503)
    },
    "/metrics": {
        "get": _operation(
            *("metrics", "Figures for Prometheus, in its text format or as OpenMetrics, as `Accept` asks", 200),
            {
                "description": "The figures: docs/metrics.md",
                "content": {
                    kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")
                },
            },
        )
    },
}

_GOCAST: Json = {
    "/register": {
        "get": _gocast(
            *("gocastRegister", "GoCast's: register an app, change it in place, or renew it", _text("Registered")),
            *(400, 500, 507),
            parameters=[
                _query("name", _NAME, "The app", required=True),
                _query("vip", _list("vip"), "address/length, repeatable", required=True),
                _query("monitor", _list("monitor"), "A health check, repeatable: all must pass"),
                _query("nat", _list("nat"), "proto:port or proto:listenPort:destPort, repeatable"),
                _query("vip_communities", {"type": "string", "format": "communities"}, "Comma-separated"),
                _query("ttl", {"type": "string", "format": "ttl"}, "Lapses after this unless registered again"),
            ],
        )
    },
    "/unregister": {
        "get": _gocast(
            *("gocastUnregister", "GoCast's: let an app go", _text("It is not registered any more")),
            *(400, 500, 507),
            parameters=[_query("name", {"type": "string", "minLength": 1}, "The app, known or not", required=True)],
        )
    },
    "/info": {
        "get": _gocast(
            "gocastInfo",
            "GoCast's: the first peer in GoBGP's JSON; null before the first announcement",
            {
                "description": "The peer; state.session_state is 6 while the session is established",
                "content": {"application/json": {"schema": {"type": ["object", "null"]}}},
            },
            parameters=[],
        )
    },
    "/ping": {"get": _gocast("gocastPing", "GoCast's: is anybody there?", _text("I-AM-ALIVE"), parameters=[])},
}
