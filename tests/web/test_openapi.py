"""The document says what the application does: schemathesis asks every operation, in good ways and in bad ones."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup

from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.openapi import document
from consulcast.web.rights import Access, Peer, needed
from consulcast.web.tokens import parse
from tests.web.daemon import Daemon, rules

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PORTS = st.integers(1, 65535).map(str)
COMMUNITIES = st.builds("{}:{}".format, st.integers(0, 65535), st.integers(0, 65535))
FORMATS = {
    "app-name": st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20),
    "vip": st.one_of(
        st.integers(1, 254).map("203.0.113.{}/32".format), st.integers(1, 9999).map("2001:db8::{}/128".format)
    ),
    "monitor": PORTS.map("port:tcp:{}".format),
    "nat": st.builds("{}:{}".format, st.sampled_from(["tcp", "udp"]), PORTS),
    "community": COMMUNITIES,
    "communities": st.lists(COMMUNITIES, min_size=1, max_size=3).map(",".join),
    "target": st.sampled_from(["dns", "consul:dns", "203.0.113.10/32", "2001:db8::10", "203.0.113.99/32"]),
    "ttl": st.integers(1, 9999).map("{}s".format),
    "printable": st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20),
    "drain-target": st.sampled_from(["node", "consul:dns", "dns", "203.0.113.10/32", "2001:db8::1"]),
}
for name, strategy in FORMATS.items():
    schemathesis.openapi.format(name, strategy)

# A body that breaks its bounds may be too large besides.
REJECTED = {"checks": {"negative_data_rejection": {"expected-statuses": [400, 404, 405, 409, 413, 415]}}}
TOKEN = "a-token-for-the-tests"
TOKENS = Access(parse("tokens", f"all read,register,drain {TOKEN}"), tokens_set=True)
OPEN = Access()
HERE = Peer("127.0.0.1", here=True)
ELSEWHERE = Peer("198.51.100.9")
OPERATIONS = [
    (path, method) for path, methods in document()["paths"].items() for method in methods.keys() - {"parameters"}
]

ENDING = [operation for operation in OPERATIONS if operation[0] != "/v1/events/stream"]


MANY = 8  # apps; more would run into the limit of a VIP's communities, which is no fault of a request
asked = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    """Tell how many requests were made, to who asks for a number of them (``pytest -s``)."""
    yield
    if "FUZZ_EXAMPLES" in os.environ:
        print(f"\n{next(asked)} requests")


def asked_by(peer: Peer, access: Access = OPEN, token: str = "") -> WSGIApplication:
    """The application, as somebody reaches it."""
    daemon = Daemon()
    app = make_app(daemon, Door(Settings(access=access)))

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        next(asked)
        if len(daemon.registered) > MANY:
            daemon.registered, daemon.registry = {}, rules()
        header = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
        return app({**environ, **header, "consulcast.peer": peer}, start_response)

    return call


bounded = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "8")),  # of each operation
    phases=[Phase.explicit, Phase.generate],  # a failing case is small enough, and shrinking takes minutes
    deadline=None,
    database=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), ENDING)
@pytest.mark.parametrize("app", [asked_by(HERE), asked_by(ELSEWHERE, TOKENS, TOKEN)], ids=["here", "with a token"])
def test_every_operation_does_as_documented(app: WSGIApplication, path: str, method: str, mode: GenerationMode) -> None:
    config = schemathesis.Config.from_dict(REJECTED)
    operation = schemathesis.openapi.from_wsgi("/v1/openapi.json", app, config=config)[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters or operation.body):
        return  # there is nothing to get wrong

    @bounded
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        try:
            case.call_and_validate()
        except FailureGroup as group:
            # What fits a format of ours it knows by examples, and takes anything else for wrong: `ttl: ""`, a blank in
            # a name.
            if not all("violates `format`" in str(failure) for failure in group.exceptions):
                raise

    ask()


@pytest.mark.parametrize(("token", "status"), [("", 401), ("another-token-that-is-unknown", 401)])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_without_a_token_that_is_known_nothing_but_the_probes_answers(
    path: str, method: str, token: str, status: int
) -> None:
    app = asked_by(ELSEWHERE, TOKENS, token)
    operation = schemathesis.openapi.from_wsgi("/v1/openapi.json", app)[path][method]
    guarded = needed(method.upper(), path) is not None

    @bounded
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case: Case[Any]) -> None:
        response = case.call()
        if guarded:
            # After ten wrong tokens, none is looked at for a while.
            assert response.status_code in (status, 429 if token else status)
            assert (response.status_code == 429) != ("www-authenticate" in response.headers)
        else:
            assert response.status_code == 200
        case.validate_response(response)

    ask()


def test_every_url_is_documented() -> None:
    rules = {
        (re.sub("<anything:(.*?)>", r"{\1}", rule.rule), method.lower())
        for rule in make_app(Daemon()).url_map.iter_rules()
        for method in rule.methods or ()
    }
    heads = {(path, "head") for path, method in OPERATIONS if method == "get"}
    posts = {(path, "post") for path in ("/register", "/unregister", "/info", "/ping")}
    others = ("/v1/openapi.json", "/", "/page/<name>", "/page/stream")  # the page is for people
    assert rules == {*OPERATIONS, *heads, *posts, *((path, method) for path in others for method in ("get", "head"))}


def test_document_is_served_as_it_is_built() -> None:
    response = make_app(Daemon()).test_client().get("/v1/openapi.json")
    assert response.json == json.loads(json.dumps(document()))
