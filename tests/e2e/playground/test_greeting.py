"""What the playground says at first, which nothing that a visitor chose meanwhile may be lost under."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.playground import new_page, status_is
from tests.support.ports import free_port
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

FIRST = "**/static/prompts/speech.flac"
"""Recording that the page chooses of itself."""
OTHER_MACHINE = "Over http, browsers give live sound and the microphone only to a page on this machine"
LINK = "/#model=speech&bundled=speech.flac&step=0,1,1,1,0,1"
"""Address of a take of one second, as the page copies it."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def key(keys: Path) -> str:
    return add_key(keys, "page", None, None)


@pytest.fixture(scope="module")
def locked(keys: Path, key: str) -> Iterator[str]:
    """Address of a server that asks for a key, and so lets itself be called by any name."""
    with ServerProcess("--keys", str(keys), "--port", str(free_port())) as process:
        yield process.url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield new_page(context)
    context.close()


def unlock(page: Page, key: str, url: str) -> None:
    """Open the page, and give it its key."""
    page.goto(url)
    page.fill("#key", key)
    page.click("#unlock")


def choose_while_the_first_loads(page: Page, key: str, url: str) -> None:
    """Open the page, choose another recording than its own, and then let its own come."""
    held: list[Route] = []
    page.route(FIRST, lambda route: held.append(route))
    with page.expect_request(FIRST):
        unlock(page, key, url)
    page.click("[data-prompt=piano]")
    expect(page.locator("#status")).to_contain_text("4.0 s. Press Continue.")
    with page.expect_response(FIRST):
        held[0].continue_()
    page.wait_for_timeout(500)  # what the page would say of its own comes now


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("link", ["", LINK])
def test_a_choice_stays_said(page: Page, locked: str, key: str, host: str, link: str) -> None:
    choose_while_the_first_loads(page, key, locked.replace("127.0.0.1", host) + link)
    expect(page.locator("#status")).to_contain_text("4.0 s. Press Continue.")
    expect(page.locator("#prompt_name")).to_have_text("Bach, BWV 333")


@pytest.mark.parametrize("link", ["", LINK, "/#model=speech&file=voice.wav&step=0,7,1,1,0,1"])
def test_a_choice_before_the_models_are_listed_stays_said(page: Page, server: str, link: str) -> None:
    held: list[Route] = []
    page.route("**/v1/models", lambda route: held.append(route))
    with page.expect_request("**/v1/models"):
        page.goto(server + link)
    page.click("[data-prompt=piano]")
    expect(page.locator("#prompt_name")).to_have_text("Bach, BWV 333")
    held[0].continue_()
    expect(page.locator("#model option")).not_to_have_count(0)
    page.wait_for_timeout(500)
    expect(page.locator("#status")).to_contain_text("4.0 s. Press Continue.")
    expect(page.locator("#prompt_name")).to_have_text("Bach, BWV 333")


@pytest.mark.parametrize("link", ["", LINK])
def test_a_page_of_another_machine_is_told_at_once(page: Page, locked: str, key: str, link: str) -> None:
    unlock(page, key, locked.replace("127.0.0.1", "0.0.0.0") + link)
    status_is(page, OTHER_MACHINE)
    expect(page.locator("#prompt_name")).to_have_text("Andrew, reading")
