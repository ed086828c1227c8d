"""Errors as they are answered: JSON with a stable reason code; plain text on GoCast's URLs."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from consulcast.kept_file import NotStored
from consulcast.model import Refused
from consulcast.notation import BadValue
from consulcast.web.problem import Error, Problem, of_status

GOCAST_PATHS = ("/register", "/unregister", "/info", "/ping")


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
        response = answer(of_status(code, error.description or error.name))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # RFC 9110 section 15.5.6
        return response
