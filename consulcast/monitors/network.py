"""What the probes over the network share: connecting, by name too, and one deadline for all of a look."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import gevent
from gevent import socket

from consulcast.monitors import names
from consulcast.monitors.names import Address
from consulcast.monitors.probe import Look, failed
from consulcast.monitors.targets import Endpoint


def within(timeout: float, look: Callable[[], Look]) -> Look:
    """Take a look. What takes longer than ``timeout`` seconds in all, or ends in an ``OSError``, has failed."""
    limit = gevent.Timeout(timeout)
    try:
        with limit:
            return look()
    except gevent.Timeout as error:
        if error is not limit:
            raise
        return Look(False, f"no answer within {timeout:g} s")
    except OSError as error:
        return failed(error)


def connect(endpoint: Endpoint, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Connect to the first of its addresses that answers. Raises ``OSError``."""
    refusal = OSError(f"{endpoint.host} has no address")
    for family, address in _addresses(endpoint, kind):
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        try:
            made.connect(address)
            return made
        except OSError as error:
            made.close()
            refusal = error
        except BaseException:  # the deadline
            made.close()
            raise
    raise refusal


def _addresses(endpoint: Endpoint, kind: int) -> list[Address]:
    try:
        literal = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return names.resolve(endpoint.host, endpoint.port, kind)
    return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (endpoint.host, endpoint.port))]
