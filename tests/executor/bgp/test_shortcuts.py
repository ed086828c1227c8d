"""Each shortcut does what ExaBGP does without it, and less for it: so the tests fail where it is not applied."""

from __future__ import annotations

from tests.executor.bgp.patched import TABLE, assert_needed, run

_PARSED = (
    TABLE
    + """
    theirs = API.api_route
    while hasattr(theirs, "__wrapped__"):
        theirs = theirs.__wrapped__

    def parsed(parse, line):
        return [
            (
                type(change.nlri), change.index(), change.nlri.index(), change.extensive(), change.nlri.action,
                change.nlri.family().afi_safi(), str(change.nlri.nexthop), change.nlri.pack_nlri(), change.nlri.json(),
                change.attributes.index(), change.attributes.json(), sorted(change.attributes),
            )
            for change in parse(api, line)
        ]
"""
)


def test_routes_that_have_the_same_attributes_are_made_of_the_same_object() -> None:
    assert_needed(
        "shared_attributes",
        _PARSED
        + """
    texts = [
        f"next-hop {hop} origin igp{more}" for hop in ("198.51.100.1", "198.51.100.2", "2001:db8::1") for more in (
            "", " med 7", " local-preference 100", " as-path [ 65001 65001 65001 ]",
            " community [ 65000:1 65000:2 ] large-community [ 65000:1:2 ] extended-community [ target:65000:1 ]",
        )
    ]
    prefixes = [f"198.18.{n}.0/{24 + n % 9}" for n in range(9)] + [f"2001:db8:{n:x}::/{48 + n}" for n in range(9)]
    lines = [f"announce route {prefix} {text}" for prefix in prefixes for text in texts]
    lines += [f"withdraw route {prefix}" for prefix in prefixes]
    random.Random(7).shuffle(lines)
    for most in (1000, 3):
        shortcuts._MOST_KNOWN = most
        for line in lines:
            assert parsed(API.api_route, line) == parsed(theirs, line), line
    shortcuts._MOST_KNOWN = 1000
    one, other = (api.api_route(f"announce route {prefix} {texts[0]}")[0] for prefix in prefixes[:2])
    again = api.api_route(f"announce route {prefixes[0]} {texts[0]}")[0]
    assert one.nlri is not again.nlri and one.nlri == again.nlri
    assert one.attributes is other.attributes is again.attributes
""",
    )


def test_what_is_not_of_our_form_is_left_to_exabgp() -> None:
    code = (
        _PARSED
        + """
    hop = "next-hop 198.51.100.1"
    for line in 2 * [
        f"{action} route {route}" for action in ("announce", "withdraw") for route in (
            f"198.18.0.1/24 {hop}", f"198.18.0.0/33 {hop}", f"198.18.0.0/-1 {hop}", f"198.18.0.0/x {hop}",
            f"198.18.0.0/ {hop}", f"198.18.0.1 {hop}", f"198.18.0.256/32 {hop}", f"2001:db8::1/64 {hop}",
            f"2001:db8::1/129 {hop}", f"2001:db8::1 {hop}", f"nonsense {hop}", hop, f"224.0.0.1/32 {hop}",
            f"240.0.0.1/32 {hop}", "198.18.0.1/32", f"198.18.0.1/32  {hop}", f"198.18.0.1/32 {hop} med x",
            "198.18.0.1/32 next-hop self", "2001:db8::1/128 next-hop self", f"198.18.0.1/32 {hop} split /32",
            f"198.18.0.0/24 {hop} split /26", f"198.18.4.0/24 {hop} split /26",
            f"198.18.0.1/32 {hop} path-information 1.2.3.4", f"198.18.0.1/32 {hop} label 100",
            f"198.18.0.1/32 {hop} rd 65000:1 label 100", f"198.18.0.1/32 {hop} watchdog w withdraw",
            f"198.18.0.2/32 {hop} name n", f"::ffff:198.18.0.1/128 {hop}", f"0.0.0.0/0 {hop}", f"::/0 {hop}",
        )
    ]:
        found = []
        for parse in (API.api_route, theirs):
            try:
                found.append(parsed(parse, line))
            except Exception as error:
                found.append(repr(error))
        assert found[0] == found[1], (line, found)
"""
    )
    done = run("shared_attributes", code)
    assert done.returncode == 0, done.stderr


def test_what_may_differ_from_peer_to_peer_is_copied_and_nothing_else() -> None:
    assert_needed(
        "light_copies",
        _PARSED
        + """
    from exabgp.bgp.message import Action
    from exabgp.bgp.neighbor import Neighbor
    from exabgp.protocol.ip import IP
    neighbor = Neighbor()
    neighbor["local-address"] = IP.create("198.51.100.1")
    for prefix in ("203.0.113.1/32", "2001:db8::/64"):
        (route,) = api.api_route(f"announce route {prefix} next-hop 198.51.100.9 med 7")
        before = parsed(lambda api, line: [route], "")
        copied = neighbor.remove_self(route)
        assert parsed(lambda api, line: [copied], "") == before
        copied.nlri.action, copied.line = Action.WITHDRAW, "x"
        assert route.nlri.action == Action.ANNOUNCE and not hasattr(route, "line")
        assert copied.attributes is route.attributes
    (route,) = api.api_route("announce route 203.0.113.1/32 next-hop self")
    copied = neighbor.remove_self(route)
    assert (str(route.nlri.nexthop), str(copied.nlri.nexthop)) == ("self", "198.51.100.1")
    assert "198.51.100.1" in copied.attributes.index() and "198.51.100.1" not in route.attributes.index()
    (labelled,) = api.api_route("announce route 203.0.113.1/32 next-hop 198.51.100.9 label 100")
    assert neighbor.remove_self(labelled).nlri.labels is not labelled.nlri.labels
""",
    )


def test_a_neighbor_that_was_found_is_found_again_without_a_search() -> None:
    assert_needed(
        "known_neighbors",
        TABLE
        + """
    from exabgp.reactor.api.command import announce, limit
    searched, search = [], limit.match_neighbor
    limit.match_neighbor = lambda *about: searched.append(about) or search(*about)
    end = "local-as 65001 peer-as 65010 router-id 198.51.100.1 family-allowed in-open"
    names = [f"neighbor 198.51.100.{n} local-ip 198.51.100.1 {end}" for n in (2, 20, 21)]
    names.append(f"neighbor 2001:db8::2 local-ip 2001:db8::1 {end}")
    for description, found in (
        ([["neighbor 198.51.100.2"]], [0]), ([["neighbor 198.51.100.20"]], [1]), ([["neighbor 2001:db8::2"]], [3]),
        ([["neighbor *"]], [0, 1, 2, 3]), ([], [0, 1, 2, 3]), ([["neighbor 198.51.100.3"]], []),
        ([["neighbor 198.51.100.2"], ["neighbor 198.51.100.21"]], [0, 2]),
        ([["neighbor 198.51.100.2", "local-as 65002"]], []), ([["neighbor 198.51.100.2", "local-as 65001"]], [0]),
    ):
        first = announce.match_neighbors(list(names), description)
        assert first == [names[number] for number in found] == limit.match_neighbors(names, description), description
        first.clear()
        searched.clear()
        assert announce.match_neighbors(list(names), description) == [names[number] for number in found]
        assert not searched, description
        assert announce.match_neighbors(names[1:], description) == [names[n] for n in found if n], "they have changed"
""",
    )


def test_a_command_about_a_route_is_known_at_the_first_look_and_every_other_as_before() -> None:
    assert_needed(
        "routes_first",
        TABLE
        + """
    looked = []
    from exabgp.reactor.api.command import Command
    class Name(str):
        def __eq__(self, other):
            looked.append(str(self))
            return str.__eq__(self, other)
        __hash__ = str.__hash__
    done = []
    for name in Command.functions:
        Command.callback["text"][name] = lambda *about, name=name: done.append(name)
    lines = [f"{who}{name}{more}" for who in ("", "neighbor 198.51.100.2 ") for name in Command.functions
             for more in ("", " x", " 203.0.113.1/32 next-hop 198.51.100.1 origin igp community [ 65000:1 ]")]

    def by(functions):
        done.clear()
        for line in lines:
            api.functions = functions
            api.response(reactor, "api", line, False)
        return list(done)

    assert by(Command.functions) == by(sorted(Command.functions, reverse=True))
    api.functions = list(map(Name, Command.functions))
    api.response(reactor, "api", "neighbor 198.51.100.2 withdraw route 203.0.113.1/32", False)
    api.response(reactor, "api", "neighbor 198.51.100.2 announce route 203.0.113.1/32 next-hop 198.51.100.1", False)
    assert len(looked) <= 6, looked  # each is looked up once it is found
""",
    )


def test_the_answers_of_a_turn_are_written_together_and_in_order_with_all_else() -> None:
    assert_needed(
        "answers_together",
        """
        import select
        from types import SimpleNamespace
        from exabgp.environment import getenv
        from exabgp.logger import log
        log.init(getenv())
        from exabgp.reactor.api.processes import Processes
        from exabgp.reactor.loop import Reactor

        class Pipe:
            def __init__(self):
                self.buffer, self.written, self.broken = b"", [], False
            def write(self, data):
                if self.broken:
                    raise BrokenPipeError(32, "broken")
                self.buffer += data
            def flush(self):
                self.written.append(self.buffer)
                self.buffer = b""

        class Child(SimpleNamespace):
            def terminate(self):
                pass
            def wait(self, timeout):
                pass

        class Loop:
            def __init__(self):
                self.processes, self._poller = Processes(), select.poll()
                self.pipe = Pipe()
                self.start()
            def start(self):
                child = Child(stdin=self.pipe, stdout=SimpleNamespace(fileno=lambda: 9))
                self.processes._process["api"] = child
                self.processes._ack["api"], self.processes._ackjson["api"] = True, False
            def wait(self):
                assert list(Reactor._wait_for_io(self, 0)) == []
                written, self.pipe.written = self.pipe.written, []
                return written

        loop = Loop()
        processes = loop.processes
        for _ in range(3):
            processes.answer_done("api")
        processes.answer_error("api")
        assert loop.wait() == [b"done\\ndone\\ndone\\nerror\\n"]
        assert loop.wait() == []
        processes.answer_done("api")
        processes.write("api", None)
        processes.write("api", "an event")
        processes.answer_done("api")
        assert loop.wait() == [b"done\\nan event\\n", b"done\\n"]
        processes.set_ack("api", False)
        processes.answer_done("api")
        processes.answer_done("api", force=True)
        assert loop.wait() == [b"done\\n"]
        processes.set_ack("api", True)
        processes.answer_done("api")
        processes._terminate("api").join()
        processes.answer_error("api")
        assert loop.wait() == [], "nobody is there"
        loop.start()
        processes.answer_error("api")
        assert loop.wait() == [b"error\\n"], "the next one is told only what it has asked"
        processes.answer_done("api")
        loop.pipe.broken = True
        assert loop.wait() == []
        """,
    )


def test_a_turn_does_half_of_the_commands_that_may_be_under_way() -> None:
    assert_needed(
        "longer_turns",
        TABLE
        + """
    from consulcast.executor.bgp.ledger import WINDOW
    for number in range(WINDOW):
        line = f"neighbor 198.51.100.2 announce route 203.0.113.{number}/32 next-hop 198.51.100.1"
        api.process(reactor, "api", line)
    assert reactor.asynchronous.run()
    assert WINDOW // 2 - 1 <= len(said) <= WINDOW // 2, len(said)
    assert len(list(ribs["198.51.100.2"].updates(True))) == 1
""",
    )


def test_ipv6_routes_are_told_in_as_few_messages_as_they_fit_in_and_in_the_order_of_their_changes() -> None:
    assert_needed(
        "ipv6_in_groups",
        TABLE
        + """
    from exabgp.bgp.message import Action, Update
    from exabgp.bgp.message.direction import Direction
    from exabgp.bgp.message.open.asn import ASN
    negotiated = SimpleNamespace(
        families=families, msg_size=4096, local_as=ASN(65001), peer_as=ASN(65010), asn4=True, nexthop=[], aigp=False,
        addpath=SimpleNamespace(send=lambda afi, safi: False), cached_attributes=None, cached_wire=b"",
    )
    rib, there = ribs["198.51.100.2"], {}

    def send():
        messages = [message for update in rib.updates(True) for message in update.messages(negotiated)]
        assert max(map(len, messages)) <= 4096
        for message in messages:
            for nlri in Update.unpack_message(message[19:], Direction.OUT, negotiated).nlris:
                prefix = str(nlri.cidr.prefix())
                if nlri.action == Action.WITHDRAW:
                    del there[prefix]
                else:
                    there[prefix] = str(nlri.nexthop)
        return len(messages)

    routes = {f"2001:db8:{n:x}::/{48 + n % 81}": f"2001:db8::{1 + n % 2}" for n in range(1, 1000)}
    routes |= {f"203.0.113.{n}/32": "198.51.100.1" for n in range(100)}
    for prefix, hop in routes.items():
        tell(f"neighbor 198.51.100.2 announce route {prefix} next-hop {hop} origin igp med 7")
    assert send() < 20, "of 1,099 routes"
    assert there == routes, set(there.items()) ^ set(routes.items())
    rib.resend(False)  # the peer asked for a ROUTE-REFRESH
    there.clear()
    send()
    assert there == routes
    for prefix in list(routes)[::2]:
        tell(f"neighbor 198.51.100.2 withdraw route {prefix}")
        del routes[prefix]
    tell("neighbor 198.51.100.2 announce route 2001:db8:1::/49 next-hop 2001:db8::9")
    routes["2001:db8:1::/49"] = "2001:db8::9"
    assert send() < 15
    assert there == routes, set(there.items()) ^ set(routes.items())
    for prefix in list(routes)[::3]:
        tell(f"neighbor 198.51.100.2 withdraw route {prefix}")
        tell(f"neighbor 198.51.100.2 announce route {prefix} next-hop {routes[prefix]} origin egp")
    send()
    assert there == routes
    assert list(rib.updates(True)) == []
    tell("neighbor 198.51.100.20 announce route 2001:db8:1::/48 next-hop 2001:db8::1")
    tell("neighbor 198.51.100.20 announce route 2001:db8:2::/48 next-hop 2001:db8::1")
    assert len(list(ribs["198.51.100.20"].updates(False))) == 2, "it was not to be grouped"
""",
    )


def test_all_routes_are_told_as_before_with_all_shortcuts_and_patches() -> None:
    code = (
        TABLE
        + """
    patches.apply(lambda: None)
    for address in ribs:
        for number in range(3):
            tell(f"neighbor {address} announce route 203.0.113.{number}/32 next-hop 198.51.100.1 origin igp")
    tell("neighbor 198.51.100.20 withdraw route 203.0.113.0/32")
    assert said == 7 * ["done"], said
    lines = [f"announce route 203.0.113.{n}/32 next-hop 198.51.100.1 origin igp" for n in range(3)]
    wanted = {line.split()[2]: line for line in lines}
    assert table("198.51.100.2") == wanted, table("198.51.100.2")
    del wanted["203.0.113.0/32"]
    assert table("198.51.100.20") == wanted
"""
    )
    done = run("none", code)
    assert done.returncode == 0, done.stderr


def test_a_shortcut_refuses_code_that_it_was_not_written_for() -> None:
    done = run(
        "none",
        """
        from shutil import copyfile as changed
        from exabgp.bgp.message import Update
        from exabgp.bgp.message.update.attribute import MPRNLRI, MPURNLRI, Attributes
        from exabgp.bgp.neighbor import Neighbor
        from exabgp.configuration import static
        from exabgp.configuration.configuration import Configuration
        from exabgp.reactor.api import API
        from exabgp.reactor.api.command import limit
        from exabgp.reactor.api.processes import Processes
        from exabgp.reactor.asynchronous import ASYNC
        from exabgp.reactor.loop import Reactor
        from exabgp.rib.outgoing import OutgoingRIB

        for shortcut, owner, name in (
            (shortcuts.shared_attributes, API, "api_route"),
            (shortcuts.shared_attributes, static, "route"),
            (shortcuts.shared_attributes, Configuration, "partial"),
            (shortcuts.shared_attributes, Attributes, "pack"),
            (shortcuts.light_copies, Neighbor, "remove_self"),
            (shortcuts.known_neighbors, limit, "match_neighbors"),
            (shortcuts.known_neighbors, limit, "match_neighbor"),
            (shortcuts.routes_first, API, "response"),
            (shortcuts.answers_together, Processes, "_answer"),
            (shortcuts.answers_together, Processes, "write"),
            (shortcuts.answers_together, Processes, "_terminate"),
            (shortcuts.answers_together, Reactor, "_wait_for_io"),
            (shortcuts.answers_together, Reactor, "run"),
            (shortcuts.longer_turns, ASYNC, "_run_async"),
            (shortcuts.ipv6_in_groups, OutgoingRIB, "updates"),
            (shortcuts.ipv6_in_groups, Update, "_mp_messages"),
            (shortcuts.ipv6_in_groups, MPRNLRI, "packed_attributes"),
            (shortcuts.ipv6_in_groups, MPURNLRI, "packed_attributes"),
        ):
            known = getattr(owner, name)
            setattr(owner, name, changed)
            try:
                shortcut()
            except fingerprint.DoesNotFit as error:
                print(error)
            setattr(owner, name, known)
        """,
    )
    assert done.stdout.count("is not the known one") == 18, done.stderr
