"""Screenshots of the playground in Chromium and Firefox, on a desk and on a phone, light and dark."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

BROWSERS = {"chromium": "chromium", "firefox": "firefox-esr"}
"""Browsers by their names in Playwright, with their programs."""
WAIT_MS = 60_000
COLOURS = 96
"""Most colours of a picture."""
AREAS = 12
"""Number of the most frequent colours, which a picture keeps exactly."""
SEED = 1

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@dataclass(frozen=True)
class Screen:
    """A window's size in CSS pixels, its ratio of pixels to those, and whether fingers operate it."""

    width: int
    height: int
    ratio: float
    touched: bool


DESK = Screen(1280, 800, 1.5, touched=False)
PHONE = Screen(390, 844, 2, touched=True)


@dataclass(frozen=True)
class Shot:
    """A picture ``name-light.png`` and ``name-dark.png``: a browser, a screen, and what happens before it is taken."""

    name: str
    browser: str
    screen: Screen
    prepare: Callable[[Page], None]
    whole: bool = False
    """Whether all of the page is in it, instead of what the window shows."""


def photograph(url: str, folder: Path) -> list[str]:
    """Write the screenshots of the playground at ``url``, and return the programs of browsers that are missing."""
    folder.mkdir(exist_ok=True)
    missing = [program for program in BROWSERS.values() if shutil.which(program) is None]
    with sync_playwright() as playwright:
        for shot in SHOTS:
            if BROWSERS[shot.browser] in missing:
                continue
            for scheme in SCHEMES:
                with _page(playwright, shot, scheme) as page:
                    page.goto(url)
                    expect(page.locator("#model option")).not_to_have_count(0)
                    shot.prepare(page)
                    page.mouse.move(0, 0)  # leaves the button that was pressed
                    _save(page.screenshot(full_page=shot.whole), folder / f"{shot.name}-{scheme}.png")
    return missing


@contextmanager
def _page(playwright: Playwright, shot: Shot, scheme: Scheme) -> Iterator[Page]:
    """Yield an empty page of a new browser with the screen and colours of a shot."""
    screen = shot.screen
    browser = _launch(playwright, shot, scheme)
    context = browser.new_context(
        viewport={"width": screen.width, "height": screen.height},
        device_scale_factor=screen.ratio,
        color_scheme=scheme,
        has_touch=screen.touched,
        is_mobile=screen.touched,
    )
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    yield page
    browser.close()


def _launch(playwright: Playwright, shot: Shot, scheme: Scheme) -> Browser:
    """Start the browser of a shot.

    Firefox runs over WebDriver BiDi, which lacks Playwright's emulation of colour schemes and touch. Its preferences
    have both.
    """
    program = shutil.which(BROWSERS[shot.browser])
    if shot.browser == "chromium":
        return playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
    pointer = 1 if shot.screen.touched else 6  # coarse; fine, and hovers
    preferences: dict[str, str | float | bool] = {
        "layout.css.prefers-color-scheme.content-override": 0 if scheme == "dark" else 1,
        "ui.primaryPointerCapabilities": pointer,
        "ui.allPointerCapabilities": pointer,
        "ui.useOverlayScrollbars": 1,
        "media.cubeb.sandbox": False,
        "media.cubeb.force_mock_context": True,  # plays without a loudspeaker
    }
    return playwright.firefox.launch(executable_path=program, channel="moz-firefox", firefox_user_prefs=preferences)


def _idle(page: Page) -> None:
    """Leave the page as it opens, once its first prompt is chosen."""
    expect(page.locator("#status")).to_contain_text("Press Continue")


def _choose(page: Page, prompt: str) -> None:
    """Choose a bundled prompt."""
    expect(page.locator("#prompt_name")).not_to_have_text("none yet")
    page.click(f"[data-prompt={prompt}]")
    expect(page.locator(f"[data-prompt={prompt}]")).to_have_attribute("aria-pressed", "true")


def _take(page: Page, prompt: str, seconds: int) -> None:
    """Make a take of a bundled prompt, and hear it to its end."""
    _choose(page, prompt)
    _fill(page, "#seconds", seconds)
    _fill(page, "#seed", SEED)
    page.click("#go")
    expect(page.locator("#status")).to_contain_text("Done", timeout=WAIT_MS)


def _fork(page: Page, second: float) -> None:
    """Fork what is shown at a second, and hear it for a moment."""
    _seek(page, second)
    page.click("#fork")
    page.wait_for_function(
        "second => Number(document.querySelector('#picture').ariaValueNow) > second", arg=second + 1.5
    )


def _takes(page: Page) -> None:
    """Make two takes and play a fork of the second."""
    _take(page, "piano", 4)
    _take(page, "speech", 6)
    _fork(page, 7)


def _advanced(page: Page) -> None:
    """Make a take, and open all that is folded."""
    _take(page, "speech-woman", 5)
    page.click("#advanced summary")
    page.click(".more summary")


def _playing(page: Page) -> None:
    """Play a take."""
    _choose(page, "piano")
    _fill(page, "#seconds", 6)
    page.click("#go")
    page.wait_for_function("() => Number(document.querySelector('#picture').ariaValueNow) > 6.5")


def _scrolled(page: Page) -> None:
    """Make a take and play a fork, with the list of takes in sight."""
    _take(page, "speech", 5)
    _fork(page, 6)
    page.locator("#takes").evaluate("takes => takes.scrollIntoView({block: 'center'})")


def _fill(page: Page, field: str, value: int) -> None:
    """Write a number into a field as a user would; ``Page.fill`` leaves old digits in Firefox."""
    page.locator(field).evaluate(
        "(field, value) => { field.value = value;"
        " for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true })); }",
        str(value),
    )


def _seek(page: Page, second: float) -> None:
    """Go to a second of what is shown with the keys of the picture."""
    page.focus("#picture")
    page.keyboard.press("Home")
    for _ in range(round(second)):
        page.keyboard.press("ArrowRight")


def _save(png: bytes, path: Path) -> None:
    """Write a screenshot with a palette, a third as large: areas keep their colours, the rest has the nearest one.

    The palette counts a colour by the root of its number of pixels. Otherwise lines and texts would lose theirs.
    """
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    pixels = np.asarray(picture, np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, places, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], 1).astype(np.uint8)
    sample = Image.fromarray(np.repeat(colours, np.sqrt(counts).astype(int), 0)[None])
    rest = np.array(sample.quantize(COLOURS - AREAS, Image.Quantize.MEDIANCUT, kmeans=1).getpalette())
    palette = np.concatenate([colours[np.argsort(-counts)[:AREAS]], rest.reshape(-1, 3)]).astype(np.float32)
    nearest = (np.sum(palette**2, 1) - 2 * colours.astype(np.float32) @ palette.T).argmin(1)
    indexed = Image.fromarray(nearest[places].reshape(pixels.shape).astype(np.uint8))
    indexed.putpalette(palette.astype(np.uint8).tobytes())
    indexed.save(path, optimize=True)


SHOTS = (
    Shot("takes", "chromium", DESK, _takes, whole=True),
    Shot("idle", "firefox", DESK, _idle),
    Shot("advanced", "firefox", DESK, _advanced, whole=True),
    Shot("phone", "chromium", PHONE, _playing),
    Shot("phone-takes", "firefox", PHONE, _scrolled),
)
