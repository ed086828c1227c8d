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
