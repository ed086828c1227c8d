"""The daemon under test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from integration.lab.host import Host
from integration.lab.process import Process


class Daemon:
    """``consulcast run --config FILE`` on a host. Started at once; ``start`` starts it again after its end.

    ``as_gocast``: called as GoCast is, ``consulcast -config=FILE -logtostderr -v=2``. ``through``: a command that
    starts the one behind it, such as ``as_user``'s.
    """

    def __init__(
        self,
        host: Host,
        config: str | Mapping[str, Any],
        *,
        node: str = "",
        env: Mapping[str, str] | None = None,
        as_gocast: bool = False,
        through: Sequence[str] = (),
    ) -> None:
        self.host = host
        self._through = through
        self._as_gocast = as_gocast
        self._env = {**({"CONSUL_NODE": node} if node else {}), **(env or {})}
        self.config = host.lab.dir / f"consulcast-{host.name}.yaml"
        self.configure(config)
        self.process = self.start()

    def configure(self, config: str | Mapping[str, Any]) -> None:
        """Write the configuration file anew; a running daemon is not told."""
        self.config.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False))

    def start(self) -> Process:
        """Start the daemon."""
        program = shutil.which("consulcast", path=str(Path(sys.executable).parent))
        command = [program] if program else [sys.executable, "-m", "consulcast"]
        gocast = (f"-config={self.config}", "-logtostderr", "-v=2")
        arguments = gocast if self._as_gocast else ("run", "--config", str(self.config))
        self.process = self.host.spawn(*self._through, *command, *arguments, name="consulcast", env=self._env)
        return self.process

    def stop(self, timeout: float = 20.0) -> int:
        """End it with SIGTERM, in order. Returns the exit status."""
        return self.process.stop(timeout)

    def kill9(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self.stop()
        self.start()

    def wait_line(self, pattern: str, deadline: float = 10.0) -> str:
        """Wait for a line of its log (since the last ``mark``) that matches, and return it."""
        return self.process.wait_line(pattern, deadline)

    def mark(self) -> None:
        """Let the next ``wait_line`` look only at what is logged from now on."""
        self.process.mark()

    def log(self) -> str:
        """Everything it has logged since its last start."""
        return self.process.text()
