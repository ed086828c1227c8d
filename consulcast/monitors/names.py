"""The addresses of names that probes connect to.

Resolving blocks a thread, for as long as the name's servers are silent, and names come from whoever writes tags. So who
has been resolved before stands on that when there is no answer soon: else a few names that hang, or a resolver that is
away, would have every probe that goes by a name fail, and take down what is well.
"""

from __future__ import annotations

import functools
import socket
from collections import OrderedDict
from typing import Any, TypeAlias

import gevent
from gevent import monkey
from gevent.threadpool import ThreadPool

Address: TypeAlias = tuple[int, tuple[Any, ...]]  # family, and what to connect to

_THREADS = 4
_PATIENCE = 1.0  # seconds for the name to be resolved anew, where there is an answer of before
_MOST = 4096  # names that are remembered; beyond, the one that was longest not asked for is forgotten
_LOOPBACK = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))  # RFC 6761 section 6.3: nobody is to be asked
_getaddrinfo = monkey.get_original("socket", "getaddrinfo")

_known: OrderedDict[tuple[str, int, int], list[Address]] = OrderedDict()


def resolve(host: str, port: int, kind: int) -> list[Address]:
    """Find the addresses of a name, for a socket of that kind. Raises ``OSError``."""
    if host.lower().removesuffix(".") == "localhost":
        return [(family, (address, port)) for family, address in _LOOPBACK]
    key = (host, port, kind)
    former = _known.get(key)
    if former is None:
        found = _ask(key)
    else:
        try:
            with gevent.Timeout(_PATIENCE, TimeoutError):
                found = _ask(key)
        except TimeoutError:
            found = former
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                raise
            found = former
    _known[key] = found
    _known.move_to_end(key)
    while len(_known) > _MOST:
        _known.popitem(last=False)
    return found


def _ask(key: tuple[str, int, int]) -> list[Address]:
    host, port, kind = key
    found = _threads().apply(_getaddrinfo, (host, port, 0, kind))
    return [(family, address) for family, _, _, _, address in found]


@functools.cache
def _threads() -> ThreadPool:
    """Threads of our own: a resolver that hangs must not keep Consul's client from the hub's threads."""
    return ThreadPool(_THREADS)
