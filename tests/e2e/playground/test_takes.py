"""What is heard of takes, their forks and their prompts, and where in them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.support.audio import SAMPLE_RATE, SPEECH
from tests.support.corpus import run_main
from tests.support.playground import (
    choose_voice,
    colours,
    downloaded,
    elapsed,
    is_heard,
    note_places,
    places,
    seed_of,
    seek,
    status_is,
    take_button,
)
from tests.support.tools import require_tool
from tests.support.waiting import wait_until


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
