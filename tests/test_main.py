"""Where the program starts."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, sys
from consulcast import __main__ as program
from gevent import events, monkey
asked = []
events.notify = lambda event, notify=events.notify: (asked.append(type(event).__name__), notify(event))
program._patch()
print(json.dumps([asked[-1], monkey.is_module_patched("socket"), "importlib.metadata" in sys.modules]))
"""


def test_the_standard_library_is_patched_without_a_search_through_all_packages() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["GeventDidPatchAllEvent", True, False]


def test_the_first_routes_do_not_wait_for_what_they_do_not_need() -> None:
    modules = "consulcast.daemon, consulcast.core, consulcast.consul.source, consulcast.status, consulcast.web.endpoint"
    probe = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "gevent" in loaded
    assert not loaded & {"flask", "werkzeug", "jinja2", "prometheus_client", "http", "email"}
    assert not loaded & {"pyroute2", "asyncio", "requests", "urllib3", "unittest", "multiprocessing"}
