"""Modules that are loaded while others work."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from consulcast import hub, loading

BUSY = "import time\nbegan = time.perf_counter()\nwhile time.perf_counter() < began + 0.003:\n    pass\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that is long in the loading: eight modules, one of which needs another."""
    made = tmp_path / "long_in_the_loading"
    made.mkdir()
    for name in "abcdefg":
        (made / f"{name}.py").write_text(BUSY)
    (made / "__init__.py").write_text(BUSY + "from long_in_the_loading import a, b, c, d, e, f, g\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "long_in_the_loading"]:
        del sys.modules[name]
    gc.unfreeze()


def load() -> None:
    with loading.in_turns():
        import long_in_the_loading  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.usefixtures("package")
def test_others_have_their_turn_between_two_modules() -> None:
    hub.breathe()
    turns = 0

    def other() -> None:
        nonlocal turns
        while not loader.dead:
            turns += 1
            gevent.sleep(0)

    loader = gevent.spawn(load)
    gevent.joinall([loader, gevent.spawn(other)], raise_error=True)
    assert "long_in_the_loading.g" in sys.modules
    assert turns >= 5
    assert gc.isenabled()


@pytest.mark.usefixtures("package")
def test_who_needs_the_same_meanwhile_waits_until_it_is_there() -> None:
    def other() -> Any:
        import long_in_the_loading

        return long_in_the_loading.g

    loader = gevent.spawn(load)
    gevent.sleep(0.004)
    asked = gevent.spawn(other)
    gevent.joinall([loader, asked], raise_error=True)
    assert asked.value is sys.modules["long_in_the_loading.g"]


@pytest.mark.usefixtures("package")
def test_what_cannot_be_loaded_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "long_in_the_loading/g.py").write_text("raise ValueError('broken')\n")
    before = list(sys.meta_path)
    with pytest.raises(ValueError, match="broken"):
        load()
    assert sys.meta_path == before
    assert gc.isenabled()
