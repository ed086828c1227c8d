"""The private directory that ExaBGP's configuration, socket and log are in."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from consulcast.executor.bgp.errors import RunDirectoryError

_LONGEST_SOCKET_PATH = 107  # bytes, of sockaddr_un
_LARGEST_LOG = 2**20  # bytes
_WHO = re.compile(r"^\S+\s+")  # the column with what speaks


class RunDirectory:
    """A directory that nobody else can look into: the configuration has passwords, the socket takes commands."""

    def __init__(self, path: Path) -> None:
        path = path.absolute()  # ExaBGP changes its directory
        self.path = path
        self.configuration = path / "exabgp.conf"
        self.settings = path / "exabgp.env"
        self.socket = path / "api.sock"
        self.log = path / "exabgp.log"

    def create(self) -> None:
        """Create the directory, or take it over if it is private. Raises ``RunDirectoryError``."""
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET_PATH:
            raise RunDirectoryError(f"the path of the run directory {self.path} is too long for a unix socket in it")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.lstat()
        except OSError as error:
            raise RunDirectoryError(f"run directory {self.path}: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise RunDirectoryError(f"run directory {self.path} must be a directory of this user alone (mode 0700)")

    def write_configuration(self, text: str) -> None:
        """Replace the configuration at once, so that nobody reads half of it. Raises ``RunDirectoryError``."""
        new = self.configuration.with_suffix(".new")
        try:
            new.unlink(missing_ok=True)
            with open(new, "x", opener=lambda path, flags: os.open(path, flags, 0o600), encoding="ascii") as file:
                file.write(text)
            new.replace(self.configuration)
            # ExaBGP must find a file of settings, and must not find the host's own.
            self.settings.touch(mode=0o600)
        except OSError as error:
            raise RunDirectoryError(f"{new}: {error.strerror}") from error

    def begin_log(self) -> None:
        """Begin a new log; the one of the ExaBGP before is kept beside it."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))

    def trim_log(self) -> None:
        """Empty the log if it has grown large. ExaBGP appends, so it goes on at the beginning."""
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            os.truncate(self.log, 0)

    def last_log_line(self) -> str:
        """The last thing that ExaBGP wrote in words, or an empty string: it draws lines, too."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4096))
                lines = file.read().decode("ascii", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if re.search(r"\w", _WHO.sub("", line))), "")

    def clear(self) -> None:
        """Remove what is secret or of no more use; the log stays."""
        self.configuration.unlink(missing_ok=True)
        self.settings.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
