"""Make the sounds and pictures that the README and the site show, from the current weights and code.

``make pictures`` runs this: it writes ``docs/samples/NAME.mp3`` for each bundled prompt, ``docs/demo.png`` and
``docs/playground.png``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from playwright.sync_api import expect, sync_playwright
from whispergpt_client import Client

from cli.arguments import write_audio
from cli.demo import draw, hear_prompt, running_server

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SAMPLE_SECONDS = 8.0
PLAYGROUND_SECONDS = "6"
PLAYGROUND_SIZE = (1280, 800)
PIXEL_RATIO = 1.25
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
"""Paths of browsers that take the picture; the first that exists is used."""
WAIT_MS = 60_000


@dataclass(frozen=True)
class Sample:
    """A prompt and its continuation, int16 at 24 kHz."""

    prompt: npt.NDArray[np.int16]
    continuation: npt.NDArray[np.int16]

    @property
    def audio(self) -> npt.NDArray[np.int16]:
        """The two, one behind the other."""
        return np.concatenate([self.prompt, self.continuation])


def make_sample(url: str, model: str, prompt: Path, seed: int) -> Sample:
    """Continue ``prompt`` with ``model`` and return what is heard.

    Raises:
        WhisperGPTError: the server refuses or fails.
    """
    with Client(url) as client:
        heard = hear_prompt(client, prompt, model)
        with client.stream(prompt, seconds=SAMPLE_SECONDS, pace="fast", seed=seed, model=model) as stream:
            pcm = np.frombuffer(b"".join(stream), "<i2")
    return Sample(heard, pcm)


def photograph_playground(url: str, chromium: Path, picture: Path) -> None:
    """Let the playground continue the bundled voice and write what it looks like then."""
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
        page.fill("#seed", "1")
        page.click("#go")
        expect(page.locator("#status")).to_contain_text("Done", timeout=WAIT_MS)
        page.screenshot(path=picture)
        browser.close()


def main() -> int:
    """Make everything; return 1 if no browser is installed, since then one picture stays as it was."""
    (DOCS / "samples").mkdir(exist_ok=True)
    chromium = next((path for path in map(Path, CHROMIUM) if path.exists()), None)
    with running_server([]) as url:
        voice = make_sample(url, "speech", ROOT / "examples" / "prompt.flac", seed=1)
        piano = make_sample(url, "piano", ROOT / "examples" / "piano.flac", seed=1)
        write_audio(DOCS / "samples" / "speech.mp3", voice.audio)
        write_audio(DOCS / "samples" / "piano.mp3", piano.audio)
        draw(voice.audio, len(voice.prompt), DOCS / "demo.png")
        if chromium is not None:
            photograph_playground(url, chromium, DOCS / "playground.png")
    if chromium is None:
        sys.stderr.write("docs/playground.png is as it was: no Chromium is installed to take it with.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
