"""How to reach Consul: the configuration file's values and the environment, resolved into one frozen value."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct


class BadSetting(ValueError):
    """A setting that cannot be used; the message names the key or the variable."""


class ConsulSettings(Struct, frozen=True):
    """Where Consul is and how to speak to it. The token is a secret: it is left out of ``repr``."""

    url: str = "http://127.0.0.1:8500"  # without /v1; with a unix socket the host part is a mere name
    unix_socket: str = ""  # path, or ""
    token: str = ""
    token_file: str = ""  # read at every new client and again when it is denied; wins over ``token`` if not empty
    verify: bool | str = True  # TLS: verify against the system's CAs, not at all, or against this file or directory
    client_cert: str = ""
    client_key: str = ""  # empty: the key is in ``client_cert``
    namespace: str = ""
    partition: str = ""
    stale: bool = False  # any server may answer, not the leader alone

    def __repr__(self) -> str:
        return f"ConsulSettings({self.unix_socket or self.url})"


def settings_from(
    environ: Mapping[str, str],
    *,
    address: str = "",
    token: str = "",
    token_file: str = "",
    ca_file: str = "",
    cert_file: str = "",
    key_file: str = "",
    verify: bool = True,
    namespace: str = "",
    partition: str = "",
    stale: bool = False,
) -> ConsulSettings:
    """Resolve the configuration file's values (empty: not given) with the environment.

    GoCast's ``CONSUL_TOKEN`` and ``CONSUL_STALE`` win over the file, as they do there; Consul's own variables
    (``CONSUL_HTTP_ADDR`` and the others of ``consul agent``) fill in what the file leaves open.
    Raises ``BadSetting``.
    """

    def env(name: str) -> str:
        return environ.get(name, "").strip()

    def flag(name: str) -> bool | None:
        return _boolean(name, env(name)) if env(name) else None

    ssl = flag("CONSUL_HTTP_SSL")
    name = "consul_addr" if address else "CONSUL_HTTP_ADDR"
    url, unix_socket = _address(name, address or env("CONSUL_HTTP_ADDR") or "127.0.0.1:8500", bool(ssl))
    if ssl and not address:  # as Consul's own client: asked for TLS, http:// does not turn it off
        url = url.replace("http://", "https://", 1) if not unix_socket else url

    if env("CONSUL_TOKEN"):
        token, token_file = env("CONSUL_TOKEN"), ""
    elif not token and not token_file:
        token, token_file = env("CONSUL_HTTP_TOKEN"), env("CONSUL_HTTP_TOKEN_FILE")
    usable_token("CONSUL_TOKEN, consul_token or CONSUL_HTTP_TOKEN", token)

    cert_file, key_file = cert_file or env("CONSUL_CLIENT_CERT"), key_file or env("CONSUL_CLIENT_KEY")
    if key_file and not cert_file:
        raise BadSetting("CONSUL_CLIENT_KEY (tls.key_file) is set without CONSUL_CLIENT_CERT (tls.cert_file)")
    ca_file = ca_file or env("CONSUL_CACERT")
    check = verify and flag("CONSUL_HTTP_SSL_VERIFY") is not False

    stale_env = flag("CONSUL_STALE")
    return ConsulSettings(
        url=url,
        unix_socket=unix_socket,
        token=token,
        token_file=token_file,
        verify=(ca_file or True) if check else False,
        client_cert=cert_file,
        client_key=key_file,
        namespace=namespace or env("CONSUL_NAMESPACE"),
        partition=partition or env("CONSUL_PARTITION"),
        stale=stale if stale_env is None else stale_env,
    )


def _address(name: str, text: str, ssl: bool) -> tuple[str, str]:
    """An address in any of Consul's and GoCast's forms as (URL without /v1, unix socket path or "")."""
    hint = f"{name}={text!r}: write host:port, http://host:port, https://host:port or unix:///path"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("https" if ssl else "http"), text
    if scheme == "unix":
        if not rest.startswith("/"):
            raise BadSetting(f"{hint}; the socket's path is absolute")
        return "http://consul", unquote(rest)
    if scheme not in ("http", "https"):
        raise BadSetting(hint)
    if not separator and _is_ipv6(rest):
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError as error:  # among them UnicodeError
        raise BadSetting(f"{hint} ({error})") from None
    if not host or parts.query or parts.fragment or any(c.isspace() for c in rest):
        raise BadSetting(hint)
    if parts.username is not None:
        raise BadSetting(f"{name}: a user or password in the address is not used by Consul; give a token")
    if port is None:  # a URL means its scheme's port, as in Go; a mere host means Consul's
        port = {"http": 80, "https": 443}[scheme] if separator else {"http": 8500, "https": 8501}[scheme]
    path = quote(unquote(parts.path.rstrip("/")), safe="/").removesuffix("/v1").rstrip("/")
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}", ""


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _boolean(name: str, text: str) -> bool:
    """Go's ``strconv.ParseBool``, which Consul and GoCast use."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise BadSetting(f"{name}={text!r}: write true or false")


def usable_token(name: str, token: str) -> str:
    """The token as it is, if it can be sent in a header. Raises ``BadSetting``, without the token."""
    if not all(33 <= ord(c) <= 126 for c in token):
        raise BadSetting(f"{name}: the token holds a space or another character that no Consul token has")
    return token


class Publishing(Struct, frozen=True):
    """What is published: below which prefix of the key-value store, and as which service; empty: not so."""

    kv: str = ""
    service: str = ""
    ttl: float = 30.0  # seconds that it outlives us
