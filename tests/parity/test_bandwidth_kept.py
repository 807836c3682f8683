"""Streams keep to the bandwidth of their prompts: on every path, after a resumption, and without a change to others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

from tests.parity.test_same_seed import no_kernels
from tests.support.audio import SPEECH, speech
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.config import NO_LIMIT
from whispergpt.engine.engine import Engine
from whispergpt.engine.low_pass import coefficients
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.prompts.resume import ResumeError
from whispergpt.engine.stream_plan import SamplingParams, Snapshot, StreamPlan
from whispergpt.engine.streams.scheduler import Stream

Pcm = npt.NDArray[np.int16]
SAMPLING = SamplingParams(seed=3, temperature=1.0, top_k=0, top_p=1.0)
FRAMES = 90
LoadEngine = Callable[..., Engine]


@pytest.fixture(scope="module", params=["as picked", "torch"])
def engine_with(request: pytest.FixtureRequest) -> LoadEngine:
    """Load the default model on the path that this machine gets, or on torch's."""

    def load(**options: bool) -> Engine:
        with pytest.MonkeyPatch.context() as patched:
            if request.param == "torch":
                patched.setattr("whispergpt.engine.native.check.load_library", no_kernels)
            return Engine.load("speech", "cpu", 8, **options)  # type: ignore[arg-type]

    return load


def heard(engine: Engine, prompt: Prompt, frames: int) -> tuple[Pcm, list[int]]:
    """Return a prompt with its continuation, and the continuation's coarse codes."""
    made = list(engine.generate(engine.stream(prompt, SAMPLING, frames)))
    return np.concatenate([prompt.decoded.numpy(), *(frame.pcm for frame in made)]), [frame.code for frame in made]


def high_band_db(sound: Pcm) -> float:
    """Return the power from 8.2 kHz on, in dB relative to the whole."""
    _, power = scipy.signal.welch(sound.astype(np.float64), 24_000, nperseg=960)
    return float(10 * np.log10(power[328:].sum() / power.sum()))


def test_a_narrow_prompt_and_its_streams_are_filtered_as_one_sound(engine_with: LoadEngine) -> None:
    """The codes are those of the model alone: it never hears the filter."""
    narrow, piano = speech(1.0), read_audio(SPEECH.with_name("piano.flac"))[:16_000]
    alone, limited = engine_with(keep_bandwidth=False), engine_with()
    for audio, limit_hz in ((narrow, 8_000), (piano, NO_LIMIT)):
        prompt, unlimited = limited.encode_prompt(audio), alone.encode_prompt(audio)
        assert (prompt.limit_hz, unlimited.limit_hz) == (limit_hz, NO_LIMIT)
        other = limited.stream(limited.encode_prompt(piano if limit_hz else narrow), SAMPLING, None)
        (ours, codes), (wanted, wanted_codes) = heard(limited, prompt, 16), heard(alone, unlimited, 16)
        limited.cancel(other)
        assert codes == wanted_codes
        if limit_hz:
            assert high_band_db(ours) < min(-75, high_band_db(wanted) - 5), "the model alone has sound there"
            filtered = scipy.signal.lfilter(coefficients(limit_hz), [1.0], wanted.astype(np.float64))
            wanted = np.clip(np.rint(filtered), -32768, 32767).astype(np.int16)
        assert np.array_equal(ours, wanted)


def frames_of(engine: Engine, stream: Stream) -> tuple[dict[int, Pcm], dict[int, Snapshot]]:
    """Return frames and snapshots of a stream by their numbers."""
    engine.start(stream)
    frames: dict[int, Pcm] = {}
    snapshots: dict[int, Snapshot] = {}
    while not stream.ended:
        report = engine.step()
        frames |= {frame.index: frame.pcm for frame in report.frames}
        snapshots |= {point.frame: point.snapshot for point in report.snapshots}
    return frames, snapshots


def test_a_resumed_stream_keeps_to_it_too_and_an_older_token_goes_on_without() -> None:
    load: partial[Engine] = partial(Engine.load, "speech", "cpu", 8, exact=True)
    engine, half = load(), 75
    if not engine.info().exactly:
        pytest.skip("only compiled kernels resume exactly")
    prompt, plan = engine.encode_prompt(speech(1.0)), StreamPlan(SAMPLING, FRAMES, snapshots=True)
    whole, snapshots = frames_of(engine, Stream(1, prompt, plan, credit=None))
    unlimited, _ = frames_of(
        alone := load(keep_bandwidth=False), Stream(1, alone.encode_prompt(speech(1.0)), plan, None)
    )
    named = msgspec.to_builtins(snapshots[half], builtin_types=(bytes,))
    assert named.pop("limit_hz") == 8_000
    older, resumed = msgspec.convert(named, Snapshot), load()
    for snapshot, wanted in ((snapshots[half], whole), (older, unlimited)):
        rest = StreamPlan(SAMPLING, FRAMES - half, first_frame=half)
        again, _ = frames_of(resumed, Stream(2, resumed.resume(snapshot).finish(), rest, credit=None))
        assert sorted(again) == list(range(half, FRAMES))
        assert all(np.array_equal(again[frame], wanted[frame]) for frame in again)
    with pytest.raises(ResumeError, match="bandwidth that this version does not have"):
        engine.resume(msgspec.structs.replace(snapshots[half], limit_hz=6_000))
