"""The playground in a browser: what it says, what it makes, and how loud it is."""

from __future__ import annotations

import base64
import io
import re
from typing import cast

import numpy as np
import numpy.typing as npt
import soundfile
from playwright.sync_api import BrowserContext, Locator, Page, TimeoutError, expect

from tests.support.audio import SAMPLE_RATE
from tests.support.waiting import wait_until

WAIT_MS = 30_000
_LISTEN = """
window.said = [];
addEventListener("DOMContentLoaded", () => {
    const status = document.querySelector("#status");
    const note = () => said.push(status.textContent);
    if (status) new MutationObserver(note).observe(status, { childList: true, characterData: true, subtree: true });
});
window.analysers = [];
if (window.AnalyserNode) window.AnalyserNode = class extends AnalyserNode {
    constructor(context, options) { super(context, options); analysers.push(this); }
};
window.loudest = 0;
setInterval(() => {
    const running = analysers.filter((one) => one.context.state === "running");
    for (const one of running) {
        const samples = new Float32Array(one.fftSize);
        one.getFloatTimeDomainData(samples);
        loudest = Math.max(loudest, ...samples.map(Math.abs));
    }
}, 40);
window.files = [];
const createObjectURL = URL.createObjectURL;
URL.createObjectURL = (file) => { files.push(file); return createObjectURL(file); };
const draw = requestAnimationFrame.bind(window);
window.requestAnimationFrame = (step) => setTimeout(() => draw(step), 100);
"""
"""Script that keeps what the page's status said, how loud it was, and the files that the page made.

The picture is drawn nine times a second instead of sixty: without a GPU that takes most of a browser's time."""
_FIND_STATUS = """text => {
    const at = said.findIndex((one) => one.includes(text));
    said.splice(0, at + 1);
    return at >= 0 || document.querySelector("#status").textContent.includes(text);
}"""
_LOUDNESS = "() => { const was = loudest; loudest = 0; return was; }"
_NOTE_PLACES = """() => {
    const picture = document.querySelector("#picture");
    const note = () => places.push(Number(picture.getAttribute("aria-valuenow")));
    if (!window.places) new MutationObserver(note).observe(picture, { attributeFilter: ["aria-valuenow"] });
    window.places = [];
}"""
_LAST_FILE = """() => new Promise((told) => {
    const reader = new FileReader();
    reader.onload = () => told(reader.result.split(",")[1]);
    reader.readAsDataURL(files.at(-1));
})"""
expect.set_options(timeout=WAIT_MS)


def new_page(context: BrowserContext) -> Page:
    """Return an empty page that keeps what the playground says, plays and makes."""
    page = context.new_page()
    page.add_init_script(_LISTEN)
    page.set_default_timeout(WAIT_MS)
    return page


def open_playground(context: BrowserContext, url: str) -> Page:
    """Return the playground once it has listed the models."""
    page = new_page(context)
    page.goto(url)
    expect(page.locator("#model option")).not_to_have_count(0)
    hear_takes_alone(page)
    return page


def choose_voice(page: Page, seconds: str) -> None:
    """Choose a bundled voice, and the length of the take."""
    page.click("[data-prompt=speech]")
    expect(page.locator("#status")).to_contain_text("4.0 s. Press Continue.")
    open_settings(page)
    page.fill("#seconds", seconds)


def open_settings(page: Page) -> None:
    """Open the settings, which are folded in a narrow window."""
    if not page.locator("#seconds").is_visible():
        page.click("#settings > summary")


def hear_takes_alone(page: Page) -> None:
    """Let takes be heard without the prompt's end, which costs a test two seconds."""
    page.locator("#prompt_first").evaluate("box => { box.checked = false; }")


def fill(page: Page, field: str, value: str) -> None:
    """Write a value into a field; Playwright's own ``fill`` leaves a number's digits there in Firefox."""
    page.locator(field).evaluate(
        "(field, value) => { field.value = value;"
        " for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true })); }",
        value,
    )


def status_is(page: Page, text: str) -> None:
    """Wait until the status says so, or has done so behind what was last waited for."""
    try:
        page.wait_for_function(_FIND_STATUS, arg=text, polling=50)
    except TimeoutError:
        raise AssertionError(f"not said: {text!r}; the status is {page.inner_text('#status')!r}") from None


def recorded(page: Page, seconds: int) -> None:
    """Wait until so many seconds, from 1 to 5, are recorded."""
    expect(page.locator("#prompt_name")).to_contain_text(re.compile(rf"recording, [{seconds}-9]\."))


def seed_of(page: Page, take: str) -> str:
    """Return the seed of a take, as its row says it."""
    facts = page.locator(f"[data-take='{take}'] > .line .facts").text_content() or ""
    return re.findall(r"seed\s(\d+)", facts)[0]


def take_button(page: Page, act: str, take: str = "1") -> Locator:
    """Return a button of a take, visible."""
    line = page.locator(f"[data-take='{take}'] > .line")
    button = line.locator(f"[data-do={act}]")
    if not button.is_visible():
        line.locator("summary").click()
    return button


def downloaded(page: Page, take: str = "1", act: str = "download") -> npt.NDArray[np.float64]:
    """Return the samples of the file that a button of a take saves."""
    before = page.evaluate("files.length")
    take_button(page, act, take).click()
    page.wait_for_function("before => files.length > before", arg=before)
    status_is(page, "Saved.")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(page.evaluate(_LAST_FILE))))
    assert rate == SAMPLE_RATE
    return cast(npt.NDArray[np.float64], samples)


def colours(page: Page, made: bool = False) -> int:
    """Return how many pixels of the picture show sound; those of what was made alone, which is orange."""
    return int(
        page.locator("#picture").evaluate(
            "(canvas, made) => { const { data } ="
            " canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            " let count = 0;"
            " for (let at = 0; at < data.length; at += 4)"
            "  count += data[at + 3] > 40 && (!made || data[at] - data[at + 2] > 100);"
            " return count; }",
            made,
        )
    )


def is_heard(page: Page) -> None:
    """Wait until the browser's path to the loudspeaker has carried sound since this was asked last."""
    wait_until(lambda: page.evaluate(_LOUDNESS) > 0.01, "sound")


def checkpoints_of(page: Page) -> list[str]:
    """Return a list that gets each resume token which the page is sent from now on, while Playwright is called."""
    told: list[str] = []

    def note(message: str | bytes) -> None:
        if isinstance(message, str) and "response.checkpoint" in message:
            told.append(message)

    page.on("websocket", lambda socket: socket.on("framereceived", note))
    return told


def note_places(page: Page) -> None:
    """Note from now on each second that is heard, for ``places``: a busy machine may ask too late where one is."""
    page.evaluate(_NOTE_PLACES)


def places(page: Page) -> list[float]:
    """Return the seconds of what is shown that were heard since ``note_places``."""
    return cast(list[float], page.evaluate("places"))


def elapsed(page: Page) -> float:
    """Return the second of what is shown that is heard, or would be."""
    return float(page.get_attribute("#picture", "aria-valuenow") or "nan")


def seek(page: Page, second: float) -> None:
    """Click where this second stands in the picture."""
    box = page.locator("#picture").bounding_box()
    length = float(page.get_attribute("#picture", "aria-valuemax") or "nan")
    assert box is not None
    left, right = 38, 20  # of the axes
    x = left + (box["width"] - left - right) * second / length
    page.click("#picture", position={"x": x, "y": box["height"] / 3})
