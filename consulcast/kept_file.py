"""A state file as its one writer sees it: written in a thread, and again when a write has failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from gevent.threadpool import ThreadPool

from consulcast import state_file

log = logging.getLogger(__name__)

RETRY = 10.0  # seconds until a write that failed is tried again


class NotStored(Exception):
    """A change that could not be written; the message says what holds now. ``full``: the disk has no room."""

    def __init__(self, message: str, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


STOPPING = "nothing is changed: the daemon is stopping"  # what is said to who comes too late


class KeptFile:
    """The file at ``path``. One greenlet at a time calls ``write``."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """``clock``: monotonic, in seconds."""
        self.path = path
        self._clock = clock
        self._retry_at: float | None = None  # after a write that failed
        self._thread = ThreadPool(1)  # an fsync may take long; its own, as resolvers may fill the hub's

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        """Read it, at start; ``None``: there is none. Raises ``OSError``."""
        return state_file.read(self.path)

    def set_aside(self) -> str:
        """Put what cannot be read out of the way, and say where it is."""
        try:
            return f"it is set aside as {state_file.set_aside(self.path)}"
        except OSError as error:
            return f"it cannot be set aside: {error}"

    def write(self, data: bytes) -> OSError | None:
        """Replace what it holds; returns the error. Until a write goes well, one is to be tried every ``RETRY`` s."""
        trouble: OSError | None = self._thread.apply(state_file.try_to_write, (self.path, data))
        if trouble is not None:
            if self._retry_at is None:
                log.error("%s; retried every %.0f s", self._why(trouble), RETRY, extra={"reason": "not-stored"})
            self._retry_at = self._clock() + RETRY
        elif self._retry_at is not None:
            log.info("%s is written again", self.path, extra={"reason": "stored-again"})
            self._retry_at = None
        return trouble

    @property
    def behind(self) -> bool:
        """Whether the last write failed."""
        return self._retry_at is not None

    def due(self) -> bool:
        """Whether it is time to try again."""
        return self._retry_at is not None and self._clock() >= self._retry_at

    def pause(self, deadlines: Iterable[float]) -> float | None:
        """Seconds until the first of these times, or until the next try; ``None``: for ever."""
        times = [*deadlines, *(() if self._retry_at is None else (self._retry_at,))]
        return max(0.0, min(times) - self._clock()) if times else None

    def not_stored(self, what: str, trouble: OSError) -> NotStored:
        """Return the error for who asked: ``what`` holds now, and why it is not written."""
        return NotStored(f"{what}: {self._why(trouble)}", state_file.is_full(trouble))

    def close(self) -> None:
        """End the thread."""
        self._thread.kill()

    def _why(self, error: OSError) -> str:
        return f"{self.path} cannot be written: {error.strerror or error}"
