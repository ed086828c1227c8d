from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> str:
    program = "import sys\nfrom consulcast.executor.bgp import lean\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_module_is_imported_when_it_is_used_and_is_the_real_one_then() -> None:
    code = """
        lean.import_when_used("asyncio")
        import asyncio
        import asyncio as again
        print("asyncio.events" in sys.modules)
        assert again.run.__module__ == "asyncio.runners"
        import asyncio as real
        from asyncio import tasks
        print("asyncio.events" in sys.modules, real is sys.modules["asyncio"], real.run is asyncio.run)
        """
    assert run(code).split() == ["False", "True", "True", "True"]


def test_a_module_within_a_package_and_from_one_that_comes_later_is_found_too() -> None:
    code = """
        lean.import_when_used("logging.handlers")
        lean.import_when_used("asyncio")
        import logging.handlers as handlers
        print("queue" in sys.modules)
        from asyncio.events import AbstractEventLoop
        print(handlers.SysLogHandler.__name__, AbstractEventLoop.__name__)
        """
    assert run(code).split() == ["False", "SysLogHandler", "AbstractEventLoop"]


def test_a_module_that_is_imported_already_stays() -> None:
    assert (
        run('import pprint as known; lean.import_when_used("pprint"); print(sys.modules["pprint"] is known)') == "True"
    )


def test_what_a_module_does_not_have_is_missing_as_ever() -> None:
    code = """
        lean.import_when_used("pprint")
        import pprint
        print(hasattr(pprint, "nothing"), hasattr(pprint, "pformat"))
        """
    assert run(code).split() == ["False", "True"]


def test_exabgp_starts_without_what_it_does_not_use() -> None:
    code = f"""
        sys.path[1:1] = {sys.path!r}
        from consulcast.executor.bgp import patches
        patches.apply(lambda: None)
        from exabgp.application import server
        heavy = ("ssl", "ast", "asyncio.events", "bdb", "gettext", "pickle", "pathlib", "queue")
        print([name for name in heavy if name in sys.modules])
        from exabgp.bgp.message.update.nlri.flow import FlowDestinationPort
        from exabgp.protocol.ip.port import Port
        print(Port(443).name(), str(Port(443)), len(Port.names))
        """
    assert run(code).splitlines() == ["[]", "443 443 0"]


def test_ports_keep_their_names_in_an_exabgp_that_is_not_the_known_one() -> None:
    code = f"""
        sys.path[1:1] = {sys.path!r}
        lean._PORTS_FINGERPRINT = 0
        lean.no_port_names()
        from exabgp.protocol.ip.port import Port
        print(Port(443).name())
        """
    assert run(code) == "https"
