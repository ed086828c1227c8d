"""What the status page says, as values: from the daemon's state to the flow, the rows and one sentence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct, field

from consulcast.changes import Change
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.logtext import shown
from consulcast.model import AppKey, Reason, Source
from consulcast.web.view import AppState, AppView, ConsulView, VipState, VipView
from consulcast.wording import counted

T = TypeVar("T")
K = TypeVar("K")
Breathe: TypeAlias = Callable[[], None]  # called between small pieces of work: others get their turn

NODES = 12  # of a column, before those that are well are summed up
PROBLEMS = 8  # that are then shown one by one
NAMED = 3  # that a sentence names


class Tone(StrEnum):
    """How bad it is: the colour and the shape beside the word."""

    OK = "ok"
    BAD = "bad"
    WAIT = "wait"  # not known, or under way
    DRAIN = "drain"  # taken away because somebody wanted it


State: TypeAlias = tuple[str, Tone]

_RANK = {Tone.BAD: 0, Tone.WAIT: 1, Tone.DRAIN: 2, Tone.OK: 3}
_WANTED = {Reason.DRAINING, Reason.WITHDRAWING}
_OF_APP = {AppState.PASSING: Tone.OK, AppState.UNKNOWN: Tone.WAIT, AppState.DRAINING: Tone.DRAIN}
_OF_VIP = {VipState.ANNOUNCED: Tone.OK, VipState.PENDING: Tone.WAIT, VipState.OBSERVED: Tone.OK}
_SOURCES = {Source.CONSUL: "Consul", Source.CONFIG: "file", Source.HTTP: "HTTP"}


def tone_of_app(app: AppView) -> Tone:
    """An app's tone."""
    return _OF_APP.get(app.state, Tone.BAD)


def tone_of_vip(vip: VipView) -> Tone:
    """A VIP's tone."""
    if vip.reason in _WANTED:
        return Tone.DRAIN
    return _OF_VIP.get(vip.state, Tone.BAD)


def word_of_vip(vip: VipView) -> str:
    """A VIP's state in one word: one that is taken away on purpose is not down."""
    return vip.reason.value if vip.reason in _WANTED else vip.state.value


def tone_of_peer(peer: PeerStatus) -> Tone:
    """A peer's tone."""
    return Tone.OK if peer.state is SessionState.UP else Tone.BAD


def state_of_app(app: AppView) -> State:
    """An app's state in one word, and its tone."""
    return app.state.value, tone_of_app(app)


def state_of_vip(vip: VipView) -> State:
    """A VIP's."""
    return word_of_vip(vip), tone_of_vip(vip)


def state_of_peer(peer: PeerStatus) -> State:
    """A peer's."""
    return peer.state.value, tone_of_peer(peer)


_GOOD = {"announced", "passing", "peer-up", "registered", "started", "reloaded", "consul-synced", "consul-believed"}
_ON_PURPOSE = {"draining", "withdrawing", "removed", "drain-begun", "drain-ended", "stopping"}


def tone_of_change(change: Change) -> Tone:
    """The tone of a line of the log."""
    if change.reason in _ON_PURPOSE:
        return Tone.DRAIN
    if change.level not in ("debug", "info"):
        return Tone.BAD
    return Tone.OK if change.reason in _GOOD else Tone.WAIT


class Facts(Struct, frozen=True):
    """The daemon at one moment, problems first. ``number`` is that of the last change that is in it."""

    apps: Sequence[AppView] = ()
    vips: Sequence[VipView] = ()
    peers: Sequence[PeerStatus] = ()
    consul: ConsulView | None = None
    changes: Sequence[Change] = ()  # the newest first
    starting: str = ""  # why the host is not yet as it should be
    number: int = 0


def sorted_apps(apps: Iterable[AppView], breathe: Breathe) -> list[AppView]:
    """Problems first, then by name."""
    return _sorted(apps, lambda app: (_RANK[tone_of_app(app)], app.stale is None, app.asked.name, app.key), breathe)


def sorted_vips(vips: Iterable[VipView], breathe: Breathe) -> list[VipView]:
    """Problems first, then by address."""

    def order(vip: VipView) -> tuple[object, ...]:
        at = vip.vip.interface
        return _RANK[tone_of_vip(vip)], vip.stale is None, at.version, int(at), at.network.prefixlen

    return _sorted(vips, order, breathe)


def _sorted(things: Iterable[T], order: Callable[[T], tuple[object, ...]], breathe: Breathe) -> list[T]:
    ordered: list[tuple[Any, int, T]] = []
    for number, thing in enumerate(things):
        ordered.append((order(thing), number, thing))
        breathe()
    ordered.sort()
    return [thing for _, _, thing in ordered]


class Query(Struct, frozen=True):
    """What is to be shown. ``text`` is looked for in names, VIPs and reasons; ``state`` is a word of a state."""

    text: str = ""
    state: str = ""
    start: int = 0  # how many of each table to leave out

    def __bool__(self) -> bool:
        return bool(self.text or self.state)


def chosen(facts: Facts, query: Query, breathe: Breathe) -> tuple[Sequence[AppView], Sequence[VipView]]:
    """Return the apps and VIPs that are asked for, each with what belongs to it on the other side."""
    if not query:
        return facts.apps, facts.vips
    text = query.text.casefold()
    apps, vips = set(), set()
    for app in facts.apps:
        breathe()
        words = (app.asked.name, str(app.key), app.reason, app.detail, *app.asked.vips)
        if query.state in ("", app.state) and (not text or _is_in(text, words)):
            apps.add(app.key)
    for vip in facts.vips:
        breathe()
        words = (str(vip.vip), vip.reason, vip.detail)
        if query.state in ("", word_of_vip(vip)) and (not text or _is_in(text, words)):
            vips.add(vip.vip)
    beside = {key for vip in facts.vips if vip.vip in vips for key in vip.apps}
    under = {vip.vip for vip in facts.vips if not apps.isdisjoint(vip.apps)}
    return (
        [app for app in facts.apps if app.key in apps or app.key in beside],
        [vip for vip in facts.vips if vip.vip in vips or vip.vip in under],
    )


def _is_in(text: str, words: Iterable[str]) -> bool:
    """Whether one of the words has the text, as it is or as it is shown."""
    return any(text in word.casefold() or (not word.isprintable() and text in shown(word).casefold()) for word in words)


# -- words -------------------------------------------------------------------------------------------------------


def sentence(vips: Sequence[VipView]) -> str:
    """How the VIPs are, in one sentence."""
    if not vips:
        return "No VIP is asked for."
    missing = [vip for vip in vips if vip.state is not VipState.ANNOUNCED]
    if not missing:
        return f"All {len(vips)} VIPs are announced." if len(vips) > 1 else "The one VIP is announced."
    names = _some(missing, lambda vip: f"{vip.vip} ({vip.reason})")
    count = f"{len(missing)} are not" if len(missing) > 1 else "1 is not"
    return f"{len(vips) - len(missing)} of {len(vips)} VIPs announced; {count}: {names}."


class Notice(Struct, frozen=True):
    """Something that the reader should know before the rest. ``since`` is of the monotonic clock."""

    tone: Tone
    text: str
    since: float | None = None


def notices(facts: Facts) -> Iterator[Notice]:
    """What is wrong, or not known, beside the VIPs."""
    if facts.starting:
        yield Notice(Tone.WAIT, f"Starting: {facts.starting}.")
    yield from _of_consul(facts)
    down = [peer for peer in facts.peers if peer.state is not SessionState.UP]
    if down:
        names = _some(down, lambda peer: f"{peer.address} ({peer.last_error or 'no session yet'})")
        count = f"{len(down)} of {len(facts.peers)} peers"
        yield Notice(Tone.BAD, f"{count} {'are' if len(down) > 1 else 'is'} down: {names}.")
    if not facts.peers:
        yield Notice(Tone.BAD, "There is no peer: nothing can be announced.")
    refused = [app for app in facts.apps if app.state is AppState.REFUSED]
    if refused:
        names = _some(refused, lambda app: f"{app.asked.name} ({app.reason})")
        yield Notice(Tone.BAD, f"Asked for and refused: {names}.")


def _of_consul(facts: Facts) -> Iterator[Notice]:
    consul = facts.consul
    if consul is None:
        return
    if not consul.synced:
        why = f": {consul.stale.reason}" if consul.stale else ""
        yield Notice(Tone.WAIT, f"Consul has not answered yet{why}. Nothing of it is announced before.")
    elif consul.stale:
        text = f"Consul is stale: {consul.stale.reason}. What it said last stands."
        yield Notice(Tone.BAD, text, consul.stale.since)
    if consul.held:
        names = _some(sorted(consul.held.items()), lambda held: f"{held[0]} ({held[1]})")
        yield Notice(Tone.WAIT, f"Kept against Consul's last answer: {names}.")


def _some(things: Sequence[T], name: Callable[[T], str]) -> str:
    more = f" and {len(things) - NAMED} more" if len(things) > NAMED else ""
    return ", ".join(map(name, things[:NAMED])) + more


# -- the flow ------------------------------------------------------------------------------------------------------


class Node(Struct, frozen=True):
    """A box of the flow: one thing, or many of one state. ``find``: the query that shows it."""

    name: str
    tone: Tone
    word: str
    note: str = ""
    many: int = 0  # how many it stands for; 0: for itself
    stale: bool = False
    find: str = ""
    state: str = ""


class Line(Struct, frozen=True):
    """From the ``start``-th box of a column to the ``end``-th of the next, in hundredths of their height."""

    start: float
    end: float
    tone: Tone
    stale: bool = False


class Flow(Struct, frozen=True):
    """Sources, apps, VIPs and peers, and the lines from each column to the next."""

    columns: tuple[Sequence[Node], Sequence[Node], Sequence[Node], Sequence[Node]]
    lines: tuple[Sequence[Line], Sequence[Line], Sequence[Line]]


class _Lines(Struct):
    """Lines that are one where they join the same boxes: the worst of them is seen."""

    found: dict[tuple[int, int], tuple[Tone, bool]] = field(default_factory=dict)

    def add(self, start: int, end: int, tone: Tone, stale: bool = False) -> None:
        former, was_stale = self.found.get((start, end), (tone, stale))
        self.found[start, end] = (min(former, tone, key=lambda one: _RANK[one]), stale or was_stale)

    def drawn(self, starts: int, ends: int) -> list[Line]:
        return [
            Line(round((start + 0.5) * 100 / starts, 2), round((end + 0.5) * 100 / ends, 2), tone, stale)
            for (start, end), (tone, stale) in sorted(self.found.items())
        ]


def flow(facts: Facts, apps: Sequence[AppView], vips: Sequence[VipView], breathe: Breathe) -> Flow:
    """Draw the way from the sources to the peers, of the apps and VIPs that are asked for."""
    sources = _sources(facts, apps)
    place_of_source = {source: number for number, (source, _) in enumerate(sources)}
    app_nodes, place_of_app = _boxes(apps, state_of_app, _node_of_app, lambda app: app.key, breathe)
    vip_nodes, place_of_vip = _boxes(vips, state_of_vip, _node_of_vip, lambda vip: vip.vip, breathe)
    peer_nodes, place_of_peer = _boxes(facts.peers, state_of_peer, _node_of_peer, lambda peer: peer.address, breathe)
    asking, carrying, telling = _Lines(), _Lines(), _Lines()
    of: Mapping[AppKey, AppView] = {app.key: app for app in apps}
    for app in apps:
        breathe()
        stale = app.stale is not None
        asking.add(place_of_source[app.key.source], place_of_app[app.key], tone_of_app(app), stale)
    for vip in vips:
        breathe()
        place = place_of_vip[vip.vip]
        for key in vip.apps:
            if key in of:
                carrying.add(place_of_app[key], place, tone_of_app(of[key]), of[key].stale is not None)
        for peer in facts.peers:
            up = peer.state is SessionState.UP
            if (vip.state is VipState.ANNOUNCED and up) or (vip.reason is Reason.PEER_DOWN and not up):
                telling.add(place, place_of_peer[peer.address], tone_of_peer(peer), vip.stale is not None)
    columns = ([node for _, node in sources], app_nodes, vip_nodes, peer_nodes)
    sizes = [len(column) for column in columns]
    lines = (asking.drawn(*sizes[0:2]), carrying.drawn(*sizes[1:3]), telling.drawn(*sizes[2:4]))
    return Flow(columns, lines)


def _sources(facts: Facts, apps: Sequence[AppView]) -> list[tuple[Source, Node]]:
    counts = dict.fromkeys(Source, 0)
    for app in apps:
        counts[app.key.source] += 1
    found: list[tuple[Source, Node]] = []
    for source in (Source.CONSUL, Source.CONFIG, Source.HTTP):
        note = counted(counts[source], "app")
        if source is Source.CONSUL and facts.consul is not None:
            found.append((source, _node_of_consul(facts.consul, note)))
        elif counts[source]:
            found.append((source, Node(_SOURCES[source], Tone.OK, "read", note)))
    return found


def _node_of_consul(consul: ConsulView, note: str) -> Node:
    name = f"Consul: {consul.node}"
    if not consul.synced:
        return Node(name, Tone.WAIT, "no answer yet", note)
    if consul.stale:
        return Node(name, Tone.BAD, "stale", note, stale=True)
    return Node(name, Tone.OK, "fresh", note)


def _node_of_app(app: AppView) -> Node:
    note = "" if app.reason.value == app.state.value else app.reason.value
    name = app.asked.name
    return Node(name, tone_of_app(app), app.state.value, note, 0, app.stale is not None, name, app.state.value)


def _node_of_vip(vip: VipView) -> Node:
    word = word_of_vip(vip)
    note = "" if vip.reason == word else vip.reason.value
    return Node(str(vip.vip), tone_of_vip(vip), word, note, 0, vip.stale is not None, str(vip.vip), word)


def _node_of_peer(peer: PeerStatus) -> Node:
    return Node(str(peer.address), tone_of_peer(peer), peer.state.value, f"AS {peer.peer_as}")


def _boxes(
    things: Sequence[T],
    state: Callable[[T], State],
    box: Callable[[T], Node],
    key: Callable[[T], K],
    breathe: Breathe,
) -> tuple[list[Node], dict[K, int]]:
    """Return the boxes of a column, and in which of them each thing is."""
    if len(things) <= NODES:
        return [box(thing) for thing in things], {key(thing): number for number, thing in enumerate(things)}
    nodes: list[Node] = []
    places: dict[K, int] = {}
    groups: dict[State, list[T]] = {}
    for thing in things:
        breathe()
        found = state(thing)
        if found[1] is Tone.BAD and len(nodes) < PROBLEMS:
            places[key(thing)] = len(nodes)
            nodes.append(box(thing))
        else:
            groups.setdefault(found, []).append(thing)
    for (word, tone), members in groups.items():
        more = "more " if any(node.word == word for node in nodes) else ""
        places.update((key(thing), len(nodes)) for thing in members)
        nodes.append(Node(f"{len(members)} {more}{word}", tone, word, many=len(members), state=word))
    return nodes, places
