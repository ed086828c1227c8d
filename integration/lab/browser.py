"""A real Chromium, without a screen, on a host of the lab."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, sync_playwright

from integration.lab.host import Host

__all__ = ["Browser", "Error", "Page", "browser", "watched"]

# As root there is no sandbox: what it opens here is our own page. The rest keeps it from calling its maker.
_FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@contextlib.contextmanager
def browser(host: Host) -> Iterator[Browser]:
    """Start the distribution's Chromium on ``host``; it is spoken to through a pipe, which no namespace stops."""
    program = shutil.which("chromium") or "/usr/bin/chromium"
    start = host.lab.dir / f"chromium-{host.name}"
    start.write_text(f'#!/bin/sh\nexec ip netns exec {host.netns} {program} "$@"\n')
    start.chmod(0o755)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=start, args=_FLAGS, chromium_sandbox=False)
        try:
            yield made
        finally:
            made.close()


def watched(page: Page) -> list[str]:
    """Return a list that fills with what goes wrong on a page: errors, warnings, violations of its policy."""
    wrong: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    def asked(dialog: Dialog) -> None:
        wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def failed(error: Error) -> None:
        wrong.append(str(error))

    page.on("console", said)
    page.on("pageerror", failed)
    page.on("dialog", asked)
    return wrong
