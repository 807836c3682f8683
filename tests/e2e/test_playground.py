"""The playground in a real browser: what is heard, seen and said there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright

from benchmarks.attacks.server_process import ServerProcess
from server.api_keys import add_key
from tests.support.audio import SAMPLE_RATE, SPEECH
from tests.support.http import HTTP
from tests.support.metrics import wait_for_idle
from tests.support.tools import require_tool

MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""Chromium's own device, which beeps once a second."""
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *MICROPHONE])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """The playground, in which nothing may go wrong unsaid."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(server)
    expect(page.locator("#model option")).not_to_have_count(0)
    yield page
    context.close()
    assert not wrong, wrong
    wait_for_idle(server)


def choose_voice(page: Page, seconds: str) -> None:
    page.click("[data-prompt=speech]")
    expect(page.locator("#status")).to_contain_text("Press Continue")
    page.fill("#seconds", seconds)


def colours(page: Page) -> int:
    """How many pixels of the picture show sound."""
    return int(
        page.locator("#picture").evaluate(
            "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
            ".filter((byte, i) => i % 4 === 3 && byte > 40).length"
        )
    )


def test_a_bundled_prompt_goes_on_and_is_heard(page: Page) -> None:
    choose_voice(page, "4")
    prompt = colours(page)
    assert prompt > 1000
    page.click("#go")
    expect(page.locator("#status")).to_have_text("Playing.")
    expect(page.locator("#underruns")).to_have_text("0")
    expect(page.locator("#status")).to_have_text("4.00 s, completed.", timeout=WAIT_MS)
    assert page.inner_text("#first_audio").endswith(" ms") and colours(page) > 1.2 * prompt
    # Played at the pace of listening: what came early is still in hand, and then it is heard to its end.
    expect(page.locator("#buffer")).to_have_text("0 ms", timeout=WAIT_MS)
    with page.expect_download() as downloading:
        page.click("#download")
    samples, rate = soundfile.read(io.BytesIO(Path(downloading.value.path()).read_bytes()))
    assert rate == SAMPLE_RATE and len(samples) == 4 * SAMPLE_RATE and abs(samples).max() > 0.01


def test_what_is_played_can_be_heard(page: Page) -> None:
    """The browser's own loudspeaker path carries sound: its analyser sees it."""
    choose_voice(page, "20")
    page.evaluate(
        "() => { const Real = window.AnalyserNode;"
        " window.AnalyserNode = class extends Real { constructor(...a) { super(...a); window.seen = this; } } }"
    )
    page.click("#go")
    expect(page.locator("#status")).to_have_text("Playing.")
    loudest = 0.0
    for _ in range(30):
        page.wait_for_timeout(100)
        loudest = max(
            loudest,
            page.evaluate(
                "() => { const samples = new Float32Array(window.seen.fftSize);"
                " window.seen.getFloatTimeDomainData(samples); return Math.max(...samples.map(Math.abs)); }"
            ),
        )
    assert loudest > 0.01
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("cancelled.")


def test_the_microphone_is_sent_while_it_records(page: Page) -> None:
    page.fill("#seconds", "2")
    page.click("#record")
    expect(page.locator("#prompt_name")).to_contain_text("recorded, 2.", timeout=WAIT_MS)
    assert colours(page) > 0
    page.click("#record")
    expect(page.locator("#status")).to_have_text("2.00 s, completed.", timeout=WAIT_MS)
    expect(page.locator("#record")).to_have_text("Record")


def test_a_file_forks_and_changes_while_it_plays(page: Page) -> None:
    page.set_input_files("#file", SPEECH)
    expect(page.locator("#status")).to_contain_text("prompt.flac: 4.0 s")
    page.fill("#seconds", "30")
    page.keyboard.press("Tab")
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press(" ")
    expect(page.locator("#status")).to_have_text("Playing.")
    seed = page.get_attribute("#seed", "placeholder")
    page.locator("#temperature").fill("0.5")
    expect(page.locator("#temperature_value")).to_have_text("0.5")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_contain_text("cancelled.")
    page.click("#go")
    expect(page.locator("#status")).to_have_text("Playing.")
    page.click("#fork")
    expect(page.locator("#status")).to_contain_text("Another future")
    assert page.get_attribute("#seed", "placeholder") != seed
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("cancelled.")
    page.click("#copy_curl")
    expect(page.locator("#status")).to_contain_text("c")


def test_a_lost_connection_is_made_anew_and_nothing_is_missing(page: Page, server: str) -> None:
    connections: list[WebSocketRoute] = []

    def cut_the_first(route: WebSocketRoute) -> None:
        connections.append(route)
        upstream, parts = route.connect_to_server(), 0

        def pass_on(message: str | bytes) -> None:
            nonlocal parts
            parts += isinstance(message, bytes)
            if len(connections) == 1 and parts == 30:
                upstream.close()
                route.close(code=1011)
            elif len(connections) > 1 or parts < 30:
                route.send(message)

        upstream.on_message(pass_on)

    page.route_web_socket("**/stream?*", cut_the_first)
    samples = {}
    for seed in ("5", "5"):
        choose_voice(page, "5")
        page.fill("#seed", seed)
        page.click("#go")
        expect(page.locator("#status")).to_have_text("5.00 s, completed.", timeout=WAIT_MS)
        with page.expect_download() as downloading:
            page.click("#download")
        samples[len(connections)], _ = soundfile.read(downloading.value.path())
    cut, whole = samples[2], samples[3]
    assert len(cut) == len(whole) == 5 * SAMPLE_RATE
    assert np.corrcoef(cut[:24_000], whole[:24_000])[0, 1] > 0.999


def test_what_is_no_audio_is_said(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("these are words")
    page.set_input_files("#file", tmp_path / "notes.wav")
    expect(page.locator("#status")).to_contain_text("cannot show it")
    page.click("#go")
    expect(page.locator("#status")).to_have_attribute("data-kind", "error")
    expect(page.locator("#status")).to_contain_text("audio")


def test_a_refused_microphone_is_said(server: str, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    page.goto(server)
    page.click("#record")
    expect(page.locator("#status")).to_contain_text("The microphone was refused; allow it")
    context.close()


def test_a_browser_without_live_audio_is_told_so(server: str, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("delete window.AudioWorkletNode")
    page.goto(server)
    choose_voice(page, "1")
    page.click("#go")
    expect(page.locator("#status")).to_contain_text("This browser cannot play live audio; one from 2021")
    context.close()


def test_a_browser_without_modules_is_told_so(server: str, browser: Browser) -> None:
    """It runs what is marked ``nomodule``, which Chromium does not; so the test runs that."""
    context = browser.new_context()
    page = context.new_page()
    page.route("**/main.js", lambda route: route.abort())
    page.goto(server)
    address = page.locator("script[nomodule]").get_attribute("src")
    page.add_script_tag(url=f"{server}{address}")
    expect(page.locator("#status")).to_contain_text("too old for the playground")
    context.close()


def test_keys_and_a_server_that_goes(browser: Browser, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.toml", "page", None, None)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    with ServerProcess("--keys", str(tmp_path / "keys.toml")) as process:
        page.goto(process.url)
        expect(page.locator("#status")).to_contain_text("This server asks for a key")
        page.fill("#key", "wgpt_wrong")
        page.click("#unlock")
        expect(page.locator("#status")).to_contain_text("The key is not known here")
        page.fill("#key", key)
        page.click("#unlock")
        expect(page.locator("#status")).to_have_text("The key fits.")
        expect(page.locator("#access")).to_be_hidden()
        choose_voice(page, "60")
        page.click("#go")
        expect(page.locator("#status")).to_have_text("Playing.")
        process.kill()
        expect(page.locator("#status")).to_have_text("The connection was lost; trying to go on …")
        page.click("#stop")
        expect(page.locator("#status")).to_have_text("Stopped.")
        page.click("#go")
        expect(page.locator("#status")).to_contain_text("cannot be reached; is it running?")
    context.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "dark"), (1200, 760, "light")])
def test_it_fits_a_phone_and_a_desk(browser: Browser, server: str, width: int, height: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(server)
    expect(page.locator("#model option")).not_to_have_count(0)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "it has to be scrolled sideways"
    small = page.evaluate(
        "() => [...document.querySelectorAll('button:enabled, .button, select')]"
        ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 38).map(one => one.id)"
    )
    assert small == [], "fingers need room"
    context.close()


@pytest.mark.parametrize("wanted", ["mp3", "opus", "wav", "flac"])
def test_an_audio_element_plays_an_address(page: Page, server: str, wanted: str) -> None:
    form = {"seconds": "2", "response_format": wanted}
    made = HTTP.post(f"{server}/v1/play", data=form, files={"audio": SPEECH.read_bytes()}).json()
    page.click("h1")  # browsers play only for those who did something
    heard, wrong = page.evaluate(
        "async (url) => { const audio = new Audio(url); await audio.play();"
        " for (let i = 0; i < 60 && !audio.ended && !audio.error; i++) await new Promise((go) => setTimeout(go, 100));"
        " return [audio.currentTime, audio.error?.message ?? null]; }",
        made["url"],
    )
    assert wrong is None and heard == pytest.approx(2, abs=0.15)
