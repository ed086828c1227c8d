"""The changes to ExaBGP 5.0.15 that run in its process. Each stands alone, and says what happens without it.

Every one first checks that the code it changes is the code it was written for, and refuses otherwise: a patch that
silently misses would cost more than a daemon that does not start. ``tests/executor/bgp/test_patches.py`` fails
without each of them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import select
import signal
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any

from consulcast.executor.bgp import lean, shortcuts
from consulcast.executor.bgp.fingerprint import check


def apply(after_privileges: Callable[[], None]) -> None:
    """Apply all. ``after_privileges`` is called when ExaBGP has changed its user, or has decided not to."""
    for name in lean.RARELY_USED:
        lean.import_when_used(name)
    no_getfqdn()
    lean.no_port_names()
    no_event_loop()
    last_change_wins()
    no_delay()
    short_back_off()
    group_root()
    reload_in_order()
    cease()
    forget_closed_sockets()
    rest_while_idle()
    forget_who_is_gone()
    shortcuts.shared_attributes()
    table_in_parts()
    shortcuts.light_copies()
    shortcuts.known_neighbors()
    shortcuts.routes_first()
    shortcuts.answers_together()
    shortcuts.longer_turns()
    shortcuts.ipv6_in_groups()
    call_after_privileges(after_privileges)


def no_getfqdn() -> None:
    """ExaBGP looks its own full name up at import. With a dead DNS server that is 5-10 s in which it announces nothing.

    Must run before anything else of ExaBGP is imported.
    """
    from exabgp.util import dns

    check(dns.domain, 0xF1349423)
    setattr(dns, "__domain_name", dns.host())  # the module's own cache of the name


def last_change_wins() -> None:
    """Keep only the last of several changes of one prefix that wait to be sent.

    ExaBGP sorts what waits by attributes, not by time: announce, withdraw, announce again before it is sent (or
    while the peer is down) leaves the peer without the route, or with one that was withdrawn, until the next reset.
    """
    from exabgp.rib.outgoing import OutgoingRIB

    queue = OutgoingRIB._update_rib
    check(queue, 0x6793A178)
    check(OutgoingRIB.updates, 0x41AE0943)

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
    check(setup, 0x69F914CE)

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
    check(increase, 0x87111607)

    @functools.wraps(increase)
    def _increase(self: Any) -> None:
        increase(self)
        self._next = min(self._next, LONGEST_BACK_OFF)

    Delay.increase = _increase


def group_root() -> None:
    """Run as a user in group 0 that is not root, which is what containers often are; ExaBGP refuses it as "root"."""
    from exabgp.reactor.daemon import Daemon

    drop = Daemon.drop_privileges
    check(drop, 0x5313F1A2)

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

    check(Command.callback["text"]["reload"], 0x7A06BC9B)
    check(Reactor.reload, 0xA5693179)

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
    check(stop, 0xE56506DF)

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
    check(wait, 0x272C81B3)
    check(Reactor.run, 0x048E2E05)

    @functools.wraps(wait)
    def _wait_for_io(self: Any, sleeptime: int) -> Iterator[int]:
        for descriptor, event in self._poller.poll(0):
            if event & select.POLLNVAL and descriptor not in self.processes.fds:  # those it looks after itself
                self._poller.unregister(descriptor)
        yield from wait(self, sleeptime)

    Reactor._wait_for_io = _wait_for_io


def no_event_loop() -> None:
    """Do what commands ask for in a plain loop, where ExaBGP makes an event loop of asyncio for every turn.

    Its commands are generators, which have nothing to wait for. It takes 0.1 ms less a turn, and without asyncio there
    is no TLS either: 3 MiB.
    """
    from exabgp.logger import log as theirs
    from exabgp.reactor.asynchronous import ASYNC

    run = ASYNC.run
    check(run, 0x8CA7761D)
    check(ASYNC._run_async, 0x2AD8C120)

    @functools.wraps(run)
    def run_in_turn(self: Any) -> bool:
        for _ in range(self.LIMIT):
            if not self._async:
                return False
            if not isinstance(self._async[0][1], GeneratorType):
                return bool(run(self))
            service, callback = self._async.popleft()  # it may clear the queue
            try:
                next(callback)
            except StopIteration:
                continue
            except Exception as error:  # noqa: BLE001 - ExaBGP goes on, whatever a command does
                said = f"a command of {service} failed: {type(error).__name__}: {error}"
                theirs.error(lambda said=said: said, "reactor")
                self._notify_error(service)
                continue
            self._async.appendleft((service, callback))
        return bool(self._async)

    ASYNC.run = run_in_turn


def forget_who_is_gone() -> None:
    """Drop what an API process has asked for that has ended.

    ExaBGP goes on with it, and answers the process that comes in its place, up to 75 times when the relay dies in a
    batch. Answers carry no id: we take them for those to what we have asked since, and end ExaBGP for the last ones.
    """
    from exabgp.reactor.api.processes import Processes
    from exabgp.reactor.asynchronous import ASYNC
    from exabgp.reactor.loop import Reactor

    handle, end = ASYNC.set_error_handler, Processes._terminate
    check(handle, 0x4A675623)
    check(ASYNC.clear, 0xE9C5CDE7)
    check(end, 0x830CC260)
    check(Processes._handle_problem, 0x1DCD59A2)
    check(Reactor.run, 0x048E2E05)

    @functools.wraps(handle)
    def set_error_handler(self: Any, handler: Any) -> None:
        handle(self, handler)
        handler.__self__.asked = self  # where ExaBGP tells the queue of the processes, these learn of it

    @functools.wraps(end)
    def _terminate(self: Any, process_name: str) -> Any:
        self.asked.clear(process_name)
        return end(self, process_name)

    ASYNC.set_error_handler, Processes._terminate = set_error_handler, _terminate


LONGEST_IDLE = 1000  # milliseconds


def rest_while_idle() -> None:
    """Wait for work up to a second at a time while there is none, where ExaBGP looks for it a hundred times a second.

    What comes ends the wait at once: commands, what peers send, and signals, which get a descriptor for that. What is
    left are the timers of KEEPALIVE and of the hold time, to the second: it wakes when the next one is due. While a
    session is not up, or something waits to be done or sent, it looks as often as ever; and once more after that, for
    what only the next turn does: End-of-RIB after the first routes, a session that a new configuration ends.
    """
    from exabgp.bgp.fsm import FSM
    from exabgp.bgp.timer import ReceiveTimer, SendTimer
    from exabgp.reactor.asynchronous import ASYNC
    from exabgp.reactor.keepalive import KA
    from exabgp.reactor.loop import Reactor
    from exabgp.reactor.peer import Peer

    wait, begin = Reactor._wait_for_io, KA.__init__
    check(wait, 0x272C81B3)
    check(Reactor.run, 0x048E2E05)
    check(ASYNC.ready, 0xF604A232)
    check(Peer._main, 0xD273373A)
    check(begin, 0x56A47D1E)
    check(SendTimer.need_ka, 0xD2FBB5CC)
    check(ReceiveTimer.check_ka_timer, 0x9EA44288)

    def is_idle(reactor: Any) -> bool:
        if reactor._stopping or not reactor.asynchronous.ready():
            return False
        return all(
            peer.fsm == FSM.ESTABLISHED
            and hasattr(peer.proto, "send_timer")
            and not peer.stopping()
            and not peer.neighbor.rib.outgoing.pending()
            and not (peer.neighbor.eor or peer.neighbor.refresh or peer.neighbor.messages)
            for peer in reactor._peers.values()
        )

    def timers(reactor: Any) -> Iterator[int]:
        """When something is due by the clock, in seconds; ExaBGP counts in whole ones."""
        for peer in reactor._peers.values():
            sending, receiving = peer.proto.send_timer, peer.recv_timer
            if sending.keepalive:
                yield sending.last_sent + sending.keepalive
            if receiving.holdtime:
                yield receiving.last_read + receiving.holdtime + 1

    def longest(reactor: Any, sleeptime: int) -> int:
        rests, reactor.rests = getattr(reactor, "rests", False), bool(sleeptime) and is_idle(reactor)
        if not rests or not reactor.rests:
            return sleeptime
        left = (min(timers(reactor), default=math.inf) - time.time()) * 1000
        return math.ceil(min(max(left, sleeptime), LONGEST_IDLE))

    def wake_on_signals(reactor: Any) -> int:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        reactor._poller.register(reading, select.POLLIN)
        return reading

    @functools.wraps(begin)
    def __init__(self: Any, session: Any, proto: Any) -> None:
        begin(self, session, proto)
        proto.send_timer = self.send_timer  # which is nowhere else to be found

    @functools.wraps(wait)
    def _wait_for_io(self: Any, sleeptime: int) -> Iterator[int]:
        if not hasattr(self, "signalled"):
            self.signalled = wake_on_signals(self)
        for descriptor in wait(self, longest(self, sleeptime)):
            if descriptor != self.signalled:
                yield descriptor
                continue
            with contextlib.suppress(BlockingIOError):
                os.read(descriptor, 4096)

    KA.__init__, Reactor._wait_for_io = __init__, _wait_for_io


def table_in_parts() -> None:
    """Tell what a peer is told, by the commands that announced it.

    ``table ADDRESS``: how many, and the sum of their checksums. ``table ADDRESS PART PARTS``: a part of the commands.

    ExaBGP's own ``show adj-rib out`` answers one line for every route of every peer, with everything that comes
    later waiting behind it: for 1,000 routes that is half a second. A part takes 1 ms for 100 of them, the sum 0.3 ms
    for 1,000.
    """
    from exabgp.reactor.api import API
    from exabgp.reactor.api.command import Command
    from exabgp.reactor.api.command.limit import match_neighbors
    from exabgp.reactor.loop import Reactor
    from exabgp.rib.cache import Cache
    from exabgp.rib.outgoing import OutgoingRIB

    parse, add = API.api_route, OutgoingRIB.add_to_rib
    check(parse, 0x9929AE60)
    check(add, 0x3F2D03C0)
    check(Cache.update_cache, 0x73698FFA)
    check(Reactor.neighor_rib, 0x4304AD05)

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
            known.checksum = zlib.crc32(known.line.encode())

    def number(change: Any) -> int:
        """Which part a prefix is in, modulo the parts; kept, for all are looked at for each part."""
        if not hasattr(change, "number"):
            change.number = zlib.crc32(change.nlri.cidr.pack_nlri())
        return int(change.number)

    def summed(routes: list[Any]) -> dict[str, object]:
        return {"count": len(routes), "sum": sum(getattr(change, "checksum", 0) for change in routes)}

    def part_of(routes: list[Any], part: int, parts: int) -> dict[str, object]:
        wanted = [change for change in routes if number(change) % parts == part]
        told = {change.nlri.cidr.prefix(): getattr(change, "line", "") for change in wanted}
        return {"part": part, "parts": parts, "routes": told}

    def table(self: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
        def look() -> Iterator[bool]:
            _, address, *part = line.split()
            for name in match_neighbors(reactor.peers(service), [[f"neighbor {address}"]]):
                routes = reactor.neighor_rib(name, "out")
                told = part_of(routes, int(part[0]), int(part[1])) if part else summed(routes)
                reactor.processes.write(service, json.dumps({"table": address, **told}))
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
    check(drop, 0x5313F1A2)

    @functools.wraps(drop)
    def drop_privileges(self: Any) -> bool:
        dropped = bool(drop(self))
        action()
        return dropped

    Daemon.drop_privileges = drop_privileges
