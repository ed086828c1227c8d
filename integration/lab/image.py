"""The project's Docker image, built without a network."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path
from typing import Any

from docker.errors import BuildError

from integration.lab.engine import Engine

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache/image"  # filled by integration/setup.sh image
BASE, IMAGE = "consulcast-base:local", "consulcast:local"
PATIENCE = 300  # seconds that a step of the build may be silent


class NoBaseImage(RuntimeError):
    """There is nothing to build the image from."""


def build_image(engine: Engine) -> str:
    """Build the Dockerfile as it is, and return the image's name. Raises ``NoBaseImage``.

    The base is a Debian that brings its own folder of packages for apt, and one for pip: the steps are those that a
    user's build takes, with other indexes.
    """
    root, packages = _cached("base-*.tar"), _cached("packages-*")
    name, tag = BASE.split(":")
    with contextlib.closing(engine.client(PATIENCE)) as client:
        client.api.import_image_from_file(str(root), repository=name, tag=tag)
        _build(client, BASE, fileobj=_context(packages), custom_context=True)
        indexes = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/packages"}
        _build(client, IMAGE, path=str(PROJECT), network_mode="none", buildargs={"BASE": BASE, **indexes})
    return IMAGE


def _cached(pattern: str) -> Path:
    found = sorted(CACHE.glob(pattern))
    if not found:
        raise NoBaseImage(f"no {CACHE}/{pattern}: run `make base-image`")
    return found[-1]


def _context(packages: Path) -> io.BytesIO:
    """Return a build context that adds the Python packages to the base."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        text = f"FROM {BASE}\nCOPY packages /packages\n".encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
        tar.add(packages, "packages")
    buffer.seek(0)
    return buffer


def _build(client: Any, tag: str, **options: Any) -> None:
    try:
        client.images.build(tag=tag, rm=True, forcerm=True, **options)
    except BuildError as error:
        said = "".join(str(line.get("stream", "")) for line in error.build_log)
        raise AssertionError(f"{tag} was not built: {error}\n{said[-4000:]}") from error
