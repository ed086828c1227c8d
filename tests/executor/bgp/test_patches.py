"""Each patch is tried in a process of its own, where only it is applied; and the same without it, which must fail."""

from __future__ import annotations

import textwrap

from tests.executor.bgp.patched import TABLE as _TABLE
from tests.executor.bgp.patched import assert_needed, run

_RIB = """
    from exabgp.environment import getenv
    from exabgp.logger import log
    log.init(getenv())
    from exabgp.bgp.message import Action
    from exabgp.bgp.message.update.attribute import Attributes, NextHop, MED
    from exabgp.bgp.message.update.nlri import INET
    from exabgp.protocol.family import AFI, SAFI
    from exabgp.protocol.ip import IP
    from exabgp.rib.change import Change
    from exabgp.rib.outgoing import OutgoingRIB

    def change(prefix, med):
        nlri = INET(AFI.ipv4, SAFI.unicast, Action.WITHDRAW if med is None else Action.ANNOUNCE)
        from exabgp.bgp.message.update.nlri.cidr import CIDR
        nlri.cidr = CIDR(IP.pton(prefix), 32)
        nlri.nexthop = NextHop("198.51.100.1")
        attributes = Attributes()
        if med is not None:
            attributes.add(MED(med))
        return Change(nlri, attributes)

    def send(rib, peer):
        for update in rib.updates(True):
            for nlri in update.nlris:
                if nlri.action == Action.ANNOUNCE:
                    peer[str(nlri.cidr.prefix())] = str(update.attributes)
                else:
                    peer.pop(str(nlri.cidr.prefix()), None)
"""


_ONE = """
    rib, peer = OutgoingRIB(True, {(AFI.ipv4, SAFI.unicast)}), {}
    for act in sequence:
        rib.add_to_rib(change("203.0.113.1", None if act == "W" else int(act)))
    send(rib, peer)
    assert peer == ({} if sequence[-1] == "W" else {"203.0.113.1/32": f" med {act}"}), peer
"""


def test_the_last_of_several_changes_of_a_prefix_wins() -> None:
    for sequence in ("1W1", "121", "W12W"):
        assert_needed("last_change_wins", textwrap.dedent(_RIB) + f"sequence = {sequence!r}\n" + textwrap.dedent(_ONE))


def test_any_sequence_of_changes_and_sendings_ends_with_the_last_of_each_prefix() -> None:
    assert_needed(
        "last_change_wins",
        textwrap.dedent(_RIB)
        + textwrap.dedent("""
        chance = random.Random(5)
        for _ in range(300):
            rib, peer, wanted = OutgoingRIB(True, {(AFI.ipv4, SAFI.unicast)}), {}, {}
            for _ in range(40):
                prefix, med = f"203.0.113.{chance.randrange(3)}", chance.choice([None, None, 1, 2, 3])
                rib.add_to_rib(change(prefix, med))
                if med is None:
                    wanted.pop(prefix + "/32", None)
                else:
                    wanted[prefix + "/32"] = f" med {med}"
                if chance.random() < 0.2:
                    send(rib, peer)
                if chance.random() < 0.05:
                    rib.resend(False)  # the peer asked for a ROUTE-REFRESH
            send(rib, peer)
            assert peer == wanted, (peer, wanted)
        """),
    )


def test_sessions_that_we_open_send_without_delay() -> None:
    assert_needed(
        "no_delay",
        """
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.protocol.family import AFI
        from exabgp.reactor.network.outgoing import Outgoing
        outgoing = Outgoing(AFI.ipv4, "127.0.0.1", "127.0.0.1")
        assert outgoing._setup() is None
        assert outgoing.io.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        """,
    )


def test_the_pause_between_attempts_to_connect_stays_short() -> None:
    assert_needed(
        "short_back_off",
        """
        from exabgp.reactor.delay import Delay
        delay = Delay()
        for _ in range(50):
            delay.increase()
        assert delay._time - time.time() <= patches.LONGEST_BACK_OFF
        """,
    )


def test_the_hosts_full_name_is_never_looked_up() -> None:
    assert_needed(
        "no_getfqdn",
        """
        asked = []
        socket.getfqdn = lambda name="": asked.append(name) or "x.example"
        import exabgp.bgp.message.open.capability.hostname
        from exabgp.util.dns import warn
        warn()
        assert not asked
        """,
    )


def test_a_user_in_group_0_is_not_taken_for_root() -> None:
    assert_needed(
        "group_root",
        """
        os.getuid, os.getgid = lambda: 1234, lambda: 0
        os.setgid = os.setuid = lambda number: None
        from exabgp.environment import getenv
        getenv().daemon.user = "nobody"
        from exabgp.reactor.daemon import Daemon
        assert Daemon(None).drop_privileges()
        """,
    )


def test_root_still_drops_its_privileges() -> None:
    done = run(
        "group_root",
        """
        dropped = []
        os.getuid = os.geteuid = lambda: dropped[-1] if dropped else 0
        os.getgid = os.getuid
        os.setgid, os.setuid = lambda number: None, dropped.append
        from exabgp.environment import getenv
        getenv().daemon.user = "nobody"
        from exabgp.reactor.daemon import Daemon
        assert Daemon(None).drop_privileges()
        assert dropped
        """,
    )
    assert done.returncode == 0, done.stderr


_REACTOR = """
    from types import SimpleNamespace
    from exabgp.environment import getenv
    from exabgp.logger import log
    log.init(getenv())
    from exabgp.reactor.api.command import Command
    from exabgp.reactor.asynchronous import ASYNC

    said = []
    class Reactor:
        asynchronous = ASYNC()
        signal = SimpleNamespace(RELOAD=-4, received=0)
        configuration = SimpleNamespace(processes={})
        processes = SimpleNamespace(
            answer_done=lambda service: said.append("done"),
            answer_error=lambda service: said.append("error"),
            write=lambda service, line: said.append(line),
            start=lambda configuration, restart: None,
        )
        def reload(self):
            said.append("read")
            return readable
    def earlier():
        said.append("earlier")
        yield
    reactor, readable = Reactor(), sys.argv[-1] != "unreadable"
    reactor.asynchronous.schedule("api", "announce", earlier())
    Command.callback["text"]["reload"](None, reactor, "api", "reload", False)
    reactor.asynchronous.run()
"""


def test_a_reload_is_done_in_order_whatever_waits_to_be_sent_and_answered_when_it_is_done() -> None:
    assert_needed("reload_in_order", _REACTOR + "    assert said == ['earlier', 'read', 'done'], said\n")


def test_a_configuration_that_cannot_be_read_is_told_by_the_answer() -> None:
    code = _REACTOR.replace('sys.argv[-1] != "unreadable"', "False")
    assert_needed("reload_in_order", code + "    assert said == ['earlier', 'read', 'error'], said\n")


def test_a_peer_is_told_that_it_was_removed_or_that_exabgp_ends() -> None:
    assert_needed(
        "cease",
        """
        from types import SimpleNamespace
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.bgp.fsm import FSM
        from exabgp.reactor.delay import Delay
        from exabgp.reactor.network.error import NetworkError
        from exabgp.reactor.peer import Peer, Stats

        class Protocol:
            def new_notification(self, notify):
                told.append((notify.code, notify.subcode))
                if broken:
                    raise NetworkError("broken")
                while stuck:
                    yield
                yield
            def close(self, reason):
                told.append("closed")

        told = []
        for reason, broken, stuck in (("removed", 0, 0), ("shutting down", 0, 0), ("removed", 1, 0), ("removed", 0, 1)):
            peer = object.__new__(Peer)
            peer.proto, peer.stats, peer._delay = Protocol(), Stats(), Delay()
            peer.neighbor = SimpleNamespace(api={"neighbor-changes": [], "fsm": []}, uid=1)
            peer.fsm = FSM(peer, FSM.ESTABLISHED)
            peer._stop(reason)
        assert told == [(6, 3), "closed", (6, 2), "closed", (6, 3), "closed", (6, 3), "closed"], told
        """,
    )


def test_a_closed_socket_is_not_polled_again_unless_it_is_the_api_processs() -> None:
    assert_needed(
        "forget_closed_sockets",
        """
        import select
        from types import SimpleNamespace
        from exabgp.reactor.loop import Reactor

        class Loop:
            def __init__(self, api):
                self._poller = select.poll()
                self.processes = SimpleNamespace(fds=api)
                self.spun = 0
            def _prevent_spin(self):
                self.spun += 1

        end, other = os.pipe()
        alive, writer = os.pipe()
        os.write(writer, b"x")
        for api, spins in (([], 0), ([end], 1)):
            loop = Loop(api)
            loop._poller.register(end, select.POLLIN)
            loop._poller.register(alive, select.POLLIN)
            if not api:
                os.close(end)
            assert list(Reactor._wait_for_io(loop, 0)) == [alive]
            assert loop.spun == spins, loop.spun
        """,
    )


def test_a_turn_of_commands_needs_no_event_loop_and_does_them_in_order() -> None:
    assert_needed(
        "no_event_loop",
        """
        import asyncio
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.reactor.asynchronous import ASYNC

        loops = []
        asyncio.run, run = lambda coroutine: loops.append(coroutine) or run(coroutine), asyncio.run
        said, refused = [], []
        queue = ASYNC()
        queue.set_error_handler(refused.append)

        def command(name, steps):
            for step in range(steps):
                said.append((name, step))
                yield
            if name == "later":
                queue.schedule("relay", "", command("last", 1))
            if name == "wrong":
                raise ValueError("x")
            if name == "clear":
                queue.clear()

        assert queue.run() is False
        for name, steps in (("one", 2), ("wrong", 1), ("later", 1), ("two", 3)):
            queue.schedule("relay", "", command(name, steps))
        while queue.run():
            pass
        assert said == [
            ("one", 0), ("one", 1), ("wrong", 0), ("later", 0), ("two", 0), ("two", 1), ("two", 2), ("last", 0)
        ], said
        assert refused == ["relay"] and queue.ready()
        queue.schedule("relay", "", command("long", ASYNC.LIMIT + 5))
        said.clear()
        assert queue.run() is True and len(said) == ASYNC.LIMIT
        assert queue.run() is False and len(said) == ASYNC.LIMIT + 5
        queue.schedule("relay", "", command("clear", 0))
        queue.schedule("relay", "", command("never", 1))
        assert queue.run() is False and ("never", 0) not in said
        assert not loops, "an event loop was made"
        """,
    )


def test_a_command_that_is_no_generator_is_done_as_exabgp_does_it() -> None:
    done = run(
        "no_event_loop",
        """
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.reactor.asynchronous import ASYNC
        said = []
        async def command():
            said.append("done")
        queue = ASYNC()
        queue.schedule("relay", "", command())
        while queue.run():
            pass
        assert said == ["done"]
        """,
    )
    assert done.returncode == 0, done.stderr


def test_what_an_api_process_has_asked_that_is_gone_is_not_answered_to_the_next() -> None:
    assert_needed(
        "forget_who_is_gone",
        """
        from types import SimpleNamespace
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.reactor.api.processes import Processes
        from exabgp.reactor.asynchronous import ASYNC

        def command(service):
            done.append(service)
            yield

        done, queue, processes = [], ASYNC(), Processes()
        queue.set_error_handler(processes.answer_error)
        processes._restart["api"] = False
        for service in ("api", "listener", "api"):
            queue.schedule(service, "", command(service))
        stdout = SimpleNamespace(fileno=lambda: 9)
        processes._process["api"] = SimpleNamespace(stdout=stdout, terminate=lambda: None, wait=lambda timeout: None)
        processes._handle_problem("api")
        while queue.run():
            pass
        assert done == ["listener"], done
        """,
    )


def test_idle_waits_are_long_and_end_with_a_signal_or_a_timer_and_all_others_are_as_ever() -> None:
    assert_needed(
        "rest_while_idle",
        """
        import collections, select, signal, threading
        from types import SimpleNamespace
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.bgp.fsm import FSM
        from exabgp.bgp.message.open.holdtime import HoldTime
        from exabgp.bgp.timer import ReceiveTimer
        from exabgp.reactor.asynchronous import ASYNC
        from exabgp.reactor.keepalive import KA
        from exabgp.reactor.loop import Reactor

        now = 1000.0
        time.time = lambda: now

        class Loop:
            def __init__(self):
                self.asynchronous, self.processes = ASYNC(), SimpleNamespace(fds=[])
                self.real, self._poller, self.waits = select.poll(), self, []
                self.pending, self.stopping, self._stopping = 0, False, False
                self.neighbor = SimpleNamespace(
                    rib=SimpleNamespace(outgoing=SimpleNamespace(pending=lambda: self.pending)),
                    eor=collections.deque(), refresh=collections.deque(), messages=collections.deque(),
                )
                self.proto = SimpleNamespace(negotiated=SimpleNamespace(holdtime=HoldTime(30)))
                self.peer = SimpleNamespace(
                    fsm=FSM.ESTABLISHED, neighbor=self.neighbor, stopping=lambda: self.stopping, proto=self.proto,
                    recv_timer=ReceiveTimer(lambda: "session", HoldTime(30), 4, 0),
                )
                self._peers = {"198.51.100.2": self.peer}
            def register(self, *what):
                self.real.register(*what)
            def poll(self, milliseconds):
                self.waits.append(milliseconds)
                return self.real.poll(self.for_ever if milliseconds and self.for_ever else 0)
            for_ever = None
            def _prevent_spin(self):
                raise AssertionError
            def waited(self, milliseconds=10):
                self.waits.clear()
                assert list(Reactor._wait_for_io(self, milliseconds)) == []
                return self.waits[-1]
            def waited_again(self):
                assert self.waited() == 10, "a turn has something to do that nothing tells of"
                return self.waited()

        loop = Loop()
        assert loop.waited() == 10, "its timers have not begun"
        timers = KA(lambda: "session", loop.proto).send_timer
        assert loop.waited_again() == 1000
        assert loop.waited(0) == 0, "there is work"
        assert loop.waited_again() == 1000
        for change, back in (
            (lambda: setattr(loop.peer, "fsm", FSM.OPENCONFIRM), lambda: setattr(loop.peer, "fsm", FSM.ESTABLISHED)),
            (lambda: setattr(loop, "stopping", True), lambda: setattr(loop, "stopping", False)),
            (lambda: setattr(loop, "_stopping", True), lambda: setattr(loop, "_stopping", False)),
            (lambda: setattr(loop, "pending", 1), lambda: setattr(loop, "pending", 0)),
            (lambda: loop.neighbor.eor.append(1), loop.neighbor.eor.clear),
            (lambda: loop.neighbor.refresh.append(1), loop.neighbor.refresh.clear),
            (lambda: loop.neighbor.messages.append(1), loop.neighbor.messages.clear),
            (lambda: loop.asynchronous.schedule("relay", "announce", iter([])), loop.asynchronous.clear),
        ):
            change()
            assert loop.waited() == 10, change
            back()
            assert loop.waited_again() == 1000, back

        now = 1009.5
        assert loop.waited() == 500 and not timers.need_ka(), "a KEEPALIVE is due in half a second"
        now = 1009.999
        assert loop.waited() == 10
        now = 1010.0
        assert loop.waited() == 10 and timers.need_ka(), "it is due"
        assert loop.waited() == 1000
        timers.last_sent, now = 1030, 1030.75
        assert loop.peer.recv_timer.check_ka_timer()
        assert loop.waited() == 250, "the hold time ends in a quarter of a second"
        timers.keepalive = loop.peer.recv_timer.holdtime = 0
        assert loop.waited() == 1000, "a session without a hold time has no timer"

        signal.signal(signal.SIGTERM, lambda *_: print("heard"))
        loop.for_ever = 30_000
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        loop.waited()
        loop.for_ever = None
        assert loop.waited() == 1000, "and the descriptor is read empty"
        assert loop.real.poll(0) == []
        """,
    )


def test_a_table_is_told_as_the_commands_that_made_it() -> None:
    assert_needed(
        "table_in_parts",
        _TABLE
        + """
    one = "announce route 203.0.113.1/32 next-hop 198.51.100.1 origin igp community [ 65000:1 65000:2 ]"
    six = "announce route 2001:db8:1::/64 next-hop 2001:db8::1 origin igp"
    tell(f"neighbor 198.51.100.2 {one}")
    tell(f"neighbor 198.51.100.2 {six}")
    assert table("198.51.100.2") == {"203.0.113.1/32": one, "2001:db8:1::/64": six}
    assert table("198.51.100.20") == {}
    tell(f"neighbor 198.51.100.2 {one} local-preference 7")
    assert table("198.51.100.2")["203.0.113.1/32"] == f"{one} local-preference 7"
    tell("neighbor 198.51.100.2 withdraw route 203.0.113.1/32")
    assert table("198.51.100.2") == {"2001:db8:1::/64": six}
    said.clear()
    tell("table 198.51.100.3 0 1")
    assert said == ["done"], said
""",
    )


def test_the_sum_of_a_table_is_the_one_that_we_compute() -> None:
    assert_needed(
        "table_in_parts",
        _TABLE
        + """
    from ipaddress import ip_address
    from consulcast.executor.bgp.sums import Sum, Sums
    ours, peer = Sums(), ip_address("198.51.100.2")

    def say(former, command):
        tell(command or f"neighbor {peer} withdraw route {former.split()[4]}")
        ours.replace(peer, former, command)
        said.clear()
        tell(f"table {peer}")
        assert said[-1:] == ["done"] and len(said) == 2, said
        answer = json.loads(said[0])
        assert answer["table"] == str(peer)
        assert Sum(answer["count"], answer["sum"]) == ours.of(peer)
        return ours.of(peer)

    one = f"neighbor {peer} announce route 203.0.113.1/32 next-hop 198.51.100.1 origin igp"
    six = f"neighbor {peer} announce route 2001:db8:1::/64 next-hop 2001:db8::1 origin igp"
    sums = [say(None, one), say(None, six), say(one, one + " med 7"), say(one + " med 7", None)]
    assert len(set(sums)) == 4 and [each.routes for each in sums] == [1, 2, 2, 1]
    tell(f"neighbor {peer} announce ipv4 unicast 203.0.113.9/32 next-hop 198.51.100.1")
    said.clear()
    tell(f"table {peer}")
    assert json.loads(said[0])["count"] == 2, "what came in another way is counted"
    said.clear()
    tell("table 198.51.100.20")
    assert json.loads(said[0]) == {"table": "198.51.100.20", "count": 0, "sum": 0}
""",
    )


def test_the_same_route_in_other_words_is_told_in_the_last_ones_and_not_sent_again() -> None:
    assert_needed(
        "table_in_parts",
        _TABLE
        + """
    words = ("origin igp community [ 65000:1 65000:2 ]", "community [ 65000:2 65000:1 ] origin igp")
    for word in words:
        line = f"announce route 203.0.113.1/32 next-hop 198.51.100.1 {word}"
        tell(f"neighbor 198.51.100.2 {line}")
        assert table("198.51.100.2") == {"203.0.113.1/32": line}
        assert len(list(ribs["198.51.100.2"].updates(True))) == (word == words[0])
""",
    )


def test_the_parts_of_a_table_are_those_that_we_ask_for() -> None:
    assert_needed(
        "table_in_parts",
        _TABLE
        + """
    from ipaddress import ip_network
    from consulcast.executor.bgp.drift import part_of
    prefixes = [f"198.18.{n}.0/{24 + n % 9}" for n in range(60)] + [f"2001:db8:{n:x}::/{48 + n}" for n in range(60)]
    for prefix in prefixes:
        next_hop = "2001:db8::1" if ":" in prefix else "198.51.100.1"
        tell(f"neighbor 198.51.100.2 announce route {prefix} next-hop {next_hop}")
    assert len(table("198.51.100.2", 7)) == 120
    for part in range(7):
        said.clear()
        tell(f"table 198.51.100.2 {part} 7")
        assert {part_of(ip_network(prefix), 7) for prefix in json.loads(said[0])["routes"]} == {part}
""",
    )


def test_the_action_is_called_after_the_change_of_user() -> None:
    code = """
        from exabgp.environment import getenv
        from exabgp.reactor.daemon import Daemon
        Daemon.drop_privileges(Daemon(None))
        """
    assert "called" in run("call_after_privileges", code).stdout
    assert "called" not in run("none", code).stdout


def test_all_patches_can_be_applied_together() -> None:
    done = run("none", "patches.apply(lambda: None)")
    assert done.returncode == 0, done.stderr


def test_a_patch_refuses_code_that_it_was_not_written_for() -> None:
    done = run(
        "none",
        """
        from shutil import copyfile as changed
        from exabgp.bgp.timer import ReceiveTimer, SendTimer
        from exabgp.reactor.keepalive import KA
        from exabgp.reactor.api import API
        from exabgp.reactor.api.processes import Processes
        from exabgp.reactor.asynchronous import ASYNC
        from exabgp.reactor.daemon import Daemon
        from exabgp.reactor.delay import Delay
        from exabgp.reactor.loop import Reactor
        from exabgp.rib.cache import Cache
        from exabgp.reactor.network.outgoing import Outgoing
        from exabgp.reactor.peer import Peer
        from exabgp.rib.outgoing import OutgoingRIB
        from exabgp.util import dns

        for patch, owner, name in (
            (patches.no_getfqdn, dns, "domain"),
            (patches.last_change_wins, OutgoingRIB, "_update_rib"),
            (patches.last_change_wins, OutgoingRIB, "updates"),
            (patches.no_delay, Outgoing, "_setup"),
            (patches.short_back_off, Delay, "increase"),
            (patches.group_root, Daemon, "drop_privileges"),
            (patches.reload_in_order, Reactor, "reload"),
            (patches.cease, Peer, "_stop"),
            (patches.forget_closed_sockets, Reactor, "_wait_for_io"),
            (patches.forget_closed_sockets, Reactor, "run"),
            (patches.no_event_loop, ASYNC, "run"),
            (patches.no_event_loop, ASYNC, "_run_async"),
            (patches.rest_while_idle, Reactor, "_wait_for_io"),
            (patches.rest_while_idle, Reactor, "run"),
            (patches.rest_while_idle, ASYNC, "ready"),
            (patches.rest_while_idle, Peer, "_main"),
            (patches.rest_while_idle, KA, "__init__"),
            (patches.rest_while_idle, SendTimer, "need_ka"),
            (patches.rest_while_idle, ReceiveTimer, "check_ka_timer"),
            (patches.forget_who_is_gone, ASYNC, "set_error_handler"),
            (patches.forget_who_is_gone, ASYNC, "clear"),
            (patches.forget_who_is_gone, Processes, "_terminate"),
            (patches.forget_who_is_gone, Processes, "_handle_problem"),
            (patches.table_in_parts, API, "api_route"),
            (patches.table_in_parts, OutgoingRIB, "add_to_rib"),
            (patches.table_in_parts, Cache, "update_cache"),
            (patches.table_in_parts, Reactor, "neighor_rib"),
            (lambda: patches.call_after_privileges(print), Daemon, "drop_privileges"),
        ):
            known = getattr(owner, name)
            setattr(owner, name, changed)
            try:
                patch()
            except fingerprint.DoesNotFit as error:
                print(error)
            setattr(owner, name, known)
        """,
    )
    assert done.stdout.count("is not the known one") == 28, done.stderr
    assert done.stdout.count("install exabgp==5.0.15") == 28
