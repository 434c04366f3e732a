"""A headless Chromium for pages that this package writes: for their tests, and to measure how soon they open.

Playwright's Python package drives a Chromium that is installed already; nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser", "chromium_path", "lacking"]

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def chromium_path() -> str | None:
    """Where a Chromium is; None for nowhere."""
    return next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


def lacking() -> str | None:
    """Why no page can be opened here; None where one can."""
    if chromium_path() is None:
        return "no chromium is installed"
    if find_spec("playwright") is None:
        return "the package playwright is not installed"
    return None


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window.  Raises OSError where :func:`lacking` says why."""
    reason = lacking()
    if reason is not None:
        raise OSError(reason)
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not work for root; the pages are our own, and may load nothing.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
        try:
            yield started
        finally:
            started.close()
