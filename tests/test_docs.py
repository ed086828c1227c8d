"""The pages: each can be reached, each link leads somewhere, and what they show as a file is one."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from consulcast import config, reference
from consulcast.document import ConfigError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "bench/README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|<!--.*?-->", re.DOTALL | re.MULTILINE)  # and comments
_PATH = re.compile(
    r"`((?:docs|deploy|integration|tests|bench)/[\w./-]+|consulcast/[\w/]+\.py|[A-Z]+\.md|config\.example\.yaml)`"
)
# What a page says of a host's own files, users and limits is not there where the tests run.
_OF_A_HOST = re.compile(r"there is no (file|user)|cannot be read|cannot be used")
NEEDED = {"local_as": 64512, "peer_as": 64513}


def links(page: Path) -> set[Path]:
    """Files that a page leads to: by a link, or by a path in backticks from the top."""
    text = page.read_text()
    plain = _CODE.sub("", text)
    found = {
        page.parent / target.partition("#")[0] for target in _LINK.findall(plain) if not re.match(r"\w+:|#", target)
    }
    return {path.resolve() for path in found | {ROOT / path for path in _PATH.findall(plain)}}


def anchors(page: Path) -> set[str]:
    """What may stand behind a # in a link to a page."""
    headings = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [str(path) for path in links(page) if not path.exists()] == []
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if anchor and not re.match(r"\w+:", target):
            assert anchor in anchors((page.parent / path).resolve() if path else page), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = {ROOT / "README.md"}
    while waiting:
        page = waiting.pop()
        seen.add(page)
        if page.suffix == ".md":
            waiting |= {path for path in links(page) if path.is_file()} - seen
    assert [str(page) for page in PAGES if page not in seen] == []


def snippets() -> list[object]:
    """Every block of YAML that is a part of a configuration file."""
    found: list[object] = []
    for page in PAGES:
        for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)):
            if not text.startswith("# not consulcast's"):
                found.append(pytest.param(text, id=f"{page.stem}-{number}"))
    return found


def complaint(text: str) -> str:
    """What the daemon would say of a file."""
    try:
        config.parse("snippet.yaml", text)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", snippets())
def test_what_a_page_shows_as_configuration_is_one(text: str) -> None:
    written = yaml.safe_load(text)
    jsonschema_rs.validator_for((ROOT / reference.SCHEMA).read_text()).validate(written)
    bgp = {**NEEDED, **(written.get("bgp") or {})}
    commands = written.get("commands") or {
        name: {"argv": ["/bin/true"]} for name in re.findall(r"exec:@([\w-]+)", text)
    }
    whole = yaml.safe_dump({**written, "bgp": bgp, **({"commands": commands} if commands else {})}, sort_keys=False)
    assert not (said := complaint(whole)) or _OF_A_HOST.search(said), said


def test_what_is_shown_is_enough_to_be_tried() -> None:
    assert len(snippets()) > 8
