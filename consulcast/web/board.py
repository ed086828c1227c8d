"""The status page's parts as HTML, rendered once for all who look, and what has changed in them since.

A part is an ordered list of pieces (rows, boxes, lines of the timeline), each with a key. A piece is rendered when
what it shows is new; a reader who has the former version is sent the pieces that differ. Nothing here holds the hub
for long: between two pieces others get their turn. It runs in the requests' own greenlets, so that an error in
it ends a request and not the daemon.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import gevent
from gevent.lock import BoundedSemaphore
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from msgspec import Struct, field

from consulcast import jsontext
from consulcast.changes import Change, Kind
from consulcast.executor.protocols import PeerStatus
from consulcast.hub import breathe, in_turns
from consulcast.logtext import shown
from consulcast.web import picture
from consulcast.web.picture import Facts, Flow, Query
from consulcast.web.view import AppView, View, VipView

T = TypeVar("T")
Meaning = Callable[[str], str]  # of a reason's code: what it means and what to do; empty: not known

ROWS = 100  # of a table at a time
CHANGES = 40  # in the timeline
LONGEST = 1000  # characters of a value that are on the page; all of it is in the API
SHORT = 160  # characters that are shown at once
FEEDS = 32  # queries whose parts are kept
PIECES = 2000  # rendered ones that are kept

HEARTBEAT = 5.0  # seconds after which is looked though no change was told of
SETTLE = 0.05  # seconds in which what belongs together comes together
PACE = 1.0  # seconds between two looks at least
SHARE = 20  # times as long as a look takes is waited until the next: a twentieth of the daemon's time at most
SLOWEST = 3.0  # seconds between two looks at most, while there are changes

Part = Mapping[str, str]  # HTML by key, in order


class Feed(Struct):
    """The parts for one query as they were last seen, and the way there from the version before."""

    facts: Facts = field(default_factory=Facts)
    parts: Mapping[str, Part] = field(default_factory=dict)
    version: int = 0  # counted over all feeds: one that was forgotten and is looked at again is another
    before: int = 0
    delta: bytes = b""  # from the version before
    whole: bytes = b""  # made when it is needed


class Board:
    """Looks at the daemon for those who read the page. ``meaning`` tells what a reason's code means."""

    def __init__(self, view: View, meaning: Meaning, clock: Callable[[], float] = time.monotonic) -> None:
        self._view, self._meaning, self._clock = view, meaning, clock
        self._boot = secrets.token_hex(4)  # versions of a former daemon are not ours
        self._lock = BoundedSemaphore()
        self._facts = Facts()
        self._began = self._ended = -1.0
        self._took = 0.0
        self._version = 0
        self._feeds: OrderedDict[Query, Feed] = OrderedDict()
        self._pieces: OrderedDict[tuple[str, str], tuple[object, str]] = OrderedDict()
        self._environment = Environment(
            loader=PackageLoader("consulcast.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._environment.filters.update(
            tone=_tone, word=picture.word_of_vip, shown=_shown, moment=_moment, clock=_clock_time, wall=_wall
        )
        self._environment.globals.update(SHORT=SHORT)
        self._macros: Any = self.template("pieces.html").module

    def template(self, name: str) -> Template:
        """Read a template, in a thread: to compile one takes up to 40 ms, which the hub has not."""
        return gevent.get_hub().threadpool.apply(self._environment.get_template, (name,))

    # -- for readers -----------------------------------------------------------------------------------------------

    def look(self, query: Query) -> Feed:
        """Return the parts as they are now. Those who ask meanwhile share one look at the daemon."""
        asked = self._clock()
        with self._lock:
            if self._began < asked:
                self._began = self._clock()
                self._facts = self._gather()
            feed = self._feeds.setdefault(query, Feed())
            self._feeds.move_to_end(query)
            while len(self._feeds) > FEEDS:
                self._feeds.popitem(last=False)
            if feed.facts is not self._facts:
                self._update(feed, query)
                self._ended = self._clock()
                self._took = self._ended - self._began
            return feed

    def name(self, feed: Feed) -> str:
        """Name the feed's version, so that no other daemon's is taken for it."""
        return self._name(feed.version)

    def _name(self, version: int) -> str:
        return f"{self._boot}.{version}"

    def follow(self, query: Query, known: str) -> Iterator[bytes]:
        """Give what has changed since the version ``known``, as events, for ever; empty: nothing has for a while."""
        while True:
            feed = self.look(query)
            yield self._since(feed, known)
            known = self.name(feed)
            with contextlib.closing(self._view.changes.follow(feed.facts.number, HEARTBEAT)) as news:
                next(news)
            pace = min(max(PACE, SHARE * self._took), SLOWEST)
            gevent.sleep(max(SETTLE, self._ended + pace - self._clock()))

    def _since(self, feed: Feed, known: str) -> bytes:
        if known == self.name(feed):
            return b""
        if known == self._name(feed.before):
            return feed.delta
        if not feed.whole:
            feed.whole = self._message(feed, {name: _difference({}, part) for name, part in feed.parts.items()})
        return feed.whole

    def _message(self, feed: Feed, parts: Mapping[str, Mapping[str, object]]) -> bytes:
        """Write an event, once for all who are sent it."""
        body = {"version": self.name(feed), "now": round(time.time(), 1), "parts": parts}
        return b"data: %s\n\n" % jsontext.encode(body)

    # -- looking ---------------------------------------------------------------------------------------------------

    def _gather(self) -> Facts:
        view = self._view
        number = view.changes.number
        changes = tuple(reversed(view.changes.after(number - CHANGES)))
        apps = picture.sorted_apps(view.apps(), breathe)
        breathe()
        vips = picture.sorted_vips(view.vips(), breathe)
        breathe()
        return Facts(apps, vips, view.peers(), view.consul(), changes, view.ready() or "", number)

    def _update(self, feed: Feed, query: Query) -> None:
        facts, former = self._facts, feed.parts
        parts = self._parts(facts, query)
        differences = {name: _difference(former.get(name, {}), part) for name, part in parts.items()}
        differences = {name: difference for name, difference in differences.items() if difference}
        feed.facts = facts
        if not differences and feed.version:
            return
        self._version += 1
        feed.version, feed.before = self._version, feed.version
        feed.parts, feed.delta, feed.whole = parts, self._message(feed, differences), b""

    def _parts(self, facts: Facts, query: Query) -> dict[str, Part]:
        apps, vips = picture.chosen(facts, query, breathe)
        breathe()
        flow = picture.flow(facts, apps, vips, breathe)
        page = slice(query.start, query.start + ROWS)
        some_apps, some_vips = apps[page], vips[page]
        counts = (
            _counted(facts.vips, picture.state_of_vip),
            _counted(facts.apps, picture.state_of_app),
        )
        reasons = sorted({app.reason.value for app in some_apps} | {vip.reason.value for vip in some_vips})
        meanings = [(code, text) for code in reasons if (text := self._meaning(code))]
        known = frozenset(code for code, _ in meanings)
        return {
            "summary": self._part("summary", [("summary", picture.sentence(facts.vips))]),
            "notices": self._part("notice", ((notice.text[:LONGEST], notice) for notice in picture.notices(facts))),
            "counts": self._part("counts", [(_query_key(query), (*counts, query))]),
            "flow": self._part("flow", [(_query_key(query), self._drawn(flow))]),
            "vips": self._part("vip", ((str(vip.vip), self._row(vip, vip.reason in known)) for vip in some_vips)),
            "vips-more": self._part("more", [(_query_key(query, "vips"), (len(some_vips), len(vips), ROWS, query))]),
            "apps": self._part("app", ((str(app.key), (app, app.reason in known)) for app in some_apps)),
            "apps-more": self._part("more", [(_query_key(query, "apps"), (len(some_apps), len(apps), ROWS, query))]),
            "peers": self._part("peer", ((str(peer.address), peer) for peer in facts.peers)),
            "changes": self._part("change", ((str(change.number), change) for change in facts.changes)),
            "reasons": self._part("meaning", ((code, (code, text)) for code, text in meanings)),
        }

    def _row(self, vip: VipView, known: bool) -> tuple[VipView, float | None, bool]:
        """What a VIP's row is made of: with when it last changed, a time of the wall clock."""
        changes = self._view.changes.of(Kind.VIP, str(vip.vip))
        return vip, changes[-1].at if changes else None, known

    def _drawn(self, flow: Flow) -> tuple[Sequence[Sequence[str]], object]:
        """Render each box: few of them are new at a time, and all are much for one turn."""
        columns = [
            [Markup(self._piece("node", f"{number} {box.name} {box.word}", box)[1]) for box in in_turns(column)]
            for number, column in enumerate(flow.columns)
        ]
        return columns, flow.lines

    def _part(self, macro: str, pieces: Iterable[tuple[str, object]]) -> Part:
        return dict(self._piece(macro, name, value) for name, value in in_turns(pieces))

    def _piece(self, macro: str, name: str, value: object) -> tuple[str, str]:
        """Return a piece's key and HTML."""
        key = _key(name)
        former = self._pieces.get((macro, key))
        if former is not None and former[0] == value:
            self._pieces.move_to_end((macro, key))
            return key, former[1]
        html = self._render(macro, key, value)
        self._pieces[macro, key] = (value, html)
        self._pieces.move_to_end((macro, key))
        while len(self._pieces) > PIECES:
            self._pieces.popitem(last=False)
        return key, html

    def _render(self, macro: str, key: str, value: object) -> str:
        return str(getattr(self._macros, macro)(key, value)).strip()


def _counted(things: Iterable[T], state: Callable[[T], picture.State]) -> tuple[tuple[str, str, int], ...]:
    found = Counter(state(thing) for thing in in_turns(things))
    return tuple((word, tone, number) for (word, tone), number in sorted(found.items()))


def _difference(former: Part, part: Part) -> dict[str, object]:
    """What makes ``part`` of the former one: the pieces to set, and the order where it is another."""
    found: dict[str, object] = {}
    changed = {key: html for key, html in part.items() if former.get(key) != html}
    if changed:
        found["set"] = changed
    if list(former) != list(part):
        found["order"] = list(part)
    return found


# -- words of the templates ----------------------------------------------------------------------------------------


def _shown(text: object, most: int = LONGEST) -> str:
    """Write a text of whoever may register a service: cut, and with what cannot be seen escaped."""
    return shown(str(text)[:most])


_TONES: Mapping[type, Callable[[Any], picture.Tone]] = {
    AppView: picture.tone_of_app,
    VipView: picture.tone_of_vip,
    PeerStatus: picture.tone_of_peer,
    Change: picture.tone_of_change,
}


def _tone(thing: Any) -> str:
    return _TONES[type(thing)](thing).value


def _key(name: str) -> str:
    """Name a thing by letters and digits alone, and few of them, whatever its name is."""
    return f"k{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def _query_key(query: Query, what: str = "") -> str:
    return f"{what} {query.state} {query.start} {query.text}"


def _wall(monotonic: float) -> float:
    """When that was by the wall clock."""
    return time.time() - time.monotonic() + monotonic


def _moment(wall: float) -> str:
    """Write a time for a machine: RFC 3339."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _clock_time(wall: float) -> str:
    """Write a time for people: UTC."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
