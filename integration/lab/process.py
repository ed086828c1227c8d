"""A process of the lab: its output goes to a log file, and it is ended by its id."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from integration.lab.wait import NotInTime, until


class Process:
    """One running program. Dies with the thread that started it, in whatever way that ends."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._wait_from = 0
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**_environment(), **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The program's own process id (not a wrapper's)."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.alive:
            self._child.send_signal(number)

    def stop(self, timeout: float = 10.0) -> int:
        """End it with SIGTERM, with SIGKILL after ``timeout`` seconds. Returns the exit status."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """End it with SIGKILL. Returns the exit status."""
        self.signal(signal.SIGKILL)
        return self._child.wait(10)

    def wait(self, timeout: float) -> int:
        """Wait for its own end. Returns the exit status; raises ``NotInTime``."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NotInTime(f"{self.name} has not ended within {timeout:g} s") from None

    def pause(self) -> None:
        """Freeze it: it keeps its sockets and answers nothing. Returns when its last thread has stopped."""
        self.signal(signal.SIGSTOP)
        until(self._frozen, 5.0, f"{self.name} is frozen", every=0.001)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self.signal(signal.SIGCONT)

    def _frozen(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads)

    def text(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace")

    def mark(self) -> None:
        """Let the next ``wait_line`` look only at what is printed from now on."""
        self._wait_from = self.log.stat().st_size

    def wait_line(self, pattern: str, deadline: float = 10.0) -> str:
        """Wait for a line of the log that ``pattern`` (a regular expression) matches somewhere, and return it.

        Looks from the last ``mark`` on. Raises ``NotInTime``, also when the process ends without it.
        """
        wanted = re.compile(pattern)
        end = time.monotonic() + deadline
        while True:
            ended = not self.alive
            with self.log.open("rb") as log:
                log.seek(self._wait_from)
                lines = log.read().decode(errors="replace").splitlines()
            for line in lines:
                if wanted.search(line):
                    return line
            if ended or time.monotonic() >= end:
                why = f"ended with {self.returncode}" if ended else f"not within {deadline:g} s"
                raise NotInTime(
                    f"{self.name}: no line matches {pattern!r} ({why}); last lines:\n" + "\n".join(lines[-15:])
                )
            time.sleep(0.01)


def _environment() -> dict[str, str]:
    """Return the environment without what would lead a program to somebody's real Consul."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
