from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "from consulcast.executor.bgp import launcher\nimport os, sys\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_settings_of_exabgp_in_the_environment_are_replaced_by_ours() -> None:
    done = run(
        """
        launcher.set_environment("/x/exabgp.env")
        print({name: value for name, value in os.environ.items() if "xabgp" in name.lower()})
        """,
        exabgp_cli_pipe="/tmp/x",
        EXABGP_ETC="/tmp",
        **{"exabgp.log.level": "DEBUG"},
    )
    assert "cli_pipe" not in done.stdout
    assert "EXABGP_ETC" not in done.stdout
    assert "DEBUG" not in done.stdout
    assert "'EXABGP_ENVFILE': '/x/exabgp.env'" in done.stdout
    assert "'exabgp_api_cli': 'false'" in done.stdout


def test_it_does_not_start_for_a_parent_that_is_gone() -> None:
    done = run("launcher.die_with(os.getpid())")
    assert done.returncode == 1
    assert "is gone" in done.stderr


def test_it_dies_with_the_thread_that_started_it() -> None:
    done = run(
        """
        import subprocess, threading, time
        code = (
            "import os, time; from consulcast.executor.bgp import launcher; "
            "launcher.die_with(os.getppid()); print(1, flush=True); time.sleep(60)"
        )
        def start():
            global child
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            child.stdout.readline()
        thread = threading.Thread(target=start); thread.start(); thread.join()
        print(child.wait(20))
        """
    )
    assert done.stdout.split() == ["-9"], done.stderr


def test_it_gets_the_signal_that_it_asked_for() -> None:
    done = run(
        """
        import signal, subprocess, threading
        code = (
            "import os, signal, time; from consulcast.executor.bgp import launcher; "
            "launcher.die_with(os.getppid(), signal.SIGTERM); print(1, flush=True); time.sleep(60)"
        )
        def start():
            global child
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            child.stdout.readline()
        thread = threading.Thread(target=start); thread.start(); thread.join()
        print(child.wait(20))
        """
    )
    assert done.stdout.split() == ["-15"], done.stderr


def test_gevent_is_not_imported_and_exabgps_own_commands_neither() -> None:
    done = run(
        """
        from exabgp.application import server
        print([name for name in sys.modules if name.split(".")[0] in ("gevent", "click", "flask", "asyncore")])
        """
    )
    assert done.stdout.strip() == "[]", done.stderr
