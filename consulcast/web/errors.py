"""Errors as they are answered: JSON with a stable reason code; plain text on GoCast's URLs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from flask import Flask, Response, request
from msgspec import Struct
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from consulcast import jsontext
from consulcast.kept_file import NotStored
from consulcast.model import Refused
from consulcast.notation import BadValue

GOCAST_PATHS = ("/register", "/unregister", "/info", "/ping")


class Problem(StrEnum):
    """Why a request failed, where it is not the reason of an app or a VIP."""

    BAD_REQUEST = "bad-request"  # not HTTP, not JSON, or not of the documented shape
    BAD_VALUE = "bad-value"  # a value that cannot be read; the message says what to write instead
    CROSS_SITE = "cross-site"  # a browser sent it on behalf of another site
    FOREIGN_HOST = "foreign-host"  # it was sent to a name that is not known to be this host's
    UNAUTHORIZED = "unauthorized"  # no token, or one that is not known
    FORBIDDEN = "forbidden"  # the caller is known, and may not
    TOO_MANY = "too-many"  # requests, connections or wrong tokens
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    TOO_SLOW = "too-slow"
    TOO_LARGE = "too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    BAD_CONFIG = "bad-config"  # the configuration file was not taken
    NOT_STORED = "not-stored"  # the state file cannot be written
    NOT_READY = "not-ready"
    UNHEALTHY = "unhealthy"
    INTERNAL = "internal-error"


class Error(Struct):
    """An error's body. ``code`` is the HTTP status; ``reason`` is stable, ``message`` is for people."""

    code: int
    reason: str
    message: str

    def encode(self) -> bytes:
        """As JSON."""
        return jsontext.encode(self) + b"\n"


class Failed(Exception):
    """Ends a request with an error."""

    def __init__(self, code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.error = Error(code, reason, message)
        self.headers = headers or {}


def refused(why: Refused) -> Failed:
    """A registration that the rules do not allow, in the same words as the log."""
    return Failed(409, why.reason, why.detail)


def answer(error: Error) -> Response:
    """Make the response, in the form that belongs to the URL."""
    if request.path in GOCAST_PATHS:
        words = error.message if error.reason in set(Problem) else f"{error.reason}: {error.message}"
        text = f"Invalid request: {words}\n" if error.code in (400, 409) else f"{words}\n"
        # GoCast knows one status for whatever it does not take.
        return Response(text, 400 if error.code == 409 else error.code, content_type="text/plain; charset=utf-8")
    return Response(error.encode(), error.code, content_type="application/json")


def install(app: Flask) -> None:
    """Answer every error of ``app`` in this way."""

    @app.errorhandler(Failed)
    def failed(failure: Failed) -> Response:
        response = answer(failure.error)
        response.headers.extend(failure.headers)
        return response

    @app.errorhandler(BadValue)
    def bad_value(error: BadValue) -> Response:
        return answer(Error(400, Problem.BAD_VALUE, str(error)))

    @app.errorhandler(NotStored)
    def not_stored(error: NotStored) -> Response:
        return answer(Error(507 if error.full else 500, Problem.NOT_STORED, str(error)))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        code = error.code or 500
        response = answer(Error(code, _REASONS.get(code, Problem.BAD_REQUEST), error.description or error.name))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # RFC 9110 section 15.5.6
        return response


_REASONS = {
    401: Problem.UNAUTHORIZED,
    403: Problem.FORBIDDEN,
    404: Problem.NOT_FOUND,
    405: Problem.METHOD_NOT_ALLOWED,
    408: Problem.TOO_SLOW,
    413: Problem.TOO_LARGE,
    414: Problem.TOO_LARGE,
    415: Problem.UNSUPPORTED_MEDIA_TYPE,
    429: Problem.TOO_MANY,
    431: Problem.TOO_LARGE,
    500: Problem.INTERNAL,
}


def of_status(code: int, message: str) -> Error:
    """An error that is known by its HTTP status."""
    return Error(code, _REASONS.get(code, Problem.BAD_REQUEST), message)
