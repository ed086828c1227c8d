"""How many files and sockets this process may have open."""

from __future__ import annotations

import resource

MOST = 16_384  # a connection for each monitor that may hang (monitors/factory.py), and room for HTTP


def take_up() -> None:
    """Raise our own limit, 1024 where nobody says otherwise, as far as the hard limit lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST)), hard))
