"""Make the sounds and pictures of the README and the site with the current weights and code.

``make pictures`` runs this. It writes ``docs/samples/NAME.mp3`` for each bundled prompt, ``docs/demo.png`` and
``docs/playground.png``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright
from whispergpt_client import Client

from whispergpt.cli.arguments import write_audio
from whispergpt.cli.demo import draw, hear, running_server

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SAMPLE_SECONDS = 8.0
SEED = 1
PLAYGROUND_SECONDS = "6"
PLAYGROUND_SIZE = (1280, 800)
PIXEL_RATIO = 1.25
WAIT_MS = 60_000


def photograph_playground(url: str, chromium: str, picture: Path) -> None:
    """Continue the bundled voice in the playground and write a screenshot."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        width, height = PLAYGROUND_SIZE
        page = browser.new_page(
            viewport={"width": width, "height": height}, device_scale_factor=PIXEL_RATIO, color_scheme="light"
        )
        page.set_default_timeout(WAIT_MS)
        page.goto(url)
        page.click("[data-prompt=speech]")
        expect(page.locator("#status")).to_contain_text("Press Continue")
        page.fill("#seconds", PLAYGROUND_SECONDS)
        page.fill("#seed", f"{SEED}")
        page.click("#go")
        expect(page.locator("#status")).to_contain_text("Done", timeout=WAIT_MS)
        page.screenshot(path=picture)
        browser.close()


def main() -> int:
    """Make all files and return the exit status, 1 if no browser is installed for the playground's picture."""
    (DOCS / "samples").mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    with running_server([]) as url, Client(url) as client:
        voice = hear(client, ROOT / "examples" / "prompt.flac", SAMPLE_SECONDS, SEED, "speech")
        piano = hear(client, ROOT / "examples" / "piano.flac", SAMPLE_SECONDS, SEED, "piano")
        write_audio(DOCS / "samples" / "speech.mp3", voice.audio)
        write_audio(DOCS / "samples" / "piano.mp3", piano.audio)
        draw(voice.audio, len(voice.prompt), DOCS / "demo.png")
        if chromium is not None:
            photograph_playground(url, chromium, DOCS / "playground.png")
    if chromium is None:
        sys.stderr.write("docs/playground.png is unchanged: no Chromium is installed.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
