"""Recordings by the microphone, and a microphone that cannot be had."""

from __future__ import annotations

import soundfile
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.audio import SPEECH
from tests.support.playground import choose_voice, colours, recorded, status_is
from tests.support.waiting import wait_until


def test_the_microphone_is_sent_while_it_records(page: Page) -> None:
    page.fill("#seconds", "1")
    page.click("#record")
    recorded(page, 2)
    wait_until(lambda: colours(page) > 0, "the recording is drawn")
    page.click("#go")
    status_is(page, "Done.")
    expect(page.locator("#record")).to_have_text("Record")
    # It is a prompt like any other now, and can be kept.
    page.click("#go")
    status_is(page, "Playing.")
    status_is(page, "Done.")
    with page.expect_download() as downloading:
        page.click("#prompt_name a")
    assert soundfile.info(downloading.value.path()).duration > 2


def test_a_recording_that_is_stopped_is_kept(page: Page) -> None:
    page.fill("#seconds", "1")
    page.click("#record")
    for stop in (lambda: page.keyboard.press("Escape"), lambda: page.click("#record")):
        recorded(page, 1)
        stop()
        status_is(page, "Recorded. Press Continue.")
        page.click("h1")
        page.keyboard.press(" ")
        status_is(page, "Done.")
        page.keyboard.press("r")
    page.keyboard.press("Escape")


COUNT_MICROPHONES = """() => {
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    window.tracks = [];
    window.asked = [];
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        await new Promise((go) => asked.push(go));
        const stream = await real(wanted);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
}"""


def allow_the_microphone(page: Page) -> None:
    """Answer the browser's question, once it is asked."""
    page.wait_for_function("() => asked.length > 0")
    page.evaluate("() => asked.splice(0).forEach((go) => go())")


def test_who_presses_twice_begins_once(page: Page) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    choose_voice(page, "1")
    page.dblclick("#go", delay=5)
    status_is(page, "Done.")
    assert len(sockets) == 1
    page.evaluate(COUNT_MICROPHONES)
    page.evaluate("() => { record.click(); record.click(); }")
    page.keyboard.press("r")
    allow_the_microphone(page)
    recorded(page, 1)
    page.click("#go")
    status_is(page, "Done.")
    # Another prompt is chosen while the browser still asks: nobody is recorded.
    page.evaluate("() => record.click()")
    page.set_input_files("#file", SPEECH)
    status_is(page, "prompt.flac: 4.0 s")
    allow_the_microphone(page)
    page.wait_for_function(
        "() => window.tracks.length === 2 && window.tracks.every((one) => one.readyState === 'ended')"
    )
    assert len(sockets) == 2
    page.click("h1")
    for _ in range(5):  # held down: the first starts it, the others are its repetitions
        page.keyboard.down(" ")
    status_is(page, "Playing.")
    page.keyboard.up(" ")
    status_is(page, "Done.")


def test_a_question_that_nobody_answers_can_be_left(page: Page) -> None:
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }")
    page.click("#record")
    status_is(page, "Allow the microphone")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    status_is(page, "Stopped.")
    choose_voice(page, "30")
    page.press("#seconds", "Enter")
    status_is(page, "Playing.")
    page.click("#go")
    status_is(page, "Stopped.")


def test_a_microphone_that_cannot_be_listened_to_is_closed(page: Page) -> None:
    page.evaluate(COUNT_MICROPHONES)
    page.evaluate("() => { AudioContext.prototype.createMediaStreamSource = () => { throw new Error('rates'); }; }")
    page.click("#record")
    allow_the_microphone(page)
    status_is(page, "This browser cannot record at 24 kHz")
    assert page.evaluate("() => window.tracks.map((track) => track.readyState)") == ["ended"]


def test_a_refused_microphone_is_said(server: str, context: BrowserContext) -> None:
    page = context.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    page.goto(server)
    page.click("#record")
    expect(page.locator("#status")).to_contain_text("The microphone was refused; allow it")
    page.close()
