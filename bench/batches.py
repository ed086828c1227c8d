"""The part ``batches``: many apps at once, against ExaBGP alone with the same commands."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bench import arrivals, mixture
from bench.feeder import Feeder
from bench.parts import Part, Run
from bench.population import consul_monitored, definitions, prefixes, with_tags
from bench.report import Cell, Table
from bench.world import FIRST_AS, ROUTER_AS, Place, Site, populate
from integration.lab import Lab

APPS = 1000
TAGS = 30
ROUNDS = 3
OF_TARGETS = ("first good answer → all announced", "all fail → all withdrawn")
QUIET = 3.0  # seconds in which consulcast's budget of questions grows again

BATCHES_NOTE = """\
*ExaBGP alone* is the same pinned ExaBGP in consulcast's launcher, fed with the same
commands by a program that does nothing else (`bench/feeder.py`), in turn in the same run. The first good answer: Consul
is stopped while the daemon starts, and let go when questions wait there; Consul's own time to answer is in the figure,
and so are a thousand addresses. All fail: a check of the node. All tags: Consul reads its configuration anew, with
another community for each service, and writes them to its catalog one by one; consulcast asks once a second then."""


def play(run: Run) -> None:
    """Measure."""
    with Lab() as lab:
        site = Site(lab, 3)
        first, second, third = site.places
        if run.wants(*OF_A_THOUSAND):
            alone = Feeder(
                third.host, [third.address], [third.router], (FIRST_AS + 2, ROUTER_AS), third.address6, third.run_dir
            )
            site.bird.wait_established(third.session)
            batches = Batches(run, site, second, alone)
            try:
                batches.play()
            finally:
                batches.report()
        mixture.play(run, site, first)


class Batches:
    """A thousand apps that Consul's checks decide on, and the same routes by ExaBGP alone."""

    def __init__(self, run: Run, site: Site, place: Place, alone: Feeder) -> None:
        self._run, self._site, self._place, self._alone = run, site, place, alone
        self._members = consul_monitored(APPS, place.number)
        self._theirs = prefixes(consul_monitored(APPS, place.number + 1))
        self._ours: dict[str, list[float]] = {}
        self._floors: dict[str, list[float]] = {}
        self._retagged: dict[str, float] = {}

    def play(self) -> None:
        """Play all of it."""
        populate({self._place: self._members})
        for done in self._run.turns(ROUNDS if self._run.wants("first-answer", "all-fail") else 1, 0.45, least=1):
            self._run.say(f"round {done + 1} with {APPS} apps")
            if done:
                self._daemon.stop()
            self._first_answer("first good answer → all announced")
            self._alone_once()
            if self._run.wants("all-fail"):
                self._fail_and_recover()
                self._alone_once()
        if self._run.wants("all-tags"):
            self._run.say("all tags change")
            self._retag()
        self._daemon.stop()
        if self._run.wants("many-tags"):
            self._run.say(f"{TAGS} tags each")
            self._many_tags()
            self._daemon.stop()

    def report(self) -> None:
        """Report what there is."""
        rows: list[list[Cell]] = []
        for what, ours in self._ours.items():
            kind = "withdrawn" if "withdrawn" in what else "announced"
            us, floor = statistics.median(ours), statistics.median(self._floors.get(kind, [math.nan]))
            rows.append([what, len(ours), us, floor, us / floor])
            self._run.samples |= {f"{what}, consulcast": ours, f"all {kind}, ExaBGP alone": self._floors.get(kind, [])}
            if what in OF_TARGETS:
                self._run.target(f"{APPS:,} apps: {what}, of ExaBGP alone", 2.0, us / floor, "×")
        rows += [[what, 1, seconds, None, None] for what, seconds in self._retagged.items()]
        if rows:
            head = (f"s, {APPS:,} Consul-monitored apps", "rounds", "consulcast", "ExaBGP alone", "ratio")
            self._run.add(Table("All at once", head, rows, BATCHES_NOTE))

    def _first_answer(self, what: str) -> None:
        """Start the daemon while Consul stands still, and let Consul go when it is awaited."""
        self._place.consul.pause()
        self._daemon = self._place.daemon()
        self._site.bird.wait_established(self._place.session)
        time.sleep(0.5)
        self._note(self._ours, what, True, self._place.consul.resume)

    def _fail_and_recover(self) -> None:
        for status, what, announced in (
            ("critical", "all fail → all withdrawn", False),
            ("passing", "all recover → all announced", True),
        ):
            time.sleep(QUIET)
            body = json.dumps({"Status": status})
            self._note(self._ours, what, announced, partial(self._put, "/v1/agent/check/update/host", body))

    def _alone_once(self) -> None:
        for announced, feed in ((True, self._alone.announce), (False, self._alone.withdraw)):
            kind = "announced" if announced else "withdrawn"
            self._note(self._floors, kind, announced, partial(feed, sorted(self._theirs)), self._theirs)

    def _retag(self) -> None:
        """Give every service another community."""
        time.sleep(QUIET)
        changed = [replace(member, community="64512:100") for member in self._members]
        self._site.tap.clear()
        after = time.time_ns()
        self._place.consul.reconfigure(definitions(changed))
        took = arrivals.wait(self._site.tap, prefixes(changed), announced=True, after=after)
        told = sum(len(update.announced) for update in self._site.tap.updates())
        began = time.monotonic()
        populate({self._place: self._members})
        self._retagged[f"all tags change → all announced anew ({told:,} routes told)"] = took
        self._retagged["… Consul alone, back again, until its catalog shows it"] = time.monotonic() - began

    def _many_tags(self) -> None:
        """Have all services carry many tags of others, which makes the answers long."""
        populate({self._place: with_tags(self._members, TAGS)})
        self._first_answer(f"first good answer, {TAGS} tags each → all announced")

    def _note(
        self,
        into: dict[str, list[float]],
        what: str,
        announced: bool,
        change: Callable[[], object],
        wanted: set[str] | None = None,
    ) -> None:
        """Do it, and note how long it is until the last route of all has arrived."""
        self._site.tap.clear()
        after = time.time_ns()
        change()
        took = arrivals.wait(self._site.tap, wanted or prefixes(self._members), announced=announced, after=after)
        into.setdefault(what, []).append(took)

    def _put(self, path: str, body: str) -> None:
        self._place.agent.request("PUT", path, body)
        self._place.agent.getresponse().read()


OF_A_THOUSAND = ("first-answer", "all-fail", "all-tags", "many-tags")
PART = Part("batches", "Many at once", 101, play, (*OF_A_THOUSAND, *mixture.MEASURES))
