"""The changes to ExaBGP 5.0.15 that run in its process. Each stands alone, and says what happens without it.

Every one first checks that the code it changes is the code it was written for, and refuses otherwise: a patch that
silently misses would cost more than a daemon that does not start. ``tests/executor/bgp/test_patches.py`` fails
without each of them.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import json
import os
import select
import signal
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any


class DoesNotFit(Exception):
    """The installed ExaBGP is not the one that a patch was written for."""


def apply(after_privileges: Callable[[], None]) -> None:
    """Apply all. ``after_privileges`` is called when ExaBGP has changed its user, or has decided not to."""
    no_getfqdn()
    last_change_wins()
    no_delay()
    short_back_off()
    group_root()
    reload_in_order()
    cease()
    forget_closed_sockets()
    rest_while_idle()
    table_in_parts()
    call_after_privileges(after_privileges)


def no_getfqdn() -> None:
    """ExaBGP looks its own full name up at import. With a dead DNS server that is 5-10 s in which it announces nothing.

    Must run before anything else of ExaBGP is imported.
    """
    from exabgp.util import dns

    _check(dns.domain, 0x90414375)
    setattr(dns, "__domain_name", dns.host())  # the module's own cache of the name


def last_change_wins() -> None:
    """Keep only the last of several changes of one prefix that wait to be sent.

    ExaBGP sorts what waits by attributes, not by time: announce, withdraw, announce again before it is sent (or
    while the peer is down) leaves the peer without the route, or with one that was withdrawn, until the next reset.
    """
    from exabgp.rib.outgoing import OutgoingRIB

    queue = OutgoingRIB._update_rib
    _check(queue, 0x6C6E6C3C)
    _check(OutgoingRIB.updates, 0xDD43B8B0)

    @functools.wraps(queue)
    def _update_rib(self: Any, change: Any) -> None:
        earlier = self._new_nlri.get(change.index())
        if earlier is not None:
            families = self._new_attr_af_nlri.get(earlier.attributes.index(), {})
            families.get(earlier.nlri.family().afi_safi(), {}).pop(earlier.index(), None)
        queue(self, change)

    OutgoingRIB._update_rib = _update_rib


def no_delay() -> None:
    """Send every UPDATE at once, also on the sessions that we open: else one in a hundred waits 40 ms for an ACK."""
    from exabgp.reactor.network.outgoing import Outgoing

    setup = Outgoing._setup
    _check(setup, 0x4E621030)

    @functools.wraps(setup)
    def _setup(self: Any) -> Exception | None:
        fault: Exception | None = setup(self)
        if fault is None:
            self.io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return fault

    Outgoing._setup = _setup


LONGEST_BACK_OFF = 5  # seconds between two attempts to connect


def short_back_off() -> None:
    """Try a peer that is down every 5 s, where ExaBGP's delay grows to a minute: routes are back that much sooner."""
    from exabgp.reactor.delay import Delay

    increase = Delay.increase
    _check(increase, 0xAC348226)

    @functools.wraps(increase)
    def _increase(self: Any) -> None:
        increase(self)
        self._next = min(self._next, LONGEST_BACK_OFF)

    Delay.increase = _increase


def group_root() -> None:
    """Run as a user in group 0 that is not root, which is what containers often are; ExaBGP refuses it as "root"."""
    from exabgp.reactor.daemon import Daemon

    drop = Daemon.drop_privileges
    _check(drop, 0x0A5CD7A6)

    @functools.wraps(drop)
    def drop_privileges(self: Any) -> bool:
        return os.getuid() != 0 or bool(drop(self))

    Daemon.drop_privileges = drop_privileges


def reload_in_order() -> None:
    """Read the configuration in the order of the commands, and answer when it is done, or refused.

    ExaBGP answers at once, ahead of earlier commands, and then forgets it while a change waits to be sent anywhere:
    with one peer down, that is for as long as it is down. The wait is for routes that stand in its configuration;
    ours has none.
    """
    from exabgp.reactor.api.command import Command
    from exabgp.reactor.loop import Reactor

    _check(Command.callback["text"]["reload"], 0x55704AE3)
    _check(Reactor.reload, 0x1BABA63A)

    def reload(self: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
        def read() -> Iterator[bool]:
            if reactor.reload():
                reactor.processes.start(reactor.configuration.processes, False)
                reactor.processes.answer_done(service)
            else:
                reactor.processes.answer_error(service)
            yield True

        reactor.asynchronous.schedule(service, line, read())
        return True

    Command.callback["text"]["reload"] = reload


_DECONFIGURED, _SHUT_DOWN = 3, 2  # subcodes of Cease, RFC 4486
_LONGEST_NOTIFICATION = 10  # attempts to write it; a peer that does not read would have us wait for ever


def cease() -> None:
    """Tell a peer that its session ends because it was removed, or because ExaBGP ends; ExaBGP only closes it."""
    from exabgp.bgp.message import Notify
    from exabgp.reactor.api.processes import ProcessError
    from exabgp.reactor.network.error import NetworkError
    from exabgp.reactor.peer import Peer

    stop = Peer._stop
    _check(stop, 0x245EACD0)

    @functools.wraps(stop)
    def _stop(self: Any, message: str) -> None:
        if self.proto is not None and self.established():
            notify = Notify(6, _DECONFIGURED if message == "removed" else _SHUT_DOWN)
            with contextlib.suppress(NetworkError, ProcessError):
                for _ in itertools.islice(self.proto.new_notification(notify), _LONGEST_NOTIFICATION):
                    pass
        stop(self, message)

    Peer._stop = _stop


def forget_closed_sockets() -> None:
    """Stop polling the sockets of sessions that have ended.

    ExaBGP goes on polling them. The kernel answers at once that they are closed, and ExaBGP, in place of waiting for
    work, then sleeps 10 ms each time: with one peer down or removed, all others hear of a change 10-20 ms later.
    """
    from exabgp.reactor.loop import Reactor

    wait = Reactor._wait_for_io
    _check(wait, 0x6098C824)
    _check(Reactor.run, 0x42B97C32)

    @functools.wraps(wait)
    def _wait_for_io(self: Any, sleeptime: int) -> Iterator[int]:
        for descriptor, event in self._poller.poll(0):
            if event & select.POLLNVAL and descriptor not in self.processes.fds:  # those it looks after itself
                self._poller.unregister(descriptor)
        yield from wait(self, sleeptime)

    Reactor._wait_for_io = _wait_for_io


IDLE = 100  # milliseconds


def rest_while_idle() -> None:
    """Wait for work 0.1 s at a time while there is none, where ExaBGP looks for it a hundred times a second.

    What comes ends the wait at once: commands, what peers send, and signals, which get a descriptor for that. What is
    left are KEEPALIVEs, which are due in seconds. While a session is not up, or something waits to be done or sent, it
    looks as often as ever.
    """
    from exabgp.bgp.fsm import FSM
    from exabgp.reactor.asynchronous import ASYNC
    from exabgp.reactor.loop import Reactor
    from exabgp.reactor.peer import Peer

    wait = Reactor._wait_for_io
    _check(wait, 0x6098C824)
    _check(Reactor.run, 0x42B97C32)
    _check(ASYNC.ready, 0xFAF653B1)
    _check(Peer._main, 0xF409AC16)

    def is_idle(reactor: Any) -> bool:
        if reactor._stopping or not reactor.asynchronous.ready():
            return False
        return all(
            peer.fsm == FSM.ESTABLISHED
            and not peer.stopping()
            and not peer.neighbor.rib.outgoing.pending()
            and not (peer.neighbor.eor or peer.neighbor.refresh or peer.neighbor.messages)
            for peer in reactor._peers.values()
        )

    def wake_on_signals(reactor: Any) -> int:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        reactor._poller.register(reading, select.POLLIN)
        return reading

    @functools.wraps(wait)
    def _wait_for_io(self: Any, sleeptime: int) -> Iterator[int]:
        if not hasattr(self, "signalled"):
            self.signalled = wake_on_signals(self)
        for descriptor in wait(self, IDLE if sleeptime and is_idle(self) else sleeptime):
            if descriptor != self.signalled:
                yield descriptor
                continue
            with contextlib.suppress(BlockingIOError):
                os.read(descriptor, 4096)

    Reactor._wait_for_io = _wait_for_io


def table_in_parts() -> None:
    """Tell a part of what a peer is told, as the commands that announced it: ``table ADDRESS PART PARTS``.

    ExaBGP's own ``show adj-rib out`` answers one line for every route of every peer, with everything that comes
    later waiting behind it: for 1,000 routes that is half a second. This one takes 1 ms for 100 of them.
    """
    from exabgp.reactor.api import API
    from exabgp.reactor.api.command import Command
    from exabgp.reactor.api.command.limit import match_neighbors
    from exabgp.reactor.loop import Reactor
    from exabgp.rib.cache import Cache
    from exabgp.rib.outgoing import OutgoingRIB

    parse, add = API.api_route, OutgoingRIB.add_to_rib
    _check(parse, 0x7FFC4E65)
    _check(add, 0xA98CE920)
    _check(Cache.update_cache, 0x6FCC741E)
    _check(Reactor.neighor_rib, 0x42FEF6B1)

    @functools.wraps(parse)
    def api_route(self: Any, command: str) -> list[Any]:
        changes: list[Any] = parse(self, command)
        for change in changes:
            change.line = command
        return changes

    @functools.wraps(add)
    def add_to_rib(self: Any, change: Any, force: bool = False) -> None:
        add(self, change, force)
        known = self._seen.get(change.nlri.family().afi_safi(), {}).get(change.index())
        if known is not None:  # if it was known already, it is the one before that is kept
            known.line = getattr(change, "line", "")

    def table(self: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
        def look() -> Iterator[bool]:
            _, address, part, parts = line.split()
            for name in match_neighbors(reactor.peers(service), [[f"neighbor {address}"]]):
                routes = {
                    change.nlri.cidr.prefix(): getattr(change, "line", "")
                    for change in reactor.neighor_rib(name, "out")
                    if zlib.crc32(change.nlri.cidr.pack_nlri()) % int(parts) == int(part)
                }
                told = {"table": address, "part": int(part), "parts": int(parts), "routes": routes}
                reactor.processes.write(service, json.dumps(told))
            reactor.processes.answer_done(service)
            yield True

        reactor.asynchronous.schedule(service, line, look())
        return True

    API.api_route, OutgoingRIB.add_to_rib = api_route, add_to_rib
    Command.register("table", False)(table)


def call_after_privileges(action: Callable[[], None]) -> None:
    """Call ``action`` after ExaBGP's change of user, which makes the kernel forget whose death we die with."""
    from exabgp.reactor.daemon import Daemon

    drop = Daemon.drop_privileges
    _check(drop, 0x0A5CD7A6)

    @functools.wraps(drop)
    def drop_privileges(self: Any) -> bool:
        dropped = bool(drop(self))
        action()
        return dropped

    Daemon.drop_privileges = drop_privileges


def _check(function: Callable[..., Any], fingerprint: int) -> None:
    """Raise ``DoesNotFit`` unless ``function`` has the source that ``fingerprint`` was taken of."""
    from exabgp.version import version

    name = f"{function.__module__}.{function.__qualname__}"
    try:
        source = inspect.getsource(function)
    except OSError as error:
        raise DoesNotFit(f"no source of {name} of ExaBGP {version}: install exabgp==5.0.15 with its sources") from error
    found = zlib.crc32(source.encode())
    if found != fingerprint:
        raise DoesNotFit(f"{name} of ExaBGP {version} is not the known one ({found:#010x}): install exabgp==5.0.15")
