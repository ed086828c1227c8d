"""Counts the daemon's greenlets from inside, without a line in the product: loaded as its ``sitecustomize``.

SIGUSR1 has the number written to the file that CHAOS_GREENLETS names. In a process without that variable, such as
ExaBGP's, nothing is done.
"""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

VARIABLE = "CHAOS_GREENLETS"


def install() -> None:
    """Answer the signal from now on. Imports nothing that gevent would have to patch."""
    path = os.environ.get(VARIABLE)
    if not path:
        return

    counting = False

    def count(*_: object) -> None:
        nonlocal counting
        if counting:  # asked again meanwhile, which on a busy machine went on without end
            return
        counting = True
        try:
            write()
        finally:
            counting = False

    def write() -> None:
        from greenlet import greenlet

        number = sum(issubclass(type(item), greenlet) and not item.dead for item in gc.get_objects())
        written = Path(f"{path}.new")
        written.write_text(str(number))
        written.rename(path)

    signal.signal(signal.SIGUSR1, count)


def environment(directory: Path) -> dict[str, str]:
    """Return what a daemon's environment needs so that it can be asked."""
    shadow = directory / "shadow"
    shadow.mkdir(exist_ok=True)
    (shadow / "sitecustomize.py").write_text("from integration.chaos import greenlets\n\ngreenlets.install()\n")
    project = Path(__file__).parents[2]
    return {VARIABLE: str(directory / "greenlets"), "PYTHONPATH": f"{shadow}{os.pathsep}{project}"}


def ask(pid: int, directory: Path) -> int | None:
    """Ask a daemon; the answer is there within a moment: see ``answer``. ``None``: there is none yet."""
    path = directory / "greenlets"
    if path.exists():
        number = int(path.read_text())
        path.unlink()
        return number
    os.kill(pid, signal.SIGUSR1)
    return None
