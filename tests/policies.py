"""Policies for tests that are about something else."""

from __future__ import annotations

from typing import Any

from consulcast.model import Source
from consulcast.policy import DEFAULTS, Policy, Rules

ANYTHING = Rules(sources=dict.fromkeys(Source, DEFAULTS[Source.CONFIG]))


def open_policy(**more: Any) -> Policy:
    """Every source may ask for what the file may by default: whole prefixes, any community, commands."""
    return Policy(rules=ANYTHING, **more)
