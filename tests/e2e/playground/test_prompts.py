"""The choice of a prompt: bundled recordings, files and their cuts, links, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.support.audio import SAMPLE_RATE, SPEECH
from tests.support.playground import downloaded, elapsed, is_heard, new_page, status_is


def test_what_does_not_fit_is_said(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * SAMPLE_RATE), SAMPLE_RATE)
    page.set_input_files("#file", tmp_path / "silent.wav")
    status_is(page, "silent.wav is silent; choose a recording with sound.")
    page.set_input_files("#file", SPEECH.with_name("piano.flac"))
    status_is(page, "piano.flac: 4.0 s. Sounds like a piano. Press Continue.")
    assert page.input_value("#model") == "piano"
    page.click("#kinds [data-model=speech]")
    status_is(page, "Continued as a voice.")
    page.click("#kinds [data-model=piano]")
    assert page.input_value("#model") == "piano"
    page.click("[data-prompt=piano]")
    expect(page.locator("#kinds")).to_be_hidden()
    page.select_option("#model", "speech")
    status_is(page, "Bach, BWV 333 is a piano; the model speech continues a voice.")
    page.click("#remedy")
    assert page.input_value("#model") == "piano"
    page.click("#own_chips [data-prompt=file]")  # a file has a button like any other
    expect(page.locator("#prompt_name")).to_have_text("piano.flac")


def test_a_long_file_is_cut_to_the_seconds_wanted(page: Page, tmp_path: Path) -> None:
    voice, rate = soundfile.read(SPEECH)
    soundfile.write(tmp_path / "long.wav", np.tile(voice, 20), rate)
    page.set_input_files("#file", tmp_path / "long.wav")
    status_is(page, "long.wav: 80.0 s. Its first 60 s are used")
    assert (page.input_value("#cut_from"), page.input_value("#cut_to")) == ("0.00", "60.00")
    # The right end is dragged to the end; the left one follows, as 60 s are the most.
    box = page.locator("#picture").bounding_box()
    assert box is not None
    width = box["width"] - 58
    page.mouse.move(box["x"] + 38 + width * 60 / 80, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + 100, steps=3)
    page.mouse.up()
    assert (page.input_value("#cut_from"), page.input_value("#cut_to")) == ("20.00", "80.00")
    page.fill("#cut_to", "3.5")
    page.keyboard.press("Tab")
    page.fill("#cut_from", "1")
    page.keyboard.press("Tab")
    status_is(page, "long.wav: seconds 1.0 to 3.5.")
    page.fill("#cut_from", "200")
    page.keyboard.press("Tab")
    status_is(page, "“from” takes 0.0 to 79.5 s of this recording")
    assert (page.input_value("#cut_from"), page.input_value("#cut_to")) == ("1.00", "3.50")
    assert elapsed(page) == 1
    page.click("#play")  # what is used of it is heard, and nothing else
    is_heard(page)
    status_is(page, "Heard to the end.")
    assert elapsed(page) == 3.5
    page.fill("#seconds", "1")
    page.click("#go")
    status_is(page, "Done.")
    assert len(downloaded(page, act="source")) == round(2.5 * SAMPLE_RATE)
    assert len(downloaded(page, act="download_all")) == round(3.5 * SAMPLE_RATE)


def test_every_bundled_prompt_can_be_heard(page: Page) -> None:
    names = page.eval_on_selector_all("[data-hear]", "all => all.map((one) => one.dataset.hear)")
    assert len(names) >= 4
    for name in names:
        page.click(f"[data-hear={name}]")
        title = page.get_attribute(f"[data-prompt={name}]", "title")
        status_is(page, f"The prompt: {title}.")
        expect(page.get_by_role("button", name=f"Pause {title}")).to_have_count(1)
        is_heard(page)
        assert page.input_value("#model") == name.split("-")[0]


DROP = """([text, name]) => {
    const files = new DataTransfer();
    files.items.add(new File([text], name, { type: "application/pdf" }));
    const event = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: files });
    document.querySelector("footer").dispatchEvent(event);
    return event.defaultPrevented;
}"""


def test_a_file_may_be_dropped_anywhere(page: Page) -> None:
    assert page.evaluate(DROP, ["%PDF", "a paper with quite a long name, as papers have.pdf"])
    status_is(page, "does not look like sound (it is application/pdf)")
    expect(page.locator("#prompt_name")).to_have_text("Andrew, reading")  # as before


def test_the_last_choice_counts(page: Page) -> None:
    def late(route: Route) -> None:
        page.wait_for_timeout(700)
        route.continue_()

    page.route("**/prompts/speech-woman.flac", late)
    page.evaluate("() => document.querySelector('[data-prompt=speech-woman]').click()")
    page.click("[data-prompt=piano]")
    status_is(page, "Bach, BWV 333")
    page.wait_for_timeout(1_000)
    expect(page.locator("#prompt_name")).to_have_text("Bach, BWV 333")
    assert page.input_value("#model") == "piano"


def test_what_is_too_short_is_not_sent(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(int(0.3 * SAMPLE_RATE)), SAMPLE_RATE)
    page.set_input_files("#file", tmp_path / "short.wav")
    status_is(page, "short.wav is 0.3 s long; it takes 0.5 to 60 s of sound.")
    expect(page.locator("#prompt_name")).to_have_text("Andrew, reading")  # as before
    expect(page.locator("#takes")).to_be_hidden()


def test_what_is_no_audio_is_said(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("these are words")
    page.set_input_files("#file", tmp_path / "notes.wav")
    status_is(page, "notes.wav: this browser cannot show it, but the server may know it. Is it a voice or a piano?")
    page.click("#go")
    expect(page.locator("#status")).to_have_attribute("data-kind", "error")
    expect(page.locator("#status")).to_contain_text("audio")
    expect(page.locator("#no_picture")).to_contain_text("The server refused it: choose another file.")


def test_a_link_asks_for_its_file_once(context: BrowserContext, server: str) -> None:
    page = new_page(context)
    page.goto(f"{server}/#model=speech&file=voice.wav&step=0,7,1,1,0,1")
    expect(page.locator("#invitation")).to_contain_text("This link continues voice.wav: choose that file.")
    expect(page.locator("#status")).to_have_text("")
    with page.expect_file_chooser() as asked:
        page.click("#choose")
    asked.value.set_files({"name": "voice.wav", "mimeType": "audio/flac", "buffer": SPEECH.read_bytes()})
    status_is(page, "Take by link: voice.wav, 1.0 s.")
    page.close()
