"""The page's server: keys, connections that are lost, a server that goes and one that answers again."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect

from tests.support.audio import SAMPLE_RATE
from tests.support.playground import checkpoints_of, choose_voice, downloaded, is_heard, new_page, status_is
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key


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
