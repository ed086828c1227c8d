"""Starts ExaBGP in this process.

``python -m consulcast.executor.bgp.launcher PARENT_PID SIGNAL CONFIGURATION SETTINGS``. It ends with its
parent, by that signal, in whatever way that ends; it has no capability; it takes no setting from the environment; and
it runs with the changes of ``patches``. No part of gevent is imported here, nor anything else that ExaBGP does not
need: from start to the established session takes about 0.12 s.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pwd
import signal
import sys
from types import SimpleNamespace

from consulcast.executor.bgp import patches, privileges
from consulcast.executor.bgp.fingerprint import DoesNotFit, check

_PR_SET_PDEATHSIG = 1
_SETTINGS = {
    "exabgp_api_cli": "false",  # no named pipes: our relay is the only way in
    "exabgp_log_level": "WARNING",  # INFO writes two lines for every route
    "exabgp_log_destination": "stderr",
    "exabgp_log_short": "true",
    "exabgp_reactor_speed": "1.0",  # sleeps 10 ms at the end of a batch; less costs idle CPU
}

# What its command line is read into; the parser for that would take 3 ms to import.
_OPTIONS = dict.fromkeys(("verbose", "debug", "signal", "once", "pdb", "passive", "memory", "profile"))


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process that signal when ``parent`` ends, and end at once if it has already.

    The signal is sent when the *thread* that started us ends, so the parent starts us from its main thread. The
    kernel forgets the request when the process changes its user or group.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"cannot ask for the parent's death signal: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(f"parent process {parent} is gone")


def set_environment(settings: str) -> None:
    """Replace every setting of ExaBGP in the environment by ours, and tell the relay whose child it will be.

    ``settings`` is an empty file that ExaBGP reads in place of the host's own exabgp.env.
    """
    for name in [name for name in os.environ if name.lower().startswith("exabgp")]:
        del os.environ[name]
    os.environ.update(_SETTINGS, exabgp_daemon_user=_user(), EXABGP_ENVFILE=settings)
    os.environ["CONSULCAST_EXABGP_PID"] = str(os.getpid())


def _user() -> str:
    # ExaBGP stays the user that it is, yet wants the name of one that exists, even where none is looked at.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "root"


def main() -> None:
    """Run ExaBGP, for ever."""
    parent, number, configuration, settings = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    gc.disable()  # nothing that is imported is garbage
    privileges.drop()
    die_with(parent, number)
    set_environment(settings)
    try:
        patches.apply(lambda: die_with(parent, number))
        from exabgp.application import server

        check(server.setargs, 0x94158719)
        check(server.main, 0x5FDFEB59)
    except DoesNotFit as error:
        sys.exit(f"error: {error}")
    gc.freeze()
    gc.enable()
    sys.argv = ["exabgp", configuration]
    server.cmdline(SimpleNamespace(**_OPTIONS, configuration=[configuration]))


if __name__ == "__main__":
    main()
