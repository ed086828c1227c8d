"""Why a request failed: a stable reason code, and JSON that says it. Without Flask, which the server does without."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from consulcast import jsontext


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


def of_status(code: int, message: str) -> Error:
    """An error that is known by its HTTP status."""
    return Error(code, _REASONS.get(code, Problem.BAD_REQUEST), message)


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
