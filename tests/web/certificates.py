"""Certificates for tests, made by openssl: a CA, a server's, a client's, and a client's of nobody's CA."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make(directory: Path, name: str, ca: str = "", alternative: str = "DNS:localhost,IP:127.0.0.1") -> None:
    """Write ``name.pem`` and ``name.key``; signed by ``ca`` of the same directory, or by itself."""
    files = ("-out", str(directory / f"{name}.pem"), "-keyout", str(directory / f"{name}.key"))
    signer = ("-CA", str(directory / f"{ca}.pem"), "-CAkey", str(directory / f"{ca}.key")) if ca else ()
    extensions = ("-addext", f"subjectAltName={alternative}", "-addext", f"basicConstraints=CA:{_is_ca(ca)}")
    command = ["openssl", "req", "-x509", *_KEY, "-days", "30", "-subj", f"/CN={name}", *files, *signer, *extensions]
    subprocess.run(command, check=True, capture_output=True)


def _is_ca(ca: str) -> str:
    return "FALSE" if ca else "TRUE"


def make_all(directory: Path) -> Path:
    """Make what the tests of TLS use."""
    make(directory, "ca")
    make(directory, "server", "ca")
    make(directory, "deploy.example.org", "ca", "DNS:deploy.example.org")
    make(directory, "stranger")
    return directory
