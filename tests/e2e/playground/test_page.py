"""The page itself: its fields, its sizes, its texts, and browsers that are too old for it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.audio import SPEECH
from tests.support.http import HTTP
from tests.support.playground import choose_voice


def test_fields_say_what_they_take(page: Page) -> None:
    choose_voice(page, "0")
    page.click("#go")
    expect(page.locator("#wrong_seconds")).to_contain_text("0.1")
    expect(page.locator("#seconds")).to_be_focused()
    expect(page.locator("#go")).to_have_text("Continue")
    page.click("#advanced summary")
    for name in ("Temperature", "Top-k", "Top-p"):
        expect(page.get_by_role("slider", name=name)).to_have_count(1)


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
