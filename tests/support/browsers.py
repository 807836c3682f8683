"""The browsers that are installed, as Playwright drives them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, sync_playwright

from tests.support.tools import require_tool, skip

_MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""Chromium's own device, which beeps once a second."""
_PICTURE = ["--disable-gpu"]
"""Drawing by Chromium itself: without this it emulates a GPU, which takes more processor time than the page does."""
_LOUDSPEAKER: dict[str, str | float | bool] = {"media.cubeb.sandbox": False, "media.cubeb.force_mock_context": True}
"""Firefox's own device, without which it plays nothing where there is no real one."""


@contextmanager
def browser_of(name: str) -> Iterator[Browser]:
    """Start ``chromium`` or ``firefox-esr``. Skips where it is not installed, or older than Playwright can drive."""
    program = require_tool(name)
    with sync_playwright() as playwright:
        try:
            if name == "chromium":
                browser = playwright.chromium.launch(
                    executable_path=program, args=["--no-sandbox", *_PICTURE, *_MICROPHONE]
                )
            else:  # "moz-firefox": WebDriver BiDi, which any Firefox speaks
                browser = playwright.firefox.launch(
                    executable_path=program, channel="moz-firefox", firefox_user_prefs=_LOUDSPEAKER
                )
        except Error as error:
            if "unknown command" not in str(error):
                raise
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
            skip(f"{version} is older than Playwright can drive (apt update, then apt install {name})")
        yield browser
        browser.close()
