"""The playground in Chromium and Firefox: takes, forks and links, a proxy's path, and sound that is held back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.support.audio import SAMPLE_RATE
from tests.support.browsers import browser_of
from tests.support.metrics import wait_for_idle
from tests.support.playground import downloaded, elapsed, fill, is_heard, open_playground, seek, status_is, take_button
from tests.support.proxies import proxy

HOLD_SOUND_BACK = """
const { resume } = AudioContext.prototype;
AudioContext = class extends AudioContext {
    constructor(options) { super(options); this.suspend(); window.context = this; }
};
AudioContext.prototype.resume = () => new Promise(() => {});
window.letGo = () => { AudioContext.prototype.resume = resume; };
"""
"""Script of a browser that never answers where it may not sound."""


# Firefox renders in software: beside other tests its sound may stand still for a minute.
@pytest.fixture(scope="module", params=["chromium", pytest.param("firefox-esr", marks=pytest.mark.alone)])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with browser_of(request.param) as browser:
        yield browser


@pytest.fixture
def context(browser: Browser, server: str) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.add_init_script("navigator.clipboard.writeText = async (text) => { window.copied = text; };")
    yield context
    context.close()
    wait_for_idle(server)


def test_takes_are_kept_and_made_again(context: BrowserContext, server: str) -> None:
    page = open_playground(context, server)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.click("[data-prompt=speech-woman]")
    status_is(page, "Press Continue.")
    fill(page, "#seconds", "12")
    page.click("#go")
    status_is(page, "Playing.")
    is_heard(page)
    page.click("[data-prompt=piano]")  # takes the place of nothing
    expect(page.locator("#go")).to_have_text("Continue Bach")
    is_heard(page)
    page.click("[data-take='1'] [data-do=show]")  # and what it is of is chosen again
    expect(page.locator("#prompt_name")).to_have_text("Liz, reading")
    assert page.input_value("#model") == "speech"
    status_is(page, "Done.")
    seek(page, 4)
    fill(page, "#seconds", "2")
    fill(page, "#temperature", "0.8")
    page.click("#fork")
    status_is(page, "Playing.")
    status_is(page, "Done.")
    expect(page.locator("[data-take='1'] [data-take='1.1']")).to_contain_text("from 0:04.0")
    assert elapsed(page) == pytest.approx(6, abs=0.05)
    take, fork = downloaded(page, "1"), downloaded(page, "1.1")
    past = downloaded(page, "1.1", "download_all")[3 * SAMPLE_RATE : -len(fork)]  # behind the prompt
    assert len(past) / SAMPLE_RATE == pytest.approx(1, abs=0.05)
    assert np.array_equal(past, take[: len(past)]), "a fork goes on from its parent's past"
    take_button(page, "link", "1.1").click()
    status_is(page, "The link is in the clipboard.")
    again = open_playground(context, page.evaluate("copied"))
    status_is(again, "Take by link: Liz, reading, 3.0 s, and a fork of it. Press Play the take.")
    expect(again.locator("#go")).to_have_text("Play the take")
    again.click("#go")
    status_is(again, "Done.")
    assert np.array_equal(downloaded(again, "1"), take) and np.array_equal(downloaded(again, "1.1"), fork)
    assert not wrong, wrong


def test_it_works_under_a_path(context: BrowserContext, server: str, tmp_path: Path) -> None:
    with proxy("nginx", server, tmp_path, under_path=True) as address:
        page = open_playground(context, f"{address}/listen")
        page.click("[data-prompt=speech]")
        status_is(page, "Press Continue.")
        page.click("#go")
        is_heard(page)
        page.click("#go")
        status_is(page, "Stopped.")
        take_button(page, "link").click()
        status_is(page, "The link is in the clipboard.")
        assert page.evaluate("copied").startswith(f"{address}/listen/#model=speech")
        take_button(page, "curl").click()
        status_is(page, "The command is in the clipboard.")
        assert f"{address}/listen/continue" in page.evaluate("copied")
        page.click("header [href=docs]")
        page.wait_for_url(f"{address}/listen/docs")
        expect(page.locator(".more summary")).to_have_text("WebSocket /stream")
        page.click("#operations-models-models")
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".request-url")).to_contain_text(f"{address}/listen/v1/models")
        page.click("header [href=about]")
        expect(page.get_by_role("heading", name="Whose voice")).to_be_visible()


def test_sound_that_is_held_back_is_said_and_can_be_heard(context: BrowserContext, server: str) -> None:
    context.add_init_script(HOLD_SOUND_BACK)
    page = open_playground(context, server)
    page.click("[data-prompt=speech]")
    status_is(page, "Press Continue.")
    fill(page, "#seconds", "9")
    page.click("#go")
    status_is(page, "The browser holds the sound back. Press Play to hear it from here.")
    expect(page.locator("[data-take='1'] .facts")).to_contain_text("9.0 s")  # it is made anyway
    page.evaluate("letGo()")
    page.click("h1")  # any click will do
    is_heard(page)
    status_is(page, "Playing.")
    page.evaluate("context.suspend()")  # a telephone call
    status_is(page, "The browser holds the sound back.")
    page.click("#play")
    is_heard(page)
    status_is(page, "Done.")
