"""The daemon in figures, for Prometheus: what the API says, counted. docs/metrics.md names each."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from consulcast import __version__
from consulcast.consul.errors import KINDS
from consulcast.executor.protocols import SessionState
from consulcast.hub import in_turns
from consulcast.tally import Count, Times
from consulcast.web.view import ConsulView, View, VipState

L = TypeVar("L", bound=tuple[str, ...])  # values of labels

_VERSION = (__version__, platform.python_version())


def blueprint(view: View) -> Blueprint:
    """``/metrics``."""
    urls = Blueprint("metrics", __name__)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(view))
    ProcessCollector(registry=registry)

    @urls.get("/metrics")
    def metrics() -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    return urls


class Figures(Collector):
    """Asks the daemon for its state at every scrape. A group of figures is one method."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """All figures as they are now."""
        yield gauge("build_info", "The running version.", ("version", "python"), {_VERSION: 1})
        yield from self._apps_and_vips()
        yield from self._peers()
        yield from self._messages()
        consul = self._view.consul()
        if consul is not None:
            yield from _consul(consul)
        repairs = {(kind,): number for kind, number in self._view.repairs().items()}
        yield counter("repairs", "Things found other than they should be, and repaired.", ("kind",), repairs)
        yield from map(measured, self._view.measured())

    def _apps_and_vips(self) -> Iterator[Metric]:
        found_apps, found = self._view.apps(), self._view.vips()
        apps = Counter((app.key.source.value, app.state.value, app.reason.value) for app in in_turns(found_apps))
        yield gauge("apps", "Apps by where they come from and how they are.", ("source", "state", "reason"), apps)
        vips = Counter((vip.state.value, vip.reason.value) for vip in in_turns(found))
        yield gauge("vips", "VIPs by how they are on this host.", ("state", "reason"), vips)
        announced = {(str(vip.vip), vip.reason.value): vip.state is VipState.ANNOUNCED for vip in in_turns(found)}
        yield gauge("vip_announced", "Whether the VIP is announced, and why it is not.", ("vip", "reason"), announced)

    def _peers(self) -> Iterator[Metric]:
        peers = {(str(peer.address),): peer for peer in self._view.peers()}
        up = {key: peer.state is SessionState.UP for key, peer in peers.items()}
        yield gauge("peer_up", "Whether the BGP session with the peer is established.", ("peer",), up)
        flaps = {key: peer.flaps for key, peer in peers.items()}
        yield counter("peer_flaps", "Times the BGP session went from up to down.", ("peer",), flaps)

    def _messages(self) -> Iterator[Metric]:
        found = {
            (str(peer), direction, kind): getattr(messages, kind)
            for peer, both in self._view.sent().items()
            for direction, messages in zip(("sent", "received"), both, strict=True)
            for kind in ("open", "update", "keepalive", "notification")
        }
        labels = ("peer", "direction", "type")
        yield counter("peer_messages", "BGP messages of the present session, as ExaBGP last told.", labels, found)


def _consul(consul: ConsulView) -> Iterator[Metric]:
    now = time.monotonic()
    yield gauge("consul_synced", "Whether both queries were answered well once.", (), {(): consul.synced})
    stale = 0.0 if consul.stale is None else now - consul.stale.since
    yield gauge("consul_stale_seconds", "How long the last good answer has stood for a better one.", (), {(): stale})
    held = len(consul.held)
    yield gauge("consul_held_apps", "Apps that stand against the last answer of Consul.", (), {(): held})
    queries = consul.queries.items()
    ages = {(name,): now - query.good_at for name, query in queries if query.good_at is not None}
    yield gauge("consul_answer_age_seconds", "Time since the last good answer.", ("query",), ages)
    returns = {(name,): query.returns for name, query in queries}
    yield counter("consul_query_returns", "Answers to blocking queries, unchanged ones too.", ("query",), returns)
    resets = {(name,): query.resets for name, query in queries}
    yield counter("consul_index_resets", "Times that a query started over without its index.", ("query",), resets)
    errors = {(name, kind): query.errors.get(kind, 0) for name, query in queries for kind in KINDS}
    yield counter("consul_errors", "Queries without an answer, by what went wrong.", ("query", "kind"), errors)


def gauge(name: str, what: str, labels: Sequence[str], values: Mapping[L, float]) -> Metric:
    """Figures that go up and down, by the values of their labels."""
    return _filled(GaugeMetricFamily(f"consulcast_{name}", what, labels=labels), values)


def counter(name: str, what: str, labels: Sequence[str], values: Mapping[L, float]) -> Metric:
    """Figures since the start; ``_total`` is added to the name."""
    return _filled(CounterMetricFamily(f"consulcast_{name}", what, labels=labels), values)


def measured(figure: Count | Times) -> Metric:
    """What a part has counted or timed itself."""
    if isinstance(figure, Count):
        values = {tuple(map(str, labels)): value for labels, value in figure.values.items()}
        return counter(figure.name, figure.what, figure.labels, values)
    family = HistogramMetricFamily(f"consulcast_{figure.name}", figure.what, labels=figure.labels)
    bounds = [floatToGoString(bound) for bound in (*figure.bounds, float("inf"))]  # type: ignore[no-untyped-call]
    for labels, counts in figure.values.items():
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        family.add_metric(tuple(map(str, labels)), buckets, figure.sums[labels])
    return _slow(family)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[L, float]) -> Metric:
    for labels, value in in_turns(values.items()):
        family.add_metric(labels, value)
    return _slow(family)


def _slow(metric: Metric) -> Metric:
    metric.samples = _Samples(metric.samples)
    return metric


class _Samples(list[Sample]):
    """Others get their turn while these are written: a thousand VIPs are a thousand of them."""

    def __iter__(self) -> Iterator[Sample]:
        return in_turns(super().__iter__())
