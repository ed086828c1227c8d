"""Every target."""

from __future__ import annotations

from typing import Any

from tests.fuzz import rules, texts, web, wire
from tests.fuzz.target import Target

TARGETS: dict[str, Target[Any]] = {
    target.name: target for target in (*texts.TARGETS, *rules.TARGETS, *wire.TARGETS, *web.TARGETS)
}
