"""What is written to Consul: the least that makes it show the whole present state."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest

from consulcast.changes import Changes
from consulcast.consul import publisher
from consulcast.consul.errors import Denied, Garbage, Unreachable
from consulcast.consul.publisher import Announcer, Keys, Publisher
from consulcast.consul.settings import ConsulSettings, Publishing, settings_from
from consulcast.consul.writer import BATCH, Conflict, Entry, Writer
from consulcast.publication import Publication
from tests.consul.server import Server, reply


@dataclass
class Store:
    """Consul's sessions, keys and one check, as far as they are used."""

    sessions: set[str] = field(default_factory=set)
    entries: dict[str, Entry] = field(default_factory=dict)
    services: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    made: int = 0

    def open_session(self, node: str, name: str, ttl: float) -> str:
        self.calls.append("open")
        self.made += 1
        self.sessions.add(f"s{self.made}")
        return f"s{self.made}"

    def renew_session(self, session: str) -> bool:
        self.calls.append("renew")
        return session in self.sessions

    def end_session(self, session: str) -> None:
        self.sessions.discard(session)
        self.entries = {key: entry for key, entry in self.entries.items() if entry.session != session}

    def keys(self, prefix: str) -> Mapping[str, Entry]:
        self.calls.append("keys")
        return {key: entry for key, entry in self.entries.items() if key.startswith(prefix)}

    def transact(self, operations: Sequence[Mapping[str, Any]]) -> None:
        assert len(operations) <= BATCH
        self.calls.append(f"txn {len(operations)}")
        entries = dict(self.entries)
        for one in operations:
            key = one["Key"]
            if one["Verb"] == "delete-tree":
                entries = {name: entry for name, entry in entries.items() if not name.startswith(key)}
            elif one["Verb"] == "delete":
                entries.pop(key, None)
            else:
                held = entries.get(key)
                if one["Session"] not in self.sessions or (held and held.session not in ("", one["Session"])):
                    raise Conflict("held")
                entries[key] = Entry(key, one["Value"], one["Session"])
        self.entries = entries

    def register(self, service: Mapping[str, Any]) -> None:
        self.calls.append("register")
        self.services[service["ID"]] = service

    def deregister(self, service_id: str) -> None:
        self.services.pop(service_id, None)

    def passing(self, check_id: str, output: str) -> bool:
        self.calls.append("passing")
        self.outputs[check_id] = output
        return check_id in self.services

    def shown(self) -> dict[str, bytes]:
        return {key: entry.content for key, entry in self.entries.items()}

    def news(self) -> list[str]:
        calls, self.calls = self.calls, []
        return calls


def told(*names: str, value: bytes = b"1", tags: tuple[str, ...] = (), summary: str = "") -> Publication:
    return Publication(dict.fromkeys(names, value), tags, summary)


def keys(store: Store, ttl: float = 30.0) -> Keys:
    return Keys(store, "host/1", "cast/", ttl)  # type: ignore[arg-type]


def test_only_what_differs_is_written() -> None:
    store = Store()
    form = keys(store)
    form.bring(told("node", "vips/a"), 0.0)
    assert store.shown() == {"cast/host%2F1/node": b"1", "cast/host%2F1/vips/a": b"1"}
    store.news()
    form.bring(told("node", "vips/a"), 1.0)
    assert store.news() == []
    form.bring(told("node"), 2.0)
    assert store.news() == ["txn 1"]
    assert store.shown().keys() == {"cast/host%2F1/node"}


def test_what_a_former_run_has_left_goes_in_the_transaction_that_brings_ours() -> None:
    store = Store(sessions={"dead"})
    store.entries = {
        name: Entry(name, "", "dead") for name in ("cast/host%2F1/node", "cast/host%2F1/vips/old", "cast/b/node")
    }
    keys(store).bring(told("node"), 0.0)
    assert store.news() == ["open", "txn 2"]
    assert store.shown().keys() == {"cast/host%2F1/node", "cast/b/node"}


def test_many_vips_are_written_in_transactions_that_consul_takes() -> None:
    store = Store()
    form = keys(store)
    names = [f"vips/{number}" for number in range(2 * BATCH)]
    form.bring(told(*names), 0.0)
    assert store.news() == ["open", f"txn {BATCH}", f"txn {BATCH}", "txn 1"]
    assert len(store.entries) == 2 * BATCH


def test_the_session_is_renewed_at_a_third_of_its_time_and_made_anew_when_it_is_gone() -> None:
    store = Store()
    form = keys(store)
    form.bring(told("node"), 0.0)
    store.news()
    form.bring(told("node"), 9.9)
    assert store.news() == []
    form.bring(told("node"), 10.0)
    assert store.news() == ["renew"]
    store.end_session("s1")
    form.bring(told("node"), 20.0)
    assert store.news() == ["renew", "open", "txn 2"]
    assert store.shown() == {"cast/host%2F1/node": b"1"}


def test_a_conflict_begins_anew() -> None:
    store = Store()
    form = keys(store)
    form.bring(told("node"), 0.0)
    store.end_session("s1")
    with pytest.raises(Conflict):
        form.bring(told("node", value=b"2"), 1.0)
    form.bring(told("node", value=b"2"), 2.0)
    assert store.shown() == {"cast/host%2F1/node": b"2"}


def test_the_sweep_puts_right_what_others_have_done() -> None:
    store = Store()
    form = keys(store, ttl=3600.0)
    form.bring(told("node", "vips/a"), 0.0)
    store.entries["cast/host%2F1/node"] = Entry("cast/host%2F1/node", base64.b64encode(b"x").decode(), "s1")
    store.entries["cast/host%2F1/more"] = Entry("cast/host%2F1/more")
    del store.entries["cast/host%2F1/vips/a"]
    form.bring(told("node", "vips/a"), publisher.SWEEP)
    assert store.shown() == {"cast/host%2F1/node": b"1", "cast/host%2F1/vips/a": b"1"}
    store.news()
    form.bring(told("node", "vips/a"), 2 * publisher.SWEEP)
    assert store.news() == ["keys"]


def test_taking_back_ends_the_session_and_its_keys() -> None:
    store = Store()
    form = keys(store)
    form.remove()
    form.bring(told("node"), 0.0)
    form.remove()
    assert (store.entries, store.sessions) == ({}, set())


def test_the_service_is_registered_when_its_tags_change_and_kept_alive_otherwise() -> None:
    store = Store()
    form = Announcer(store, "cast", 30.0)  # type: ignore[arg-type]
    form.bring(told(tags=("a",), summary="one"), 0.0)
    assert store.news() == ["register", "passing"]
    service = store.services["consulcast:cast"]
    assert (service["Name"], service["Tags"], service["Check"]["TTL"]) == ("cast", ["a"], "30s")
    form.bring(told(tags=("a",), summary="one"), 9.9)
    assert store.news() == []
    form.bring(told(tags=("a",), summary="one"), 10.0)
    assert store.news() == ["passing"]
    form.bring(told(tags=("a",), summary="two"), 11.0)
    assert (store.news(), store.outputs["consulcast:cast"]) == (["passing"], "two")
    store.services.clear()  # an agent that was started again without its data
    form.bring(told(tags=("a",), summary="two"), 25.0)
    assert store.news() == ["passing", "register", "passing"]
    form.remove()
    assert store.services == {}


@dataclass
class Noting:
    """A form that notes what is asked of it, and fails as it is told to."""

    what: str = "publish.kv"
    pause: float = 0.0
    fault: Exception | None = None
    said: list[str] = field(default_factory=list)

    def bring(self, publication: Publication, now: float) -> None:
        self.said.append(publication.summary)
        if self.fault is not None:
            raise self.fault

    def remove(self) -> None:
        self.said.append("removed")
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "SETTLE", 0.0)
    monkeypatch.setattr(publisher, "backoff", lambda errors, chance: 0.0)
    monkeypatch.setattr(publisher, "LAST_WORDS", 0.1)


def run(current: Callable[[], Publication | None], form: Noting, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(publisher, "Keys", lambda *_: form)
    made = Publisher(ConsulSettings(), "host", Publishing(kv="cast/", ttl=0.006), current, Changes())
    made.start()
    return made


def until(seen: Callable[[], object]) -> None:
    with gevent.Timeout(5.0):
        while not seen():
            gevent.sleep(0.001)


@pytest.mark.usefixtures("_quick")
def test_trouble_is_one_line_and_it_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    form = Noting()
    form.fault = Unreachable("no Consul")
    made = run(lambda: told(summary="s"), form, monkeypatch)
    until(lambda: len(form.said) > 3)
    assert [record.getMessage() for record in caplog.records] == [
        "publish.kv: Consul does not take it, which changes nothing else: no Consul"
    ]
    form.fault = None
    until(lambda: "published again" in caplog.text)
    made.stop(remove=True)()
    assert form.said[-1] == "removed"


@pytest.mark.usefixtures("_quick")
def test_nothing_is_written_before_something_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    form, state = Noting(), [None, None, told(summary="known")]
    made = run(lambda: state.pop(0) if len(state) > 1 else state[0], form, monkeypatch)
    until(lambda: form.said)
    assert set(form.said) == {"known"}
    made.stop(remove=False)()
    assert "removed" not in form.said


@pytest.mark.usefixtures("_quick")
def test_the_stop_waits_for_no_consul(monkeypatch: pytest.MonkeyPatch) -> None:
    form = Noting()
    made = run(lambda: told(), form, monkeypatch)
    monkeypatch.setattr(form, "remove", lambda: gevent.sleep(1000.0), raising=False)
    with gevent.Timeout(5.0):
        made.stop(remove=True)()


def test_the_writer_tells_what_consul_answers_apart() -> None:
    answers = {
        "/v1/session/create": reply('{"ID": "abc"}'),
        "/v1/session/renew/abc": reply("gone", 404),
        "/v1/txn": reply('{"Errors": [{"What": "failed to lock key"}]}', 409),
        "/v1/agent/check/update/consulcast%3Ax": reply("CheckID does not have associated TTL", 500),
        "/v1/agent/service/deregister/x": reply("Unknown service", 404),
        "/v1/kv/none/": reply("", 404),
    }
    with Server(lambda request: answers[request.path]) as server:
        consul = Writer(settings_from({}, address=server.address))
        assert consul.open_session("host", "name", 15.0) == "abc"
        assert b'"TTL":"15s"' in server.requests[0].body
        assert consul.renew_session("abc") is False
        with pytest.raises(Conflict, match="failed to lock"):
            consul.transact([{"Verb": "delete", "Key": "k"}])
        assert consul.passing("consulcast:x", "") is False
        consul.deregister("x")
        assert consul.keys("none/") == {}
        answers["/v1/txn"] = reply('{"Errors": [{"What": "Permission denied"}]}', 409)
        with pytest.raises(Denied, match="policy"):
            consul.transact([])
        answers["/v1/session/create"] = reply("[]")
        with pytest.raises(Garbage):
            consul.open_session("host", "name", 15.0)
        answers["/v1/session/renew/abc"] = reply("rpc error: No cluster leader", 500)
        with pytest.raises(Exception, match="servers do not answer"):
            consul.renew_session("abc")
        consul.close()
