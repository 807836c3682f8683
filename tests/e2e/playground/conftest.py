"""A browser with the playground of a server, in which nothing may go wrong unsaid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.browsers import browser_of
from tests.support.metrics import wait_for_idle
from tests.support.playground import hear_takes_alone, new_page


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
