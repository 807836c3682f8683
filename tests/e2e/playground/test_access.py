"""The playground with the keyboard alone, with a screen reader's names, in narrow windows and without movement."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browsers import browser_of
from tests.support.metrics import wait_for_idle
from tests.support.playground import elapsed, fill, open_playground, seed_of, status_is

OPERATED = {"button", "checkbox", "combobox", "link", "slider", "spinbutton", "DisclosureTriangle"}
"""Roles of what a user operates, as Chromium names them."""
FOCUSED = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const seen = document.elementFromPoint(x, y);
    const ring = one.type === "file" ? one.parentElement : one;
    return {
        what: one.id || Object.values(one.dataset).join(" ") || one.textContent,
        page: one !== document.body,
        ringed: getComputedStyle(ring).outlineStyle !== "none",
        seen: seen !== null && (one.contains(seen) || seen.contains(one)),
        order: [...document.querySelectorAll("*")].indexOf(one),
    };
}"""
"""Script that describes what has the focus: whether its ring is drawn, and nothing covers its middle."""
OPERABLE = """() => [...document.querySelectorAll("a, button, input, select, summary, canvas")]
    .filter((one) => one.offsetParent && !one.disabled && one.tabIndex === 0).length"""
"""Script that counts what can be operated now."""
CUT_OFF = """() => [...document.querySelectorAll("body, button, input:not([type=file]), select, summary, #status")]
    .filter((one) => one.offsetParent !== null || one === document.body)
    .filter((one) => one.scrollWidth > one.clientWidth + 1 && !one.closest(".unseen"))
    .map((one) => one.id || one.textContent.trim())"""
"""Script that lists what is wider than its place, the whole page included."""
LETTER_IS_LEFT_ALONE = """() => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key: "p", bubbles: true, cancelable: true }))"""
"""Script that presses P, and returns whether the page did nothing with it."""
NARROW = [(320, 640), (640, 360)]
"""Windows of 1280 pixels at 400 and at 200 %, in CSS pixels."""


def stops(page: Page) -> list[dict[str, Any]]:
    """Press Tab through the whole page, and return what had the focus."""
    page.focus("header [href=about]")
    found = [page.evaluate(FOCUSED)]
    while True:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if not stop["page"] or stop["order"] == found[0]["order"]:
            return found
        found.append(stop)
        assert len(found) < 100, "the keyboard is trapped"


def names(context: BrowserContext, page: Page) -> list[tuple[str, str]]:
    """Return the role and name of each control that a screen reader finds."""
    nodes = context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in OPERATED]
    return [(node["role"]["value"], node["name"]["value"]) for node in shown]


def test_keys_and_names_suffice(server: str) -> None:
    with browser_of("chromium") as browser:
        context = browser.new_context(viewport={"width": 320, "height": 640}, reduced_motion="reduce")
        page = open_playground(context, server)
        fill(page, "#seconds", "0.5")
        for prompt, take in (("speech", "1"), ("piano", "2")):
            page.focus(f"[data-prompt={prompt}]")
            page.keyboard.press("Space")
            status_is(page, "Press Continue.")
            expect(page.locator("#go")).to_be_focused()
            page.keyboard.press("Enter")
            status_is(page, "Done.")
            expect(page.locator(f"[data-take='{take}']")).to_be_visible()
        page.focus("#picture")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        assert elapsed(page) == pytest.approx(1, abs=0.05)
        page.focus("[data-take='1'] summary")
        page.keyboard.press("Enter")
        page.focus("[data-take='1'] [data-do=use_seed]")
        page.keyboard.press("Enter")
        assert page.input_value("#seed") == seed_of(page, "1")
        for folded in ("#settings > summary", "#advanced summary", ".keys summary"):
            page.focus(folded)
            page.keyboard.press("Enter")
        for width, height in NARROW:
            page.set_viewport_size({"width": width, "height": height})
            passed = stops(page)
            order = [stop["order"] for stop in passed]
            assert order == sorted(order) and len(order) == page.evaluate(OPERABLE), "Tab goes through the page once"
            assert [stop["what"] for stop in passed if not (stop["ringed"] and stop["seen"])] == []
            assert page.evaluate(CUT_OFF) == []
        told = names(context, page)
        assert len(told) >= len(passed) and all(name for _, name in told), told
        assert sorted(set(told)) == sorted(told), "no two controls have one name"
        assert not page.evaluate(LETTER_IS_LEFT_ALONE)
        page.focus("#letters")
        page.keyboard.press("Space")
        assert page.evaluate(LETTER_IS_LEFT_ALONE)
        context.close()
    wait_for_idle(server)
