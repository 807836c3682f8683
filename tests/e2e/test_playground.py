"""The playground in a real browser: what is heard, seen and said there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, Page, Route, WebSocketRoute, expect

from tests.support.audio import SAMPLE_RATE, SPEECH
from tests.support.browsers import browser_of
from tests.support.corpus import run_main
from tests.support.http import HTTP
from tests.support.metrics import wait_for_idle
from tests.support.playground import (
    checkpoints_of,
    choose_voice,
    colours,
    downloaded,
    elapsed,
    hear_takes_alone,
    is_heard,
    new_page,
    note_places,
    places,
    recorded,
    seed_of,
    seek,
    status_is,
    take_button,
)
from tests.support.ports import free_port
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browser_of("chromium") as browser:
        yield browser


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One visitor's browser, which knows the files of the page when it opens it again."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, server: str) -> Iterator[Page]:
    """The playground, in which nothing may go wrong unsaid."""
    page = new_page(context)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(server)
    expect(page.locator("#prompt_name")).to_have_text("Andrew, reading")  # chosen at first sight
    expect(page.locator("#prompt_first")).to_be_checked()
    hear_takes_alone(page)
    yield page
    page.close()
    assert not wrong, wrong
    wait_for_idle(server)


def test_a_bundled_prompt_goes_on_and_is_heard(page: Page, tmp_path: Path) -> None:
    choose_voice(page, "4")
    wait_until(lambda: colours(page) > 1000, "the prompt is drawn")
    assert colours(page, made=True) == 0
    page.click("#go")
    status_is(page, "Playing.")
    details = page.locator("[data-take='1'] .details")
    expect(details).to_contain_text(re.compile(r"\ss\sbuffered\s·\s\d+\sdropout"))
    # Played at the pace of listening: what came early is still in hand, and then it is heard to its end.
    status_is(page, "Made; ")
    status_is(page, "Done.")
    expect(details).not_to_contain_text("buffered")
    expect(details).to_contain_text(re.compile(r"first\ssound\safter\s\d+\sms"))
    wait_until(lambda: colours(page, made=True) > 1000, "the take is drawn")
    samples = downloaded(page)
    assert len(samples) == 4 * SAMPLE_RATE and abs(samples).max() > 0.01
    prompt_seconds = soundfile.info(SPEECH).duration
    everything = downloaded(page, act="download_all")
    assert len(everything) / SAMPLE_RATE == pytest.approx(prompt_seconds + 4, abs=0.05)
    with page.expect_download() as downloading:
        take_button(page, "download").click()
    assert downloading.value.suggested_filename == "andrew-take-1.wav"
    file = tmp_path / "take.wav"
    downloading.value.save_as(file)
    assert soundfile.info(file).frames == len(samples)
    assert run_main("verify", file, "--prompt", SPEECH) == 0, "its tags say how it was made"


def test_the_copied_command_makes_the_same_samples(page: Page, tmp_path: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose_voice(page, "2")
    page.click("#go")
    status_is(page, "Done.")
    page.select_option("#model", "piano")  # what is chosen now is not what was made
    take_button(page, "curl").click()
    status_is(page, "The command is in the clipboard.")
    command = page.evaluate("() => navigator.clipboard.readText()")
    require_tool("curl")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    again, _ = soundfile.read(tmp_path / "continuation.wav")
    assert np.array_equal(again, downloaded(page))


def test_what_is_played_can_be_heard(page: Page) -> None:
    """The browser's own loudspeaker path carries sound: its analyser sees it."""
    choose_voice(page, "20")
    page.check("#prompt_first")
    note_places(page)
    page.click("#go")
    status_is(page, "Playing.")
    first = next(place for place in places(page) if place > 0)
    assert first == pytest.approx(2, abs=0.2), "the last two seconds of the prompt are heard first"
    is_heard(page)
    page.click("#go")
    status_is(page, "Stopped.")


def test_prompt_and_continuation_can_be_heard_again(page: Page, tmp_path: Path) -> None:
    voice, rate = soundfile.read(SPEECH)
    soundfile.write(tmp_path / "voice.wav", voice[: round(1.5 * rate)], rate)
    page.set_input_files("#file", tmp_path / "voice.wav")
    status_is(page, "voice.wav: 1.5 s. Sounds like a voice. Press Continue.")
    page.fill("#seconds", "5")
    page.click("h1")
    page.keyboard.press("p")
    status_is(page, "The prompt.")
    page.click("#go")  # in the middle of it
    status_is(page, "Done.")
    page.click("#play")
    status_is(page, "Playing take 1.")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_focused()
    page.keyboard.press(" ")
    status_is(page, "Paused.")
    # A take is heard again without its prompt, or with its end if that is wanted.
    page.click("#play")
    wait_until(lambda: elapsed(page) < 6.4, "the take plays from its beginning")
    assert elapsed(page) >= 1.5
    status_is(page, "Heard to the end.")
    assert elapsed(page) == pytest.approx(6.5, abs=0.05)
    page.check("#prompt_first")
    note_places(page)
    page.click("[data-take='1'] > .line [data-do=play]")
    status_is(page, "Playing take 1.")
    wait_until(lambda: places(page) and min(places(page)) < 1.5, "the prompt is heard before it")


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


def test_a_file_forks_and_changes_while_it_plays(page: Page) -> None:
    page.set_input_files("#file", SPEECH)
    expect(page.locator("#status")).to_contain_text("prompt.flac: 4.0 s")
    page.fill("#seconds", "30")
    page.keyboard.press("Tab")
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press(" ")
    status_is(page, "Playing.")
    page.locator("#temperature").fill("0.5")
    expect(page.locator("#temperature_value")).to_have_text("0.5")
    expect(page.locator("[data-take='1'] .facts")).not_to_contain_text(re.compile(r"\s0\.0\ss"))  # there is some of it
    page.keyboard.press("Escape")
    status_is(page, "Stopped.")
    page.click("#go")
    status_is(page, "Playing.")
    seed = seed_of(page, "2")
    is_heard(page)
    page.keyboard.press("F")
    expect(page.locator("[data-take='2'] [data-take='2.1']")).to_contain_text(re.compile(r"from\s0:\d\d\.\d"))
    status_is(page, "Playing.")
    fork_seed = seed_of(page, "2.1")
    assert fork_seed != seed
    assert "temperature 1 → 0.5" in " ".join(page.inner_text("[data-take='1'] .facts").split())
    # Another prompt takes the place of nothing: what plays is heard and made on.
    page.set_input_files("#file", SPEECH)
    expect(page.locator("#go")).to_have_text("Continue prompt.flac")
    expect(page.locator("#status")).to_contain_text("Fork 2.1 plays on.")
    page.locator("#temperature").fill("0.3")  # of what is shown, not of what plays on
    made = page.inner_text("[data-take='2.1'] .facts")
    expect(page.locator("[data-take='2.1'] .facts")).not_to_have_text(made)
    is_heard(page)
    assert " ".join(page.inner_text("[data-take='2.1'] .facts").split()).endswith("temperature 0.5")
    page.get_by_role("button", name="Stop fork 2.1").click()
    status_is(page, "Press Continue.")
    page.click("#go")
    status_is(page, "Playing.")
    expect(page.locator("[data-take='3']")).to_have_count(1)
    page.click("#go")
    status_is(page, "Stopped.")
    for take in ("1", "2", "2.1"):  # at so low a temperature a moment may be a pause, but not zeros
        assert downloaded(page, take).any()
    take_button(page, "use_seed", "2.1").click()
    assert page.input_value("#seed") == fork_seed
    expect(page.locator("#go")).to_have_text("Same seed again")


def test_a_take_plays_on_to_its_end_beside_the_next_prompt(page: Page) -> None:
    choose_voice(page, "10")
    page.click("#go")
    status_is(page, "Playing.")
    page.click("[data-prompt=piano]")
    page.evaluate("() => said.splice(0)")
    expect(page.locator("#status")).to_have_text("Bach, BWV 333: 4.0 s. Press Continue. Take 1 plays on.")
    expect(page.locator("#remedy")).to_have_text("Stop take 1")
    expect(page.locator("#go")).to_have_text("Continue Bach")
    is_heard(page)
    expect(page.locator("#status")).to_have_text("Bach, BWV 333: 4.0 s. Press Continue.")
    expect(page.locator("[data-take='1'] .facts")).not_to_contain_text("being")  # all of it is made
    expect(page.locator("#remedy")).to_be_hidden()
    expect(page.locator("#go")).to_have_text("Continue")
    assert not page.evaluate("said.some((one) => one.startsWith('Made') || one.startsWith('Done'))")


def test_a_click_or_a_key_in_the_picture_seeks(page: Page) -> None:
    choose_voice(page, "2")
    seek(page, 3)
    assert elapsed(page) == pytest.approx(3, abs=0.05)
    page.keyboard.press("ArrowLeft")
    assert elapsed(page) == pytest.approx(2, abs=0.05)
    page.click("#go")
    status_is(page, "Done.")
    assert elapsed(page) == pytest.approx(6, abs=0.02)
    seek(page, 1)
    page.click("#play")
    is_heard(page)
    seek(page, 5)  # while it plays
    assert elapsed(page) >= 4.95
    status_is(page, "Heard to the end.")
    picture = page.get_by_role("slider", name="Position in the sound")
    page.keyboard.press("Home")
    expect(picture).to_have_attribute("aria-valuetext", "0:00.0 of 0:06.0")


def test_a_fork_is_of_the_part_that_is_heard(page: Page) -> None:
    choose_voice(page, "1")
    page.click("#go")
    status_is(page, "Done.")
    expect(page.locator("#go")).to_have_text("Another take")
    for take, second, label in (("1.1", 5, "Go on"), ("1.2", 4.5, "Fork here")):
        seek(page, second)
        expect(page.locator("#fork")).to_have_text(label)
        page.click("#fork")
        status_is(page, "Playing.")
        expect(page.locator(f"[data-take='{take}'] .facts").first).to_contain_text(f"from 0:0{second:.1f}")
        status_is(page, "Done.")
        page.click("[data-take='1.1'] [data-do=show]")
    seek(page, 1)
    expect(page.locator("#fork")).to_be_disabled()
    page.keyboard.press("f")
    status_is(page, "A fork starts in a take")
    # A take that is removed goes with its forks, and comes back with them.
    take_button(page, "remove", "1").click()
    status_is(page, "Take 1 was removed.")
    expect(page.locator("#takes")).to_be_hidden()
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    assert [row.get_attribute("data-take") for row in page.locator("[data-take]").all()] == ["1", "1.1", "1.2"]
    # Nobody loses them without being asked.
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]


def test_dropouts_are_reported_once(page: Page) -> None:
    reports: list[list[int]] = []
    hold = False

    def pass_on(route: WebSocketRoute) -> None:
        upstream, held, said = route.connect_to_server(), list[str | bytes](), list[int]()
        reports.append(said)

        def down(message: str | bytes) -> None:
            held.append(message)
            while held and not (hold and len(reports) == 1):
                route.send(held.pop(0))

        def up(message: str | bytes) -> None:
            if isinstance(message, str) and "playback.report" in message:
                said.append(json.loads(message)["underruns"])
            upstream.send(message)

        upstream.on_message(down)
        route.on_message(up)

    page.route_web_socket("**/stream?*", pass_on)
    choose_voice(page, "120")
    page.click("#go")
    status_is(page, "Playing.")
    wait_until(lambda: elapsed(page) > 4.5, "the take is heard")
    hold = True
    details = page.locator("[data-take='1'] > .line .details")
    expect(details).to_contain_text(re.compile(r"[1-9]\sdropout"))
    hold = False
    wait_until(lambda: page.evaluate("true") and any(reports[0]), "the dropout is reported")
    page.keyboard.press("p")
    page.keyboard.press("p")
    said = len(reports[0])
    wait_until(lambda: page.evaluate("true") and len(reports[0]) > said, "another report")
    page.click("#fork")
    status_is(page, "Playing.")
    wait_until(lambda: page.evaluate("true") and len(reports) > 1 and reports[1], "a report of the fork")
    page.keyboard.press("Escape")
    status_is(page, "Stopped.")
    # A busy machine may add dropouts of its own, to the fork too: each take has said its own, and no others.
    for name, said_of_it in zip(("1", "1.1"), reports, strict=True):
        details = page.locator(f"[data-take='{name}'] > .line .details")
        shown = re.search(r"(\d+)\sdropout", details.inner_text())
        assert shown and said_of_it == sorted(said_of_it) and said_of_it[-1] <= int(shown[1])
    assert not page.evaluate("said.some((one) => one.includes('must be'))"), "the server takes each report"


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


def test_a_server_that_answers_again_is_said(context: BrowserContext, server: str) -> None:
    page = new_page(context)
    page.goto(server)
    choose_voice(page, "1")
    page.route("**/v1/*", lambda route: route.abort())
    page.click("#go")
    status_is(page, "cannot be reached; is it running?")
    expect(page.locator("#remedy")).to_have_text("Try again")
    page.unroute("**/v1/*")
    status_is(page, "The server answers again.")
    page.click("#remedy")
    status_is(page, "Done.")
    page.close()


def test_plain_http_from_elsewhere_is_said(context: BrowserContext, server: str) -> None:
    page = new_page(context)
    page.route(
        "http://elsewhere.test:9000/**",
        lambda route: route.fulfill(
            response=route.fetch(url=route.request.url.replace("http://elsewhere.test:9000", server))
        ),
    )
    page.goto("http://elsewhere.test:9000/")
    told = "use https, or run ssh -L 9000:localhost:9000 elsewhere.test and open http://localhost:9000."
    for _ in range(2):
        status_is(page, told)
        page.click("#go")
    page.close()


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


def test_what_is_too_short_is_not_sent(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(int(0.3 * SAMPLE_RATE)), SAMPLE_RATE)
    page.set_input_files("#file", tmp_path / "short.wav")
    status_is(page, "short.wav is 0.3 s long; it takes 0.5 to 60 s of sound.")
    expect(page.locator("#prompt_name")).to_have_text("Andrew, reading")  # as before
    expect(page.locator("#takes")).to_be_hidden()


def test_fields_say_what_they_take(page: Page) -> None:
    choose_voice(page, "0")
    page.click("#go")
    expect(page.locator("#wrong_seconds")).to_contain_text("0.1")
    expect(page.locator("#seconds")).to_be_focused()
    expect(page.locator("#go")).to_have_text("Continue")
    page.click("#advanced summary")
    for name in ("Temperature", "Top-k", "Top-p"):
        expect(page.get_by_role("slider", name=name)).to_have_count(1)


def test_a_lost_connection_is_made_anew_and_nothing_is_missing(page: Page, server: str) -> None:
    connections: list[WebSocketRoute] = []

    def cut_the_first(route: WebSocketRoute) -> None:
        connections.append(route)
        upstream, frames, cut = route.connect_to_server(), 0, False

        def pass_on(message: str | bytes) -> None:
            nonlocal frames, cut
            frames += len(message) // 640 if isinstance(message, bytes) else 0
            if len(connections) > 1 or frames < 80:
                route.send(message)
            elif not cut:
                cut = True
                upstream.close()
                route.close(code=1011)

        upstream.on_message(pass_on)

    page.route_web_socket("**/stream?*", cut_the_first)
    samples = {}
    for take in ("1", "2"):
        choose_voice(page, "3")
        page.fill("#seed", "5")
        page.click("#go")
        status_is(page, "Done.")
        samples[len(connections)] = downloaded(page, take)
    cut, whole = samples[2], samples[3]
    assert len(cut) == len(whole) == 3 * SAMPLE_RATE
    assert np.corrcoef(cut[:24_000], whole[:24_000])[0, 1] > 0.999


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


def test_a_refused_microphone_is_said(server: str, context: BrowserContext) -> None:
    page = context.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    page.goto(server)
    page.click("#record")
    expect(page.locator("#status")).to_contain_text("The microphone was refused; allow it")
    page.close()


def test_a_browser_without_live_audio_is_told_so(server: str, context: BrowserContext) -> None:
    page = context.new_page()
    page.add_init_script("delete window.AudioWorkletNode")
    page.goto(server)
    choose_voice(page, "1")
    page.click("#go")
    expect(page.locator("#status")).to_contain_text("This browser cannot play live audio; one from 2021")
    page.close()


def test_a_browser_without_modules_is_told_so(server: str, context: BrowserContext) -> None:
    """It runs what is marked ``nomodule``, which Chromium does not; so the test runs that."""
    page = context.new_page()
    page.route("**/main.js", lambda route: route.abort())
    page.goto(server)
    address = page.locator("script[nomodule]").get_attribute("src")
    page.add_script_tag(url=f"{server}/{address}")
    expect(page.locator("#status")).to_contain_text("too old for the playground")
    page.close()


def test_keys_and_a_server_that_goes(browser: Browser, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.toml", "page", None, None)
    arguments = ["--keys", str(tmp_path / "keys.toml"), "--port", str(free_port())]
    context = browser.new_context()
    page = new_page(context)
    checkpoints = checkpoints_of(page)

    def can_be_resumed(before: int) -> None:
        wait_until(lambda: page.evaluate("true") and len(checkpoints) > before, "a resume token")

    with ServerProcess(*arguments) as process:
        page.goto(process.url)
        expect(page.locator("#access")).to_contain_text("This server asks for a key")
        expect(page.locator("#key")).to_be_focused()
        for part in ("#stage", "#controls", "#takes", "footer", "nav"):  # for the key and nothing else
            expect(page.locator(part)).to_be_hidden()
        page.keyboard.type("wgpt_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_contain_text("The key is not known here")
        page.fill("#key", key)
        page.click("#unlock")
        expect(page.locator("#status")).to_contain_text("The key fits.")
        expect(page.locator("#access")).to_be_hidden()
        insecure = new_page(context)
        insecure.goto(process.url.replace("127.0.0.1", "0.0.0.0"))  # the same server, for browsers another machine
        insecure.fill("#key", key)
        insecure.click("#unlock")
        choose_voice(insecure, "1")
        insecure.click("#go")
        status_is(insecure, "Over http, browsers give live sound and the microphone only to a page on this machine")
        insecure.close()
        choose_voice(page, "60")
        page.click("#go")
        status_is(page, "Playing.")
        everybody = [process.pid, *process.engine_pids()]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        page.click("#go")  # whatever the server says of it, or does not
        status_is(page, "Stopped.")
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        before = len(checkpoints)
        page.click("#go")
        status_is(page, "Playing.")
        is_heard(page)
        can_be_resumed(before)
        process.terminate()
        wait_until(lambda: page.evaluate("true") and '"draining"' in process.log(), "it drains")
        process.terminate()  # the second does not wait for what plays
        status_is(page, "The server was stopped; trying to go on for")
    with ServerProcess(*arguments) as process:
        expect(page.locator("#status")).to_contain_text(
            re.compile(r"The take ends at 0:\d\d\.\d: the server was started")
        )
        expect(page.locator("#remedy")).to_be_hidden()
        assert downloaded(page, "2").any()
        if page.inner_text("#go") == "Stop":  # what came is heard to its end
            page.click("#go")
        page.focus("#picture")
        page.keyboard.press("End")
        expect(page.locator("#fork")).to_have_text("Go on")
        before = len(checkpoints)
        page.click("#fork")
        status_is(page, "Playing.")
        is_heard(page)
        can_be_resumed(before)
        process.kill()
        status_is(page, "The connection was lost; trying to go on for")
        page.click("#go")
        expect(page.locator("#status")).to_have_text("Stopped.")
        page.click("#go")
        status_is(page, "cannot be reached; is it running?")
        page.click("[data-prompt=piano]")
        status_is(page, "cannot be reached; is it running?")
    context.close()


def test_about_has_the_texts_that_it_links(server: str) -> None:
    links = re.findall(r'href="(about/[^"#]+)"', HTTP.get(f"{server}/about").text)
    openings = {HTTP.get(f"{server}/{link}").text.splitlines()[0] for link in links}
    assert openings == {"# Use policy", "# `speech`", "# `piano`"}
    assert HTTP.get(f"{server}/about/secret").status_code == 404


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "dark"), (1200, 760, "light")])
def test_it_fits_a_phone_and_a_desk(browser: Browser, server: str, width: int, height: int, scheme: str) -> None:
    touched = width < 500
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=touched,
        is_mobile=touched,
    )
    page = context.new_page()
    for path in ("/docs", "/about", "/"):
        page.goto(server + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
    expect(page.locator("#model option")).not_to_have_count(0)
    expect(page.locator("#seconds")).to_be_visible(visible=not touched)  # folded on a phone
    choose_voice(page, "1")
    if touched:  # the main button is in reach wherever one reads
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        expect(page.locator("#go")).to_be_in_viewport(ratio=1)
    small = page.evaluate(
        "least => [...document.querySelectorAll("
        "'button:not(.unseen),.button,select,summary,[type=number],.check,nav a')]"
        ".filter(one => one.offsetParent && one.getBoundingClientRect().height < least).map(one => one.id)",
        44 if touched else 38,
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
        " for (let i = 0; i < 200 && !audio.ended && !audio.error; i++) await new Promise((go) => setTimeout(go, 100));"
        " return [audio.currentTime, audio.error?.message ?? null]; }",
        made["url"],
    )
    assert wrong is None and heard == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("path", ["/", "/static/playground.css", "/static/sdk/playground/main.js"])
def test_a_page_meets_no_script_of_another_version(server: str, path: str) -> None:
    """A browser that keeps them asks whether they are what they were."""
    answer = HTTP.get(server + path)
    assert answer.headers["cache-control"] == "no-cache"
    again = HTTP.get(server + path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code in (200, 304) and again.headers["cache-control"] == "no-cache"
