"""The Consul source alone as a program on a host of the lab, and what tests see of it.

It prints every state that it publishes as one line of JSON, so that a test can look at the present one and at all there
have been: "never withdrawn" is a statement about all of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from integration.lab import Consul, NotInTime, Process, until


@dataclass(frozen=True)
class Seen:
    """One state, as far as tests look at it."""

    synced: bool
    apps: Mapping[str, list[str]]  # ServiceID: VIPs
    health: Mapping[str, str]  # ServiceID: health of its monitor `consul`
    detail: Mapping[str, str]
    refused: Mapping[str, str]
    stale: str  # why the last good view stands; "" while all is well


class Watcher:
    """A source on the Consul agent's host. ``settings`` are ``settings_from``'s."""

    def __init__(
        self,
        consul: Consul,
        *,
        settings: Mapping[str, Any] | None = None,
        wait: float = 2.0,
        grace: float = 3.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        arguments = {
            "node": consul.node,
            "settings": {"address": consul.address, **(settings or {})},
            "source": {"wait": wait, "restart_grace": grace},
        }
        command = (sys.executable, "-m", __name__, json.dumps(arguments))
        self.process: Process = consul.host.spawn(*command, name="watcher", env=env)

    def history(self) -> list[Seen]:
        """All states so far, from the first synced one on."""
        lines = [line for line in self.process.text().splitlines() if line.startswith("{")]
        states = [Seen(**json.loads(line)) for line in lines]
        return [state for state in states if state.synced]

    @property
    def now(self) -> Seen:
        """The present state."""
        lines = [line for line in self.process.text().splitlines() if line.startswith("{")]
        return Seen(**json.loads(lines[-1])) if lines else Seen(False, {}, {}, {}, {}, "")

    def until(self, fact: Callable[[Seen], bool], deadline: float = 20.0) -> Seen:
        """Wait until a fact is true of the present state, and return that."""

        def look() -> Seen | None:
            if not self.process.alive:
                raise NotInTime(f"the source has ended:\n{self.process.text()[-3000:]}")
            state = self.now
            return state if fact(state) else None

        try:
            return until(look, deadline, "the state is as expected")
        except NotInTime as error:
            raise NotInTime(f"{error}; the state is {self.now}") from None

    def synced(self, *apps: str) -> Seen:
        """Wait until exactly these apps are there."""
        return self.until(lambda state: state.synced and set(state.apps) == set(apps))


def main() -> None:
    """Run a source and print its states, until the process is ended."""
    from gevent import monkey

    monkey.patch_all()

    import logging
    import os

    from gevent.event import AsyncResult

    from consulcast import tags
    from consulcast.consul.settings import settings_from
    from consulcast.consul.source import ConsulSource
    from consulcast.model import App

    arguments = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    over: AsyncResult[None] = AsyncResult()

    def vips(app: App) -> list[str]:
        return [str(vip) for vip in app.vips]

    def show() -> None:
        state = source.state
        seen = Seen(
            state.synced,
            {app.key.id: vips(app) for app in state.apps},
            {key.app.id: verdict.health for key, verdict in state.verdicts.items()},
            {key.app.id: verdict.detail for key, verdict in state.verdicts.items()},
            {item.key.id: item.detail for item in state.refused},
            state.stale_reason,
        )
        print(json.dumps(vars(seen)), flush=True)

    source = ConsulSource(
        settings_from(os.environ, **arguments["settings"]),
        arguments["node"],
        tags.parse,
        show,
        failed=over.set_exception,
        **arguments["source"],
    )
    source.start()
    over.get()


if __name__ == "__main__":
    main()
