"""The bodies of the API, version 1. Their docstrings and bounds are the OpenAPI document's too."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Literal, overload

from msgspec import Meta, Struct, field

from consulcast import outlook
from consulcast.changes import Change, Kind
from consulcast.drains import MAX_REASON
from consulcast.executor.protocols import PeerStatus
from consulcast.explain.explanation import Explanation, Mark, Stage
from consulcast.model import Stale
from consulcast.registration import MAX_TEXT, MAX_VALUES, Registration
from consulcast.vip_status import DrainPhase
from consulcast.web.view import AppState, AppView, ConsulView, DrainView, QueryView, VipDrain, VipState, VipView


def _text(form: str, *examples: str) -> Meta:
    return Meta(min_length=1, max_length=MAX_TEXT, examples=list(examples), extra_json_schema={"format": form})


VipText = Annotated[str, _text("vip", "203.0.113.10/32", "2001:db8::10/128")]
MonitorText = Annotated[str, _text("monitor", "port:tcp:53", "exec:/usr/local/bin/check")]
NatText = Annotated[str, _text("nat", "tcp:443:8443", "udp:53")]
CommunityText = Annotated[str, _text("community", "65000:1", "no-export", "65000:1:2")]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class AppRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be announced. The values are written as in Consul tags."""

    vips: Annotated[tuple[VipText, ...], Meta(min_length=1, max_length=MAX_VALUES)]
    monitors: Annotated[tuple[MonitorText, ...], Meta(max_length=MAX_VALUES)] = ()
    nats: Annotated[tuple[NatText, ...], Meta(max_length=MAX_VALUES)] = ()
    communities: Annotated[tuple[CommunityText, ...], Meta(max_length=MAX_VALUES)] = ()
    ttl: Annotated[
        str,
        Meta(
            description="A duration from 1s to 8760h after which the app lapses unless it is registered again; "
            "empty: never.",
            examples=["30s"],
            extra_json_schema={"format": "ttl"},
        ),
    ] = ""

    def registration(self, name: str) -> Registration:
        """Give the wish its name."""
        return Registration(name, self.vips, self.monitors, self.nats, self.communities, self.ttl)


class StaleBody(Struct):
    """Consul's last good answer stands for a better one."""

    since: Moment
    seconds: Annotated[float, Meta(ge=0, description="How long that is.")]
    reason: Annotated[str, Meta(description="Why, in the words of the log.")]

    @classmethod
    def of(cls, stale: Stale | None) -> StaleBody | None:
        """Write the mark, if there is one."""
        if stale is None:
            return None
        return cls(_moment(stale.since), _age(stale.since), stale.reason)


class AppBody(Struct):
    """An app as it stands."""

    source: Literal["config", "consul", "http"]
    id: Annotated[str, Meta(description="Unique within its source: the ServiceID from Consul, else the name.")]
    name: str
    vips: tuple[str, ...]
    monitors: tuple[str, ...]
    nats: tuple[str, ...]
    communities: tuple[str, ...]
    ttl: str
    expires: Moment | None
    state: AppState
    reason: Annotated[str, Meta(description="Stable code of why it is in this state.")]
    detail: str
    since: Moment | None
    stale: Annotated[StaleBody | None, Meta(description="Set while it is not known from Consul how the app is now.")]

    @classmethod
    def of(cls, app: AppView) -> AppBody:
        """Write the app."""
        asked = app.asked
        return cls(
            source=app.key.source.value,
            id=app.key.id,
            name=asked.name,
            vips=asked.vips,
            monitors=asked.monitors,
            nats=asked.nats,
            communities=asked.communities,
            ttl=asked.ttl,
            expires=_moment(app.expires_at),
            state=app.state,
            reason=app.reason,
            detail=app.detail,
            since=_moment(app.since),
            stale=StaleBody.of(app.stale),
        )


class AppsBody(Struct):
    """Every app of every source."""

    apps: list[AppBody]


class DrainRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """For how long, and why."""

    for_: Annotated[
        str,
        Meta(
            description="A duration from 1s to 8760h after which the drain ends by itself; empty: never.",
            examples=["30m"],
            extra_json_schema={"format": "ttl"},
        ),
    ] = field(default="", name="for")
    reason: Annotated[
        str,
        Meta(max_length=MAX_REASON, examples=["kernel upgrade"], extra_json_schema={"format": "printable"}),
    ] = ""
    force: Annotated[bool, Meta(description="Drain what is not here at the moment, too.")] = False


class VipDrainBody(Struct):
    """How far the drain of a VIP is."""

    phase: DrainPhase
    since: Moment
    withdrawn: Annotated[Moment, Meta(description="When the lower preference ends in the withdrawal, at the latest.")]
    until: Annotated[Moment | None, Meta(description="When it ends by itself.")]
    flows: Annotated[int | None, Meta(description="How many were open when last counted.")]

    @classmethod
    def of(cls, drain: VipDrain | None) -> VipDrainBody | None:
        """Write how far it is, if there is one."""
        if drain is None:
            return None
        since, withdrawn = _moment(drain.since), _moment(drain.withdrawn_at)
        return cls(drain.phase, since, withdrawn, _moment(drain.until), drain.flows)


class VipBody(Struct):
    """A VIP as it stands on this host."""

    vip: str
    prefix: Annotated[str, Meta(description="What is announced.")]
    state: VipState
    reason: Annotated[str, Meta(description="Stable code of why it is in this state.")]
    detail: str
    apps: Annotated[list[str], Meta(description="Who asks for it, as source:id.")]
    stale: Annotated[StaleBody | None, Meta(description="Of its app that has been stale the longest.")]
    drain: Annotated[VipDrainBody | None, Meta(description="Set while it is drained, by whatever.")]

    @classmethod
    def of(cls, vip: VipView) -> VipBody:
        """Write the VIP."""
        keys = [str(key) for key in vip.apps]
        stale, drain = StaleBody.of(vip.stale), VipDrainBody.of(vip.drain)
        return cls(str(vip.vip), str(vip.vip.prefix), vip.state, vip.reason, vip.detail, keys, stale, drain)


class VipsBody(Struct):
    """Every VIP that is asked for."""

    vips: list[VipBody]


class DrainBody(Struct):
    """A drain that was asked for over the API."""

    target: Annotated[str, Meta(description="node, an app, a service or a VIP.")]
    kind: Literal["node", "app", "vip"]
    since: Moment
    until: Annotated[Moment | None, Meta(description="When it ends by itself.")]
    reason: str
    who: Annotated[str, Meta(description="The token's or the certificate's name, or where it was asked from.")]
    vips: Annotated[list[VipBody], Meta(description="The VIPs that it is about, as they stand.")]

    @classmethod
    def of(cls, view: DrainView) -> DrainBody:
        """Write the drain."""
        drain, vips = view.drain, [VipBody.of(vip) for vip in view.vips]
        times = _moment(drain.since), drain.ends or _moment(drain.until)  # as the log has it, to the second
        return cls(drain.target.name, drain.target.kind.value, *times, drain.reason, drain.who, vips)


class DrainsBody(Struct):
    """Every drain that was asked for over the API, in order of asking."""

    drains: list[DrainBody]


class PeerBody(Struct):
    """A BGP neighbour and the session with it."""

    address: str
    peer_as: int
    local_as: int
    local_address: str
    state: Literal["up", "down"]
    since: Moment | None
    flaps: Annotated[int, Meta(description="How many times the session went from up to down.")]
    last_error: str

    @classmethod
    def of(cls, peer: PeerStatus) -> PeerBody:
        """Write the peer."""
        return cls(
            address=str(peer.address),
            peer_as=peer.peer_as,
            local_as=peer.local_as,
            local_address=str(peer.local_address),
            state=peer.state.value,
            since=_moment(peer.since),
            flaps=peer.flaps,
            last_error=peer.last_error,
        )


class PeersBody(Struct):
    """Every peer, in the order of the configuration."""

    peers: list[PeerBody]


class QueryBody(Struct):
    """One of the blocking queries."""

    answered: Annotated[Moment | None, Meta(description="When there was a good answer last, changed or not.")]
    age: Annotated[
        float | None, Meta(description="Seconds since; while nothing changes it grows to 1.8 times consul.wait.")
    ]
    returns: Annotated[int, Meta(description="Answers since its start, unchanged ones too.")]
    resets: Annotated[int, Meta(description="How many times its index was thrown away.")]
    errors: Annotated[dict[str, int], Meta(description="By kind.")]

    @classmethod
    def of(cls, query: QueryView) -> QueryBody:
        """Write the query."""
        age = None if query.good_at is None else _age(query.good_at)
        return cls(_moment(query.good_at), age, query.returns, query.resets, dict(query.errors))


class HeldBody(Struct):
    """An app that stands against Consul's last answer."""

    app: Annotated[str, Meta(description="As source:id.")]
    reason: str


class ConsulBody(Struct):
    """What is known of Consul."""

    node: Annotated[str | None, Meta(description="null: Consul is not used.")]
    synced: Annotated[bool, Meta(description="Both queries were answered well once.")]
    catalog: QueryBody
    health: QueryBody
    stale: Annotated[StaleBody | None, Meta(description="Set while the last good answer stands for a better one.")]
    held: list[HeldBody]

    @classmethod
    def of(cls, consul: ConsulView | None) -> ConsulBody:
        """Write what is known."""
        seen = consul or ConsulView("")
        catalog, health = (QueryBody.of(seen.queries.get(name, QueryView())) for name in ("catalog", "health"))
        held = [HeldBody(str(key), why) for key, why in sorted(seen.held.items())]
        return cls(seen.node or None, seen.synced, catalog, health, StaleBody.of(seen.stale), held)


class EventBody(Struct):
    """A change of state: one line of the log."""

    number: Annotated[int, Meta(ge=1, description="Counts up from 1 at the daemon's start.")]
    at: Moment
    kind: Kind
    subject: Annotated[str, Meta(description="source:id of an app, a VIP, a peer's address, a drain's target …")]
    reason: Annotated[str, Meta(description="Stable code: docs/reasons.md.")]
    detail: str
    former: Annotated[str, Meta(description="The reason before; empty: there was none.")]
    level: Literal["debug", "info", "warning", "error", "critical"]

    @classmethod
    def of(cls, change: Change) -> EventBody:
        """Write the change."""
        at = datetime.fromtimestamp(change.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return cls(
            *(change.number, at, change.kind, change.subject, change.reason, change.detail, change.former, change.level)
        )


class EventsBody(Struct):
    """The changes that are kept, the oldest first."""

    events: list[EventBody]
    last: Annotated[int, Meta(ge=0, description="Number of the newest change: ask for those after it.")]


class StepBody(Struct):
    """One link of the chain from a service's tags to the routers."""

    stage: Stage
    about: Annotated[str, Meta(description="source:id of an app, a VIP, or a peer.")]
    mark: Mark
    reason: Annotated[str, Meta(description="Stable code; empty: there is none.")]
    text: str
    values: Annotated[
        dict[str, str | int | float | bool | None], Meta(description="The figures behind the text: docs/api.md.")
    ]


class ExplanationBody(Struct):
    """Whether something is announced from this host, and if not, why not."""

    target: str
    announced: bool
    line: Annotated[str, Meta(description="The answer in one line.")]
    reason: Annotated[str, Meta(description="Stable code of the true cause.")]
    cause: Annotated[str, Meta(description="It in words; empty: it is announced.")]
    todo: Annotated[str, Meta(description="What to do about it.")]
    steps: Annotated[list[StepBody], Meta(description="The whole chain, in its order.")]
    events: Annotated[list[EventBody], Meta(description="The last changes of all that is concerned, the oldest first.")]

    @classmethod
    def of(cls, told: Explanation) -> ExplanationBody:
        """Write the explanation."""
        steps = [
            StepBody(step.stage, step.about, step.mark, step.reason, step.text, dict(step.values))
            for step in told.steps
        ]
        events = [EventBody.of(change) for change in told.changes]
        return cls(told.target, told.announced, told.line, told.reason, told.cause, told.todo, steps, events)


class PlanStepBody(Struct):
    """One thing that a reload would do."""

    kind: outlook.Kind
    subject: Annotated[str, Meta(description="source:id of an app, a VIP, a peer's address.")]
    action: outlook.Action
    reason: Annotated[str, Meta(description="Stable code, where there is one.")]
    detail: str


class PlanBody(Struct):
    """What a reload would do now, from the file as it is and what Consul and the monitors say."""

    steps: list[PlanStepBody]
    unknown: Annotated[list[str], Meta(description="What cannot be known beforehand.")]

    @classmethod
    def of(cls, seen: outlook.Outlook) -> PlanBody:
        """Write it."""
        steps = [PlanStepBody(step.kind, step.subject, step.action, step.reason, step.detail) for step in seen.steps]
        return cls(steps, list(seen.unknown))


class StatusBody(Struct):
    """The answer to a probe."""

    status: Literal["ok", "ready"]


def _age(monotonic: float) -> float:
    return round(max(0.0, time.monotonic() - monotonic), 3)


@overload
def _moment(monotonic: float) -> str: ...
@overload
def _moment(monotonic: float | None) -> str | None: ...
def _moment(monotonic: float | None) -> str | None:
    """Write a time of the monotonic clock as people do: UTC, RFC 3339."""
    if monotonic is None:
        return None
    at = datetime.fromtimestamp(time.time() - time.monotonic() + monotonic, UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
