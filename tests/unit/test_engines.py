"""Several engines in one server: which one gets new work, and what is shown of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from whispergpt.engine.messages.events import Load, ModelInfo
from whispergpt.engine.stream_plan import Pace, SamplingParams, StreamPlan
from whispergpt.server.access.caller import Caller, Visit
from whispergpt.server.errors import ApiError
from whispergpt.server.link.devices import DevicesError, EngineDevice, devices_of
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.engine_process import options_of
from whispergpt.server.link.engines import Engines
from whispergpt.server.link.supervisor import Supervisor
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings

SLOTS = 8
SETTINGS = Settings(device="cpu,cpu", model="speech,piano")
CALLER = Caller("studio", identity="1")
PLAN = StreamPlan(SamplingParams(seed=1, temperature=1.0, top_k=0, top_p=1.0), 75, "realtime")


class Fleet:
    """Engines whose processes are never started; the test says what they would have."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.engines = Engines(SETTINGS, self.metrics)
        self.supervisors = [
            Supervisor(SETTINGS, self.metrics, EngineDevice("cpu", number, 2, 2), self._ready, self._fail)
            for number in range(2)
        ]
        self.engines._supervisors = self.supervisors

    def _ready(self, link: EngineLink) -> None:
        self.engines._engine_ready(link)

    def _fail(self, message: str, status: int) -> None:
        self.engines._fail(message, status)

    def begin(self, number: int, limit: int = SLOTS, fingerprint: str = "f", digest: str = "d") -> EngineLink:
        """Have one engine become ready, which can play ``limit`` real-time streams of each model."""
        supervisor = self.supervisors[number]
        link = EngineLink(SETTINGS, self.metrics, supervisor.device)
        models = [
            ModelInfo(name, 1, 24_000, 75, {}, "unknown", fingerprint, slots=SLOTS, digest=digest)
            for name in ("speech", "piano")
        ]
        link._begin(models)
        for model in models:
            link._dispatch(Load(model.id, 0, 0, limit))
        supervisor.link, supervisor.state = link, "ready"
        self._ready(link)
        return link

    def gauge(self, name: str, model: str = "speech") -> float:
        value = self.metrics.registry.get_sample_value(f"whispergpt_{name}", {"model": model})
        assert value is not None
        return value


def looped(work: Callable[[Fleet], Awaitable[None]]) -> None:
    """Run ``work`` with engines on an event loop, and forget these afterwards."""

    async def run() -> None:
        fleet = Fleet()
        try:
            await work(fleet)
        finally:
            for supervisor in fleet.supervisors:
                if supervisor.link is not None:
                    await supervisor.link.stop()

    asyncio.run(run())


def play(link: EngineLink, model: str = "speech", pace: Pace = "realtime") -> None:
    """Start a stream, as a route does."""
    prompt = link.open_prompt(link.models[model], CALLER)
    plan = StreamPlan(PLAN.sampling, PLAN.frames, pace)
    link.start_stream(prompt, plan, cast(Visit, None))


def test_new_work_goes_where_most_room_is_and_spreads_evenly() -> None:
    async def work(fleet: Fleet) -> None:
        first, second = fleet.begin(0), fleet.begin(1)
        for number in range(2 * SLOTS):
            play(fleet.engines.link("speech", "realtime"))
            assert abs(len(first.live()) - len(second.live())) == (number + 1) % 2
        play(fleet.engines.link("speech", "realtime"))
        play(fleet.engines.link("speech", "realtime"))
        assert len(first.live()) == len(second.live()) == SLOTS + 1, "those that wait are shared out too"

    looped(work)


def test_a_faster_engine_gets_more() -> None:
    async def work(fleet: Fleet) -> None:
        slow, fast = fleet.begin(0, limit=2), fleet.begin(1, limit=6)
        for _ in range(8):
            play(fleet.engines.link("speech", "realtime"))
        assert (len(slow.live()), len(fast.live())) == (2, 6)
        assert fleet.engines.link("speech", "fast") is slow, "in time of its own, free slots decide"

    looped(work)


def test_places_and_recorded_prompts_count_as_streams() -> None:
    async def work(fleet: Fleet) -> None:
        first, second = fleet.begin(0), fleet.begin(1)
        place = first.places.keep("speech", "realtime", at_once=True)
        assert fleet.engines.link("speech", "realtime") is second
        recorded = second.open_prompt(second.models["speech"], CALLER, recorded=True)
        assert fleet.engines.link("speech", "realtime") is first
        recorded.close()
        assert fleet.engines.link("speech", "realtime") is second
        place.give_back()
        assert fleet.engines.link("speech", "realtime") is first
        play(first, "piano", "fast")
        assert fleet.engines.link("speech", "realtime") is second, "equal room, and other models' streams beside it"

    looped(work)


def test_gauges_are_sums_and_an_engine_that_is_lost_gets_nothing() -> None:
    async def work(fleet: Fleet) -> None:
        first, second = fleet.begin(0, limit=3), fleet.begin(1, limit=5)
        first._dispatch(Load("speech", active=2, waiting=1, most_listened=3))
        second._dispatch(Load("speech", active=1, waiting=0, most_listened=5))
        play(second)
        shown = ("slots", "streams_active", "streams_waiting", "streams_limit", "streams_slack")
        assert [fleet.gauge(name) for name in shown] == [2 * SLOTS, 3, 1, 8, 7]
        assert fleet.gauge("prompts_encoding") == 1 and fleet.gauge("prompts_encoding", "piano") == 0

        second._fail_all()
        fleet.supervisors[1].state = "restarting"
        assert [fleet.gauge(name) for name in shown] == [2 * SLOTS, 2, 1, 3, 3]
        assert fleet.engines.state == "ready" and fleet.engines.ready() == [first]
        assert [engine["state"] for engine in fleet.engines.describe()] == ["ready", "restarting"]
        for _ in range(5):
            play(fleet.engines.link("speech", "realtime"))
        assert len(first.live()) == 5

        first._fail_all()  # even before its supervisor knows
        assert fleet.engines.state == "restarting"
        with pytest.raises(ApiError, match="restarting its engine"):
            fleet.engines.link("speech", "realtime")
        await second.stop()
        third = fleet.begin(1)
        assert fleet.engines.link("speech", "realtime") is third
        assert fleet.gauge("streams_limit") == SLOTS

    looped(work)


def test_the_server_waits_for_all_engines_at_the_start_alone() -> None:
    async def work(fleet: Fleet) -> None:
        fleet.begin(0)
        assert fleet.engines.state == "starting" and not fleet.engines.first_ready.is_set()
        with pytest.raises(ApiError, match="loading its models"):
            fleet.engines.ready()
        fleet.begin(1)
        assert fleet.engines.first_ready.is_set() and len(fleet.engines.ready()) == 2
        fleet.engines.drain()
        assert fleet.engines.state == "draining"
        with pytest.raises(ApiError, match="shutting down"):
            fleet.engines.link("speech", "realtime")

    looped(work)


def test_fingerprints_may_differ_and_models_may_not() -> None:
    async def differing(fleet: Fleet) -> None:
        fleet.begin(0, fingerprint="of a CPU")
        fleet.begin(1, fingerprint="of a GPU")
        assert fleet.engines.fingerprints("speech") == ["of a CPU", "of a GPU"]
        second = fleet.engines.ready()[1]
        prompt = second.open_prompt(fleet.engines.models["speech"], CALLER)
        assert prompt.model.fingerprint == "of a GPU", "an answer has that of its engine"

    async def changed(fleet: Fleet) -> None:
        fleet.begin(0)
        fleet.begin(1, digest="another")
        assert "different models" in await asyncio.wait_for(fleet.engines.failed(), 1)
        assert fleet.engines.exit_status == 2 and not fleet.engines.first_ready.is_set()

    looped(differing)
    looped(changed)


def test_cpu_engines_share_the_processors() -> None:
    devices = asyncio.run(devices_of(Settings(device="cpu,cuda:1,cpu")))
    assert [(device.name, device.number, device.engines) for device in devices] == [
        ("cpu", 0, 3),
        ("cuda:1", 1, 3),
        ("cpu", 2, 3),
    ]
    assert [options_of(SETTINGS, device).sharing for device in devices] == [2, 2, 2]
    (alone,) = asyncio.run(devices_of(Settings()))
    assert (alone.name, alone.sharing) == ("auto", 1)


def test_all_without_a_cuda_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DevicesError, match="This machine has no CUDA device that torch .* can use."):
        asyncio.run(devices_of(Settings(device="all")))
