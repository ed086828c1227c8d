"""The bodies of the API, version 1. Their docstrings and bounds are the OpenAPI document's too."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from consulcast.executor.protocols import PeerStatus
from consulcast.registration import MAX_TEXT, MAX_VALUES, Registration
from consulcast.web.view import AppState, AppView, VipState, VipView


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
        )


class AppsBody(Struct):
    """Every app of every source."""

    apps: list[AppBody]


class VipBody(Struct):
    """A VIP as it stands on this host."""

    vip: str
    prefix: Annotated[str, Meta(description="What is announced.")]
    state: VipState
    reason: Annotated[str, Meta(description="Stable code of why it is in this state.")]
    detail: str
    apps: Annotated[list[str], Meta(description="Who asks for it, as source:id.")]

    @classmethod
    def of(cls, vip: VipView) -> VipBody:
        """Write the VIP."""
        keys = [str(key) for key in vip.apps]
        return cls(str(vip.vip), str(vip.vip.prefix), vip.state, vip.reason, vip.detail, keys)


class VipsBody(Struct):
    """Every VIP that is asked for."""

    vips: list[VipBody]


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


class StatusBody(Struct):
    """The answer to a probe."""

    status: Literal["ok", "ready"]


def _moment(monotonic: float | None) -> str | None:
    """Write a time of the monotonic clock as people do: UTC, RFC 3339."""
    if monotonic is None:
        return None
    at = datetime.fromtimestamp(time.time() - time.monotonic() + monotonic, UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
