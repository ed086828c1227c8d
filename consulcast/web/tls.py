"""TLS for the endpoint: its certificate, and those of clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gevent import ssl


class BadTls(Exception):
    """The files cannot be used. ``key`` is the one of ``api.tls`` that is at fault; the message says why."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def context(cert_file: str, key_file: str, client_ca_file: str = "") -> ssl.SSLContext:
    """Read the files. With a CA a client may show a certificate of it, and must show none else. Raises ``BadTls``."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    for key, path in (("cert_file", cert_file), ("key_file", key_file), ("client_ca_file", client_ca_file)):
        if path and not os.access(path, os.R_OK):
            raise BadTls(key, f"{path!r} cannot be read")
    try:
        # A pass phrase would be asked for at the terminal.
        made.load_cert_chain(cert_file, key_file or None, password=lambda: "")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise BadTls(
            "cert_file", f"certificate and key do not serve: {why}: write PEM files, the key unencrypted"
        ) from None
    if client_ca_file:
        try:
            made.load_verify_locations(client_ca_file)
        except (OSError, ValueError) as error:
            raise BadTls("client_ca_file", f"is no PEM file of certificates: {error}") from None
        made.verify_mode = ssl.CERT_OPTIONAL
    return made


def names(certificate: Mapping[str, Any] | None) -> frozenset[str] | None:
    """Return the names in a verified certificate: its common name, and DNS, e-mail and URI alternatives."""
    if not certificate:
        return None
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    found = {value for key, value in subject if key == "commonName"}
    found |= {value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "email", "URI")}
    return frozenset(found)
