"""Who may do what: by place, by token, by certificate."""

from __future__ import annotations

import pytest

from consulcast.web.rights import ALL, Access, Denied, Peer, Scope, bearer, caller, decide, needed
from consulcast.web.tokens import parse

HERE, ELSEWHERE = Peer("127.0.0.1", here=True), Peer("198.51.100.9")
ROOT, USER = Peer("uid 0", here=True, owner=True), Peer("uid 1000", here=True)
READ, WRITE = "reader-token-0123456789", "writer-token-0123456789"
TOKENS = parse("tokens", f"grafana read {READ}\ndeploy register {WRITE}")
WITH_TOKENS = Access(TOKENS, tokens_set=True)


def outcome(access: Access, peer: Peer, scope: Scope, token: str | None = None) -> int:
    denied = decide(access, peer, None if token is None else f"Bearer {token}", scope)
    return 200 if denied is None else denied.code


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/apps", Scope.READ),
        ("HEAD", "/metrics", Scope.READ),
        ("GET", "/", Scope.READ),
        ("GET", "/nowhere", Scope.READ),
        ("GET", "/info", Scope.READ),
        ("POST", "/info", Scope.READ),
        ("GET", "/register", Scope.REGISTER),
        ("HEAD", "/unregister", Scope.REGISTER),
        ("PUT", "/v1/apps/a", Scope.REGISTER),
        ("DELETE", "/v1/apps/ping", Scope.REGISTER),
        ("POST", "/v1/reload", Scope.REGISTER),
        ("GET", "/v1/drains", Scope.READ),
        ("PUT", "/v1/drains/node", Scope.DRAIN),
        ("DELETE", "/v1/drains/203.0.113.10/32", Scope.DRAIN),
        ("PUT", "/v1/drains", Scope.DRAIN),
        ("PUT", "/v1/drainsother", Scope.REGISTER),
        ("OPTIONS", "/v1/apps", Scope.REGISTER),
        ("POST", "/v1/what/comes/later", Scope.REGISTER),
        ("GET", "/ping", None),
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/v1/openapi.json", None),
    ],
)
def test_every_request_takes_one_scope_and_what_is_unknown_the_larger(
    method: str, path: str, scope: Scope | None
) -> None:
    assert needed(method, path) is scope


def test_without_tokens_this_host_may_everything_and_others_may_read() -> None:
    open_to_gocast = Access()
    assert [outcome(open_to_gocast, HERE, scope) for scope in Scope] == [200, 200, 200]
    assert [outcome(open_to_gocast, ELSEWHERE, scope) for scope in Scope] == [200, 403, 403]


def test_with_tokens_this_host_may_read_and_others_nothing() -> None:
    assert [outcome(WITH_TOKENS, HERE, scope) for scope in Scope] == [200, 401, 401]
    assert [outcome(WITH_TOKENS, ELSEWHERE, scope) for scope in Scope] == [401, 401, 401]


def test_reading_stays_open_while_no_token_is_for_it() -> None:
    access = Access(parse("tokens", f"deploy register {WRITE}"), tokens_set=True)
    assert outcome(access, ELSEWHERE, Scope.READ) == 200
    assert outcome(access, ELSEWHERE, Scope.REGISTER) == 401


def test_an_empty_file_of_tokens_closes_what_it_is_there_to_close() -> None:
    assert outcome(Access(tokens_set=True), HERE, Scope.REGISTER) == 401


def test_the_file_says_what_this_host_may() -> None:
    access = Access(TOKENS, tokens_set=True, here=frozenset({"register"}))
    assert [outcome(access, HERE, scope) for scope in Scope] == [401, 200, 401]
    assert outcome(Access(here=frozenset()), HERE, Scope.READ) == 403


@pytest.mark.parametrize("peer", [HERE, ELSEWHERE, USER])
def test_a_token_gives_its_scopes_and_no_more(peer: Peer) -> None:
    assert outcome(WITH_TOKENS, peer, Scope.REGISTER, WRITE) == 200
    assert outcome(WITH_TOKENS, peer, Scope.DRAIN, WRITE) == 403
    assert outcome(WITH_TOKENS, peer, Scope.REGISTER, READ) == 403


@pytest.mark.parametrize("token", ["", "x", READ[:-1], READ + "x", READ.upper(), "\udcff"])
def test_a_wrong_token_is_refused_even_where_none_is_needed(token: str) -> None:
    for access in (WITH_TOKENS, Access()):
        for peer in (HERE, ELSEWHERE):
            assert outcome(access, peer, Scope.READ, token) == 401


def test_root_and_our_own_user_may_everything_at_the_unix_socket() -> None:
    for scope in Scope:
        assert outcome(WITH_TOKENS, ROOT, scope) == 200
        assert outcome(WITH_TOKENS, USER, scope) == (200 if scope is Scope.READ else 401)


def test_certificate_counts_by_its_names() -> None:
    names = frozenset({"deploy.example.org", "other"})
    every, some = Access(clients={}), Access(clients={"deploy.example.org": ["register"]})
    certified = Peer("198.51.100.9", certificate=names)
    assert [outcome(every, certified, scope) for scope in Scope] == [200, 200, 200]
    assert [outcome(some, certified, scope) for scope in Scope] == [200, 200, 403]  # reading needs none here
    assert outcome(some, Peer("198.51.100.9", certificate=frozenset({"stranger"})), Scope.REGISTER) == 403
    assert outcome(every, ELSEWHERE, Scope.READ) == 401
    assert outcome(Access(), certified, Scope.REGISTER) == 403  # nobody has verified it


def test_answers_say_what_is_missing() -> None:
    denied = decide(WITH_TOKENS, ELSEWHERE, None, Scope.REGISTER)
    assert denied is not None
    assert denied.challenge == 'Bearer realm="consulcast"'
    assert "'register'" in denied.message
    short = decide(WITH_TOKENS, ELSEWHERE, f"Bearer {READ}", Scope.REGISTER)
    assert short == Denied(
        403,
        "token 'grafana' has not the scope 'register'",
        'Bearer realm="consulcast", error="insufficient_scope", scope="register"',
    )
    stranger = decide(Access(), ELSEWHERE, None, Scope.REGISTER)
    assert stranger is not None
    assert "api.tokens_file" in stranger.message


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer a", "a"), ("bearer   a ", "a"), ("Basic YTpi", ""), ("a", ""), ("", ""), ("Bearer", "")],
)
def test_the_header_is_read_as_rfc_6750_writes_it(header: str, token: str) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("address", "ours", "client", "here"),
    [
        ("127.0.0.1", "127.0.0.1", "this host", True),
        ("127.3.4.5", "127.0.0.1", "this host", True),
        ("::1", "::1", "this host", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "this host", True),
        ("198.51.100.1", "198.51.100.1", "this host", True),  # from this host to one of its addresses
        ("198.51.100.9", "198.51.100.1", "198.51.100.9", False),
        ("::ffff:198.51.100.9", "::ffff:198.51.100.1", "198.51.100.9", False),
        ("2001:db8::9", "2001:db8::1", "2001:db8::/64", False),
        ("2001:db8::a", "2001:db8::1", "2001:db8::/64", False),
        ("fe80::9%eth0", "fe80::1%eth0", "fe80::/64", False),
        ("", "", "unknown", False),
        ("nonsense", "nonsense", "unknown", False),
    ],
)
def test_callers_are_told_by_address_and_an_ipv6_network_is_one(
    address: str, ours: str, client: str, here: bool
) -> None:
    assert Peer.at(address, ours) == Peer(client, here)


def test_all_is_all() -> None:
    assert frozenset({"read", "register", "drain"}) == ALL


def test_caller_is_named_by_token_certificate_or_place_and_can_be_shown() -> None:
    assert caller(WITH_TOKENS, ELSEWHERE, f"Bearer {READ}") == "grafana"
    assert caller(WITH_TOKENS, HERE, None) == "somebody on this host"
    assert caller(WITH_TOKENS, ROOT, "Bearer wrong") == "root"
    assert caller(WITH_TOKENS, Peer("uid 993", here=True, owner=True), None) == "uid 993"
    assert caller(Access(), Peer("uid 1000", here=True), None) == "uid 1000"
    assert caller(Access(), ELSEWHERE, None) == "198.51.100.9"
    certified = Peer("198.51.100.9", certificate=frozenset({"ops.example.org"}))
    assert caller(Access(clients={}), certified, None) == "ops.example.org"
    odd = Peer("198.51.100.9", certificate=frozenset({"a\nb" + "x" * 200}))
    assert caller(Access(clients={}), odd, None) == "ab" + "x" * 98
