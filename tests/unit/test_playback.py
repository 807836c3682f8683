"""When a continuation is heard: a codec that gathers a page has given nothing out yet."""

from __future__ import annotations

import time
from typing import Any, cast

import numpy as np

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.server.audio.encoders import encoder
from whispergpt.server.audio.playback import Playback, PlayingStreams
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.observe.tracing import Tracing

FRAME = (np.sin(np.arange(320) / 7) * 9_000).astype("<i2").tobytes()


def playback(metrics: Metrics) -> Playback:
    model = ModelInfo("speech", 1, 24_000, 75, {}, "unknown", "f", slots=4)
    plan = StreamPlan(SamplingParams(seed=1, temperature=1.0, top_k=0, top_p=1.0), 75, "realtime")
    nobody = cast(Any, None)  # neither the engine nor the caller is asked for anything
    stream = StreamHandle(nobody, 1, model, plan, nobody)
    return Playback(stream, metrics, Tracing(False), "/stream", time.perf_counter(), realtime=True)


def first_audio(metrics: Metrics) -> float | None:
    return metrics.counts.get_sample_value(
        "whispergpt_time_to_first_audio_seconds_count", {"model": "speech", "route": "/stream"}
    )


def test_the_clock_stops_with_the_first_page_of_sound() -> None:
    metrics, playing = Metrics(), PlayingStreams()
    response, opus = playback(metrics), encoder("opus", 0)
    playing.streams.add(response)
    pushes = 0
    while not (page := opus.push(FRAME)):
        pushes += 1
        response.sent(1, gathering=True)
        assert response.frames == pushes and response.lead == playing.least_lead() == 0
        assert response.first_audio_seconds is None and not first_audio(metrics)
        time.sleep(0.002)
    assert pushes > 3 and page.startswith(b"OggS") and b"OpusTags" in page and len(page) > 300
    response.sent(1)
    assert first_audio(metrics) == 1
    assert response.first_audio_seconds is not None and response.first_audio_seconds >= 0.002 * pushes
    assert pushes / 75 < response.lead <= (pushes + 1) / 75, "what was gathered is in the page"
    response.gathered()
    response.sent(1, gathering=True)
    assert first_audio(metrics) == 1 and response.frames == pushes + 2


def test_a_stream_shorter_than_a_page_is_heard_at_its_end() -> None:
    metrics = Metrics()
    response = playback(metrics)
    response.gathered()
    assert response.first_audio_seconds is None, "nothing was there to be heard"
    response.sent(1, gathering=True)
    response.gathered()
    assert response.sounds and first_audio(metrics) == 1 and response.frames == 1
