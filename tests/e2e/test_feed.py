"""Feeds: one response, many listeners, at any front end; none of them can harm the owner or each other."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import pytest
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import SAMPLE_RATE, SPEECH
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.stall import narrow_wire
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

MOST_LISTENERS = 12
KEPT_SECONDS = 3.0
SECONDS = 4.0
FORMATS = ("pcm", "wav", "flac", "mp3", "opus")


@pytest.fixture(scope="module")
def process() -> Iterator[ServerProcess]:
    """Two front ends that keep little, so that a slow listener is soon behind it."""
    settings = {
        "WHISPERGPT_FEED_SECONDS": f"{KEPT_SECONDS}",
        "WHISPERGPT_MAX_FEED_LISTENERS": f"{MOST_LISTENERS}",
        "WHISPERGPT_SEND_BUFFER_BYTES": "4096",
    }
    with ServerProcess("--workers", "2", "--strict", environment=settings) as running:
        yield running
        wait_for_idle(running.url)
        running.terminate()
        assert running.wait(15) == 0, running.log()


@contextmanager
def owner(process: ServerProcess, seconds: float | None, **fields: Any) -> Iterator[tuple[LiveSocket, str]]:
    """A session whose response, which has no audio yet, has a feed; and the URL of the stream."""
    with LiveSocket(process.url) as session:
        session.commit(SPEECH.read_bytes())
        session.event("response.create", response={"seconds": seconds, "seed": 4, "feed": True, **fields})
        session.expect("response.created")
        told = session.expect("response.feed.created")
        assert told["url"] == f"/v1/streams/{told['token']}/audio" and told["kept_seconds"] == KEPT_SECONDS
        yield session, f"{process.url}/v1/streams/{told['token']}"


def hear(url: str, began: Barrier | None = None, **query: str) -> tuple[httpx.Headers, bytes]:
    """The whole body of a listener."""
    with HTTP.stream("GET", f"{url}/audio", params=query) as answer:
        assert answer.status_code == 200, answer.read()
        if began is not None:
            began.wait(30)
        return answer.headers, answer.read()


@dataclass
class Heard:
    """What the owner heard, and each listener from the start by format; and those that came late."""

    url: str
    samples: bytes
    bodies: dict[str, list[bytes]]
    late: list[tuple[httpx.Headers, bytes]]
    late_opus: tuple[httpx.Headers, bytes]


@pytest.fixture(scope="module")
def heard(process: ServerProcess) -> Iterator[Heard]:
    """A response that has just ended, whose listeners came while it was paused, two in each format, or later."""
    with owner(process, SECONDS) as (session, url), ThreadPoolExecutor(MOST_LISTENERS + 2) as threads:
        session.event("response.pause")
        samples = b""
        while isinstance(message := session.receive(), bytes):
            samples += message
        assert message["type"] == "response.paused"
        wait_until(lambda: HTTP.get(url).json()["status"] == "paused", "the stream says so")
        began = Barrier(2 * len(FORMATS) + 1)
        listening = {
            name: [threads.submit(hear, url, began, format=name, **{"from": "0"}) for _ in "12"] for name in FORMATS
        }
        began.wait(30)
        session.event("response.resume")
        session.expect("response.resumed")
        while len(samples) < 2 * 2.5 * SAMPLE_RATE:
            samples += session.receive()  # type: ignore[operator]
        late: list[Future[Any]] = [threads.submit(hear, url, format=name) for name in ("pcm", "opus")]
        samples += session.read_response()[0]
        bodies = {name: [one.result()[1] for one in both] for name, both in listening.items()}
        yield Heard(url, samples, bodies, [late[0].result()], late[1].result())


def decoded_seconds(body: bytes) -> float:
    with av.open(io.BytesIO(body)) as file:
        return sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))


def test_ranges_and_seconds_that_are_kept(heard: Heard) -> None:
    """The response is over and still kept for some seconds, which is why these tests come first."""
    kept, size = round(2 * SAMPLE_RATE * (SECONDS - KEPT_SECONDS)), len(heard.samples)

    def part(range_: str, name: str = "pcm", **query: str) -> httpx.Response:
        return HTTP.get(f"{heard.url}/audio", params={"format": name} | query, headers={"Range": range_})

    for first, last in ((size - 96_001, size - 48_000), (size - 1, size - 1)):
        answer = part(f"bytes={first}-{last}")
        assert (answer.status_code, answer.content) == (206, heard.samples[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(last + 1 - first)
    assert part(f"bytes={size - 1000}-").content == part("bytes=-1000").content == heard.samples[-1000:]
    for name in ("wav", "flac", "mp3", "opus"):
        probe = part("bytes=0-1", name)
        assert probe.status_code == 206 and probe.content == heard.bodies[name][0][:2]
        assert part("bytes=5-9", name).status_code == 200, "ignored"
    for refused in (part("bytes=0-1"), part(f"bytes={kept // 2}-{kept // 2 + 10}"), part(f"bytes={size}-")):
        assert refused.status_code == 416 and refused.json()["error"]["code"] == "not_kept"
    begins = SECONDS - 1.5
    assert part("", **{"from": f"{begins}"}).content == heard.samples[-3 * SAMPLE_RATE :]
    for wrong in ("0", f"{SECONDS + 1}", "-1"):
        assert part("", **{"from": wrong}).status_code == 416
    for query in ({"from": "x"}, {"from": "nan"}, {"format": "aac"}, {"formt": "mp3"}, {"format": ["mp3", "flac"]}):
        answer = HTTP.get(f"{heard.url}/audio", params=query)
        assert answer.status_code == 400 and answer.json()["error"]["param"] in query
    assert HTTP.head(f"{heard.url}/audio?formt=mp3").status_code == HTTP.get(f"{heard.url}?from=1").status_code == 400


def test_what_a_stream_says_of_itself(heard: Heard) -> None:
    wait_until(lambda: HTTP.get(heard.url).json()["listeners"] == 0, "nobody is counted")
    state = HTTP.get(heard.url).json()
    assert (state["status"], state["seconds"], state["listeners"]) == ("completed", SECONDS, 0)
    assert state["kept"]["end"] == SECONDS and SECONDS - KEPT_SECONDS <= state["kept"]["start"] < SECONDS - 2
    head = HTTP.head(f"{heard.url}/audio", params={"format": "opus"})
    assert (head.status_code, head.headers["content-type"], head.content) == (200, "audio/ogg", b"")
    assert head.headers["accept-ranges"] == "none" and "content-length" not in head.headers
    assert HTTP.head(f"{heard.url}/audio", params={"format": "pcm"}).headers["accept-ranges"] == "bytes"


def test_a_listener_goes_on_alone(process: ServerProcess, heard: Heard) -> None:
    point = HTTP.get(heard.url).json()["checkpoint"]
    with LiveSocket(process.url) as session:
        session.event("response.create", response={"resume_token": point["resume_token"]})
        assert session.expect("response.created")["response"]["from_frame"] == point["frame"]
        assert session.read_response()[0] == heard.samples[round(point["seconds"] * 2 * SAMPLE_RATE) :]


def test_all_hear_what_the_owner_hears(heard: Heard) -> None:
    assert len(heard.samples) == 2 * SECONDS * SAMPLE_RATE
    assert heard.bodies["pcm"] == [heard.samples] * 2
    assert [body[44:] for body in heard.bodies["wav"]] == [heard.samples] * 2
    for name in ("flac", "mp3", "opus"):
        for body in heard.bodies[name]:
            assert SECONDS <= decoded_seconds(body) < SECONDS + 0.2, name


def test_a_late_listener_begins_where_the_owner_is(heard: Heard) -> None:
    headers, body = heard.late[0]
    begins = round(float(headers["x-from-seconds"]) * SAMPLE_RATE)
    assert 0 < begins < 2.5 * SAMPLE_RATE and body == heard.samples[2 * begins :]
    headers, body = heard.late_opus
    rest = SECONDS - float(headers["x-from-seconds"])
    assert rest - 0.1 < decoded_seconds(body) < rest + 0.4


def stalled(url: str) -> socket.socket:
    """A listener that reads nothing."""
    parts = urlsplit(url)
    wire = narrow_wire(url, 4096)
    wire.sendall(f"GET {parts.path}/audio?format=pcm HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    return wire


def test_a_slow_listener_holds_nothing_up(process: ServerProcess) -> None:
    slow = "whispergpt_feed_listens_total"
    before = Metrics(process.url).sum(slow, outcome="slow")
    with owner(process, None) as (session, url), ThreadPoolExecutor(2) as threads, stalled(url), stalled(url):
        heard, listener = (
            threads.submit(session.read_response),
            threads.submit(hear, url, format="pcm"),
        )
        wait_until(lambda: Metrics(process.url).sum(slow, outcome="slow") == before + 2, "they are dropped")
        session.event("response.cancel")
        samples, done = heard.result()
        assert done["status"] == "cancelled"
        assert len(samples) >= 2 * KEPT_SECONDS * SAMPLE_RATE, "the owner heard on while they fell out of what is kept"
        headers, body = listener.result()
        begins = 2 * round(float(headers["x-from-seconds"]) * SAMPLE_RATE)
        assert body == samples[begins:][: len(body)] != b""
    wait_until(lambda: Metrics(process.url).sum("whispergpt_feed_listeners") == 0, "nobody is counted")


def test_an_owner_takes_a_token_back(process: ServerProcess) -> None:
    with owner(process, None) as (session, url), ThreadPoolExecutor(4) as threads:
        listening = [threads.submit(hear, url, format="pcm") for _ in range(4)]
        wait_until(lambda: HTTP.get(url).json()["listeners"] == 4, "all listen")
        session.event("response.feed.cancel")
        while isinstance(message := session.receive(), bytes):
            pass
        assert message["type"] == "response.feed.cancelled"
        assert all(one.result()[1] for one in listening), "what they had is whole"
        for _ in range(6):  # at either front end
            refused = HTTP.get(f"{url}/audio")
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "wrong_token")
        session.event("response.feed")
        while isinstance(message := session.receive(), bytes):
            pass
        assert message["type"] == "response.feed.created"
        other = f"{process.url}{message['url']}"
        assert other != f"{url}/audio" and HTTP.head(other).status_code == 200
        session.event("response.cancel")
        assert session.read_response()[1]["status"] == "cancelled", "it played on"
        # The other front end, which may have the next request, hears of the end a moment later.
        wait_until(lambda: HTTP.get(other).status_code == 404, "no front end plays it any more")


def test_no_more_listeners_than_there_may_be_at_all_front_ends(process: ServerProcess) -> None:
    with owner(process, None) as (session, url), ExitStack() as open_:
        session.event("response.pause")  # who is sent nothing is not dropped for reading nothing
        for _ in range(MOST_LISTENERS):
            answer = open_.enter_context(HTTP.stream("GET", f"{url}/audio", params={"format": "pcm"}))
            assert answer.status_code == 200
        for _ in range(4):
            refused = HTTP.get(f"{url}/audio")
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
            assert f"{MOST_LISTENERS} listeners" in refused.json()["error"]["message"]
        assert Metrics(process.url).sum("whispergpt_feed_listeners") == MOST_LISTENERS
    wait_until(lambda: Metrics(process.url).sum("whispergpt_feed_listeners") == 0, "all have left")


def test_the_client_shares_and_listens(process: ServerProcess) -> None:
    with Client(process.url) as client, ThreadPoolExecutor(1) as threads:
        with client.stream(SPEECH, seconds=1, feed=True) as stream:
            assert stream.feed_token is not None
            listener = threads.submit(b"".join, client.listen(stream.feed_token, from_seconds=0))
            assert b"".join(stream) == listener.result()
        with pytest.raises(WhisperGPTError) as refused:
            next(client.listen("none"))
        assert refused.value.code == "wrong_token"


def test_what_cannot_be_shared(process: ServerProcess) -> None:
    with LiveSocket(process.url) as session:
        session.event("response.feed")
        assert session.expect_error()["code"] == "wrong_order"
        session.update(pace="fast")
        session.commit(SPEECH.read_bytes())
        session.event("response.create", response={"seconds": 1, "feed": True})
        assert session.expect_error()["param"] == "response.feed"
    for token in ("x", "0.x", "1.", "2.none", "9999.none", "٣.none"):
        for path in ("", "/audio"):
            refused = HTTP.get(f"{process.url}/v1/streams/{token}{path}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "wrong_token")


def test_both_front_ends_were_asked_and_no_log_has_a_token(process: ServerProcess) -> None:
    lines = [json.loads(line) for line in process.log().splitlines() if '"path": "/v1/streams' in line]
    assert {line["worker"] for line in lines if line["status"] == 200} == {"1", "2"}
    assert not {line["path"] for line in lines if not re.fullmatch(r"/v1/streams/…(/audio)?", line["path"])}
