"""A fleet on a real Ray cluster: replicas are killed, taken away and added while listeners hear every sample."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from whispergpt_client import AsyncClient, Client

from tests.support.audio import HOP
from tests.support.faults import GOOD_PROMPT
from tests.support.fleet import NODES, LocalFleet
from tests.support.http import HTTP
from tests.support.kernels import kernels_expected
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(not kernels_expected(), reason="without compiled kernels streams go on with other samples"),
]
SEED = 7
LONGEST = 20.0
STREAMS = 4
"""That a replica takes at once."""
DRAIN_SECONDS = 5.0


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    """Two replicas, on a node each. Strict, so that what goes on elsewhere is the same bit for bit."""
    settings = {
        "WHISPERGPT_OPEN": "true",
        "WHISPERGPT_RESUME_KEY": "all replicas have this one",
        "WHISPERGPT_STRICT": "true",
        "WHISPERGPT_MAX_STREAMS": str(STREAMS),
    }
    with LocalFleet(**settings) as fleet:
        fleet.deploy(DRAIN_SECONDS, min_replicas=2, max_replicas=2)
        fleet.wait_for(2)
        yield fleet


@pytest.fixture(scope="module")
def unbroken(fleet: LocalFleet) -> bytes:
    """The stream that all listeners ask for some seconds of."""
    with Client(fleet.url) as client:
        return b"".join(client.stream(GOOD_PROMPT, seconds=LONGEST, seed=SEED, pace="fast"))


@dataclass
class Listener:
    """Hears one stream in real time, and goes on by itself where it is lost."""

    seconds: float
    heard: bytearray = field(default_factory=bytearray)
    sessions: set[str] = field(default_factory=set)
    """The connections that it came over."""

    async def listen(self, url: str) -> None:
        async with AsyncClient(url) as client:
            stream = client.stream(GOOD_PROMPT, seconds=self.seconds, seed=SEED)
            async for pcm in stream:
                self.sessions.add(stream.session["id"])
                self.heard += pcm

    def assert_whole(self, unbroken: bytes) -> None:
        """Nothing is lost, doubled or other than it would have been."""
        wanted = round(self.seconds * 75) * HOP * 2
        assert len(self.heard) == wanted
        assert self.heard == unbroken[:wanted]


async def begin(fleet: LocalFleet, *seconds: float) -> tuple[list[Listener], asyncio.Task[None]]:
    """Listeners who all hear something, one after the other, and the end of them all."""
    listeners = [Listener(each) for each in seconds]
    tasks = []
    for listener in listeners:
        tasks.append(asyncio.create_task(listener.listen(fleet.url)))
        await asyncio.to_thread(wait_until, lambda: bool(listener.heard), "it is heard")  # noqa: B023 - awaited here

    async def end() -> None:
        await asyncio.gather(*tasks)

    return listeners, asyncio.create_task(end())


def test_replicas_are_whole_servers(fleet: LocalFleet, unbroken: bytes) -> None:
    assert len(fleet.nodes()) == NODES
    assert fleet.niceness() == {os.nice(0)}, "as a server by itself"
    ready = HTTP.get(f"{fleet.url}/health/ready").json()
    engines = [{"device": "cpu", "state": "ready"}]
    assert ready == {"status": "ready", "models": ["speech"], "engines": engines}
    asked = {"seconds": "2", "seed": str(SEED), "stream": "true", "response_format": "pcm"}
    pieces = []
    with HTTP.stream("POST", f"{fleet.url}/continue", data=asked, files={"audio": GOOD_PROMPT}) as answer:
        assert answer.status_code == 200 and answer.headers["X-Seed"] == str(SEED)
        pieces = list(answer.iter_raw())
    assert b"".join(pieces) == unbroken[: 150 * HOP * 2]
    assert len(pieces) > 2, "it came when all of it was made"
    for answer, code in (
        (HTTP.post(f"{fleet.url}/continue", files={"audio": b"no sound"}), "not_audio"),
        (HTTP.post(f"{fleet.url}/v1/tokens", headers={"Origin": "https://elsewhere.example"}), "wrong_origin"),
    ):
        assert answer.json()["error"]["code"] == code, answer.text


async def test_a_replica_is_killed_in_mid_stream(fleet: LocalFleet, unbroken: bytes) -> None:
    listeners, ended = await begin(fleet, 6.0, 6.0)
    await asyncio.sleep(1.5)
    before = await asyncio.to_thread(fleet.playing)
    assert sorted(before.values()) == [1, 1], "each replica plays one"
    fleet.kill(next(iter(before)))
    await ended
    assert sorted(len(listener.sessions) for listener in listeners) == [1, 2], "one was lost, and went on"
    for listener in listeners:
        listener.assert_whole(unbroken)
    await asyncio.to_thread(fleet.wait_for, 2)
    assert len(before.keys() & fleet.playing().keys()) == 1, "another replica takes the place"


async def test_the_fleet_shrinks_and_grows_under_its_listeners(fleet: LocalFleet, unbroken: bytes) -> None:
    await asyncio.to_thread(fleet.wait_until_reached, 2)
    listeners, ended = await begin(fleet, LONGEST, LONGEST, 8.0, 8.0)
    before = await asyncio.to_thread(fleet.playing)
    assert sorted(before.values()) == [2, 2]
    await asyncio.to_thread(fleet.deploy, DRAIN_SECONDS, min_replicas=1, max_replicas=1)
    await ended
    await asyncio.to_thread(fleet.wait_for, 1)
    assert fleet.playing().keys() < before.keys(), "the other was left as it was"
    long, short = listeners[:2], listeners[2:]
    assert [len(listener.sessions) for listener in short] == [1, 1], "what ends in time ends where it began"
    assert sorted(len(listener.sessions) for listener in long) == [1, 2], "what does not goes on elsewhere"
    for listener in listeners:
        listener.assert_whole(unbroken)

    await asyncio.to_thread(fleet.deploy, DRAIN_SECONDS, min_replicas=1, max_replicas=2, upscale_delay_s=0)
    listeners, ended = await begin(fleet, *[8.0] * STREAMS)
    await asyncio.to_thread(fleet.wait_for, 2)  # by the slack that is left
    await ended
    for listener in listeners:
        listener.assert_whole(unbroken)
