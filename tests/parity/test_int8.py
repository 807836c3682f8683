"""Products, keys and values in 8 bits: exact sums, the same bits on other processors, and small losses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.parity.test_native_step import MODELS, SLOTS, busy_state, frame_step
from tests.support.audio import speech
from tests.support.kernels import kernels_expected
from tests.support.portable_streams import continued, engine_and_prompt, played
from tests.support.rings import scales_of
from whispergpt.engine.checkpoints.checkpoint import ModelError, load_model
from whispergpt.engine.config import HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, clone, leaf, map_state
from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.check import Kernels
from whispergpt.engine.native.codec_program import DecodeProgram, EncodeProgram
from whispergpt.engine.native.emitter import Emitter, Signal
from whispergpt.engine.native.frame_program import FrameProgram
from whispergpt.engine.native.library import Library, load_library, processor_targets
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.weights import Weights

pytestmark = pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")
CPU = torch.device("cpu")
DECODED_DB, NATS = 30, 0.02
"""Lowest ratio of signal to noise of the decoder beside float32, and what the loss of the next code may rise by."""
Floats = npt.NDArray[np.float32]


def libraries() -> list[Library]:
    """Return the kernels with and without instructions for products of bytes."""
    return [load_library(), load_library(processor_targets()[-1])]


def product(library: Library, inputs: Tensor, weight: Tensor, bias: Tensor, times: int, step: int) -> Tensor:
    """Multiply rows of ``inputs`` ``[rows, n]`` by the kernel, ``times`` for each, and return ``[rows, times, N]``."""
    emitter, rows = Emitter(Weights(library, torch.int8), len(inputs)), len(inputs)
    out = torch.zeros(rows, times * len(weight))
    made = emitter.product(Signal(k.Rows.of(inputs), 1, inputs.shape[1]), weight, bias, times, step)
    emitter.emit(k.Keep(made.rows, out.shape[1], k.Rows.of(out)))
    emitter.complete()
    slots, seconds = np.arange(rows, dtype=np.int32), np.zeros(4)
    library.functions.whispergpt_run(emitter._handle, slots.ctypes.data, 0, rows, seconds.ctypes.data)
    return out.view(rows, times, -1)


@pytest.mark.parametrize(("times", "step", "count", "outputs"), [(1, 256, 256, 960), (13, 16, 48, 33), (5, 4, 8, 7)])
def test_products_equal_their_definition(times: int, step: int, count: int, outputs: int) -> None:
    """Whole numbers have exact products; others those of their roundings, up to the rounding of the result."""
    draw = torch.Generator().manual_seed(times)
    rows, length = 17, (times - 1) * step + count
    inputs = torch.randint(0, 256, (rows, length), generator=draw)
    weight = torch.randint(-127, 128, (outputs, count), generator=draw)
    inputs[:, 0], inputs[:, 1], weight[:, 0] = 0, 255, 127
    bias = torch.randint(-9, 9, (outputs,), generator=draw)
    wanted = inputs.unfold(1, count, step) @ weight.T + bias
    for library in libraries():
        made = product(library, inputs.float(), weight.float(), bias.float(), times, step)
        assert torch.equal(made.long(), wanted)
    floats, weights = torch.randn(rows, length, generator=draw), torch.randn(outputs, count, generator=draw)
    floats[0] = 0.0
    low, high = floats.amin(1, keepdim=True), floats.amax(1, keepdim=True)
    scale, most = (high - low) / 255, weights.abs().amax(1, keepdim=True)
    rounded = low + torch.nan_to_num((floats - low) / scale).round() * scale
    wanted = rounded.unfold(1, count, step) @ ((weights * 127 / most).round() * most / 127).T + bias
    found = [product(library, floats, weights, bias.float(), times, step) for library in libraries()]
    assert torch.equal(*found)
    # One input may lie so near the middle of two numbers that float32 decides otherwise.
    assert float((found[0] - wanted).norm() / wanted.norm()) < 1e-3
    assert torch.equal(found[0][0], bias.float().expand(times, -1)), "silence has no noise"


def test_other_processors_have_the_same_bits() -> None:
    """Also where no instruction multiplies bytes: of codes, samples and all state but the layout of the rings."""
    step = frame_step(*MODELS["fine stage"])
    start = map_state(lambda t: t.zero_() if t.dtype == torch.int8 else t, busy_state(step, torch.int8))
    made = []
    for library in libraries():
        state = clone(start)
        program = FrameProgram(step, state, SLOTS, Weights(library, torch.int8))
        for _ in range(4):
            program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
        made.append((program.codes.copy(), program.samples.copy(), without_rings(state)))
    (codes, samples, state), (other_codes, other_samples, other_state) = made
    assert np.array_equal(codes, other_codes) and np.array_equal(samples, other_samples)
    assert state.keys() == other_state.keys() and all(torch.equal(state[name], other_state[name]) for name in state)


def without_rings(state: State, path: str = "") -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, part in state.items():
        if isinstance(part, dict):
            found |= without_rings(part, f"{path}/{name}")
        elif name not in ("keys", "values"):
            found[f"{path}/{name}"] = part
    return found


@pytest.mark.parametrize("name", ["hybrid", "gpt-l"])
def test_rings_are_near_those_in_floats(name: str) -> None:
    """Groups of one, two and four heads, over a ring that is no whole number of blocks and wraps."""
    config, codec = MODELS[name]
    step, logits = frame_step(replace(config, stack=replace(config.stack, window=50)), codec), []
    draw = np.random.default_rng(0)
    codes, audio = draw.integers(0, 1024, 70), draw.normal(0, 0.1, (70, HOP))
    for kept_in in (torch.float32, torch.int8):
        state = step.init_state(1, CPU, kept_in)
        read = ReadProgram(step, state, 70, Weights(load_library()))
        read.codes[:], read.audio[:] = codes, audio
        read.run(70)
        logits.append(leaf(state, "logits").clone())
    assert 1e-5 < float((logits[1] - logits[0]).norm() / logits[0].norm()) < 0.03


def test_what_is_no_number_stays_in_its_stream() -> None:
    step = frame_step(*MODELS["hybrid"])
    state = busy_state(step, torch.int8)
    scales_of(leaf(branch(branch(branch(state, "model"), "stack"), "0"), "values"))[1] = float("nan")
    program = FrameProgram(step, state, SLOTS, Weights(load_library(), torch.int8))
    program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
    assert leaf(state, "logits").isnan().any(1).tolist() == [slot == 1 for slot in range(SLOTS)]


@torch.inference_mode()
def test_losses_are_small() -> None:
    """Four seconds of read English: the codec's sound from the same codes, and the model's loss behind that sound."""
    step = load_model("speech", CPU).step
    step.pack()
    audio = speech(4.0)
    frames = len(audio) // HOP
    encode = EncodeProgram(step.codec, step.codec.init_encoder_state(1, CPU), frames, Weights(load_library()))
    encode.audio[:] = audio[: frames * HOP].reshape(frames, HOP)
    encode.run(frames)
    sounds, losses = [], []
    for dtype in (torch.float32, torch.int8):
        weights = Weights(load_library(), dtype)
        decode = DecodeProgram(step.codec, len(encode.codes), step.codec.init_decoder_state(1, CPU), frames, weights)
        decode.codes[:] = encode.codes
        decode.run(frames)
        sounds.append(decode.audio.copy())
        losses.append(next_code_loss(step, encode.codes[0], sounds[-1], weights))
    noise = float(np.square(sounds[1] - sounds[0]).mean())
    assert 10 * math.log10(float(np.square(sounds[0]).mean()) / noise) > DECODED_DB
    assert losses[1] - losses[0] < NATS


def next_code_loss(step: FrameStep, codes: npt.NDArray[np.int32], sound: Floats, weights: Weights) -> float:
    """Return the mean cross-entropy of each next code, in nats."""
    state = step.init_state(1, CPU, weights.dtype)
    read, lost = ReadProgram(step, state, 1, weights), 0.0
    for frame in range(len(codes) - 1):
        read.codes[0], read.audio[0] = codes[frame], sound[frame]
        read.run(1)
        lost += float(F.cross_entropy(leaf(state, "logits"), torch.tensor([int(codes[frame + 1])])))
    return lost / (len(codes) - 1)


def test_streams_continue_from_snapshots() -> None:
    """Exactly from those of int8; from those of float32 with other samples, as between other formats."""
    single, prompt = engine_and_prompt()
    engine = Engine.load("speech", "cpu", 8, exact=True, dtype="int8")
    assert "/cpu/int8-portable/native-" in engine.fingerprint
    theirs, ours = played(single, prompt), played(engine, engine.encode_prompt(speech(1.0)))
    for frame, (code, pcm) in continued(engine, ours).frames.items():
        assert code == ours.frames[frame][0] and np.array_equal(pcm, ours.frames[frame][1]), frame
    assert len(continued(engine, theirs).frames) == len(continued(engine, ours).frames) > 0


def test_without_kernels_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.engine.engine.find_kernels", lambda *_: Kernels(None, "there is no C++ compiler"))
    with pytest.raises(ModelError, match="int8 needs the compiled kernels of CPUs, .*: there is no C"):
        Engine.load("speech", "cpu", 8, dtype="int8")
