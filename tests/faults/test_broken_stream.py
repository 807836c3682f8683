"""A stream whose numbers are no longer finite fails alone: whoever plays beside it hears what they would have heard."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.random_model import random_model
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.config import FineConfig
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages.commands import ChangeSampling, OpenPrompt, StartStream
from whispergpt.engine.messages.events import Event, PromptFailed, StreamEnded
from whispergpt.engine.model.streaming import branch, leaf, map_state
from whispergpt.engine.native.library import NativeError
from whispergpt.engine.process.commands import Worker
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.engine.streams.capacity import Capacity, StepCost
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.engine.streams.slots import Slots

FRAMES = 30


@pytest.fixture(params=["as picked", "torch"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    model = random_model(0, FineConfig())
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "torch":
            patched.setattr("whispergpt.engine.native.check.load_library", _no_kernels)
        yield Engine(model, torch.device("cpu"), 4)


def _no_kernels(*_: object) -> None:
    raise NativeError("for this test")


def prompt_for(engine: Engine) -> Prompt:
    return engine.encode_prompt(np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32))


def stream(engine: Engine, prompt: Prompt, seed: int, frames: int = FRAMES) -> Stream:
    return engine.stream(prompt, SamplingParams(seed, 1.0, 0, 1.0), frames)


def play(engine: Engine, streams: list[Stream]) -> list[bytes]:
    """What each of them sounds like, until all are over."""
    heard = {one.id: b"" for one in streams}
    for _ in range(10 * FRAMES):
        for frame in engine.step().frames:
            if frame.stream.id in heard:
                heard[frame.stream.id] += frame.pcm.tobytes()
        if all(one.ended for one in streams):
            return list(heard.values())
    raise AssertionError("a stream is stuck")


@torch.inference_mode()
def poison(engine: Engine, slot: int) -> None:
    """In the decoder, which remembers it for good."""

    def spoil(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.fill_(float("nan"))

    map_state(spoil, branch(engine._slots[slot], "decoder"))


def test_one_fails_and_the_others_do_not_hear_it(engine: Engine) -> None:
    prompt = prompt_for(engine)
    wanted = [play(engine, [stream(engine, prompt, seed)])[0] for seed in (1, 2, 3)]
    streams = [stream(engine, prompt, seed) for seed in (1, 2, 3)]
    for _ in range(5):
        engine.step()
    poison(engine, streams[1].slot)
    report = engine.step()
    assert report.failed == [streams[1]] and streams[1].status == "failed"
    assert {frame.stream for frame in report.frames} == {streams[0], streams[2]}, "its broken frame is nobody's"
    after_six = 6 * 640
    heard = play(engine, [streams[0], streams[2]])
    assert [streams[0].status, streams[2].status] == ["completed"] * 2
    assert heard == [wanted[0][after_six:], wanted[2][after_six:]]
    again = [stream(engine, prompt, seed) for seed in (3, 2, 1)]  # the broken slot among them
    assert play(engine, again) == wanted[::-1]


def test_a_prompt_that_is_broken_fails_before_it_is_stepped(engine: Engine) -> None:
    good, bad = prompt_for(engine), prompt_for(engine)
    bad = replace(bad, state=copy.deepcopy(bad.state))
    leaf(bad.state, "logits").fill_(float("inf"))
    streams = [stream(engine, good, 1), stream(engine, bad, 2)]
    report = engine.step()
    assert report.failed == [streams[1]] and [frame.stream for frame in report.frames] == [streams[0]]
    assert engine.scheduler.active == 1


def test_memory_that_runs_out_at_a_start_is_one_streams_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Slots.fill

    def full(
        slots: Slots, numbers: list[int], prompts: list[Prompt], sampling: list[SamplingParams], frames: list[int]
    ) -> None:
        if any(one.seed == 2 for one in sampling):
            raise MemoryError
        fill(slots, numbers, prompts, sampling, frames)

    prompt = prompt_for(engine)
    wanted = play(engine, [stream(engine, prompt, 1)])
    monkeypatch.setattr(Slots, "fill", full)
    streams = [stream(engine, prompt, 1), stream(engine, prompt, 2)]
    report = engine.step()
    assert report.failed == [streams[1]] and [frame.stream for frame in report.frames] == [streams[0]]
    assert wanted[0].startswith(report.frames[0].pcm.tobytes())
    assert play(engine, streams[:1]) == [wanted[0][640:]]


def test_a_command_that_fails_ends_what_it_names(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    said: list[Event] = []
    desk = PromptDesk(cache_bytes=0)
    try:
        worker = Worker({"random": engine}, said.append, desk, Capacity({"random": StepCost([1], [0.001])}))
        worker._prompts[1] = (engine, prompt_for(engine))
        for number in (7, 8):
            worker.handle(StartStream(number, 1, StreamPlan(SamplingParams(1, 1.0, 0, 1.0), FRAMES)))
        worker.turn()
        with monkeypatch.context() as broken:
            broken.setattr(engine, "change_sampling", full)
            broken.setattr(engine, "open_prompt", full)
            worker.handle(ChangeSampling(7, SamplingParams(2, 1.0, 0, 1.0)))
            worker.handle(OpenPrompt(2, "random", "somebody"))
        assert StreamEnded(7, "failed", 1) in said and engine.scheduler.active == 1
        assert [event.code for event in said if isinstance(event, PromptFailed)] == ["internal"]
        worker.turn()
        assert list(worker._streams) == [8]
    finally:
        desk.close()


def test_the_worker_says_so(engine: Engine) -> None:
    said: list[Event] = []
    desk = PromptDesk(cache_bytes=0)
    try:
        worker = Worker({"random": engine}, said.append, desk, Capacity({"random": StepCost([1], [0.001])}))
        worker._prompts[1] = (engine, prompt_for(engine))
        worker.handle(StartStream(7, 1, StreamPlan(SamplingParams(1, 1.0, 0, 1.0), FRAMES)))
        worker.turn()
        poison(engine, 0)
        worker.turn()
        ended = [event for event in said if isinstance(event, StreamEnded)]
        assert ended == [StreamEnded(7, "failed", 1)] and not worker._streams
        worker.turn()
    finally:
        desk.close()


def test_a_model_of_broken_numbers_is_not_ready(engine: Engine) -> None:
    stream(engine, prompt_for(engine), 1).sampling = SamplingParams(1, 1.0, 0, 1.0)
    with pytest.raises(ModelError, match="not finite"), torch.inference_mode():
        played = stream(engine, prompt_for(engine), 2)
        for number, _ in enumerate(engine.generate(played)):
            if number == 3:
                poison(engine, played.slot)
