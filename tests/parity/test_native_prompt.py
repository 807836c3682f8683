"""A prompt through the compiled kernels: torch's codes and state, and the same bits however it is cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.audio import speech
from tests.support.kernels import kernels_expected
from tests.support.prompts import prefill
from whispergpt.engine.backends.prompt_path import NativePromptPath, PromptState
from whispergpt.engine.config import GPT_S, HOP, HYBRID, SMALL_CODEC, CodecConfig, FineConfig, ModelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.native.check import find_kernels
from whispergpt.engine.native.codec_program import DecodeProgram, EncodeProgram
from whispergpt.engine.native.library import load_library
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.weights import Weights
from whispergpt.engine.prompts.prompt import Prompt, PromptEncoder, Stage
from whispergpt.training.codec.start import keep_variance

CPU = torch.device("cpu")
FRAMES = 40
SIZES = {
    "hybrid": HYBRID,
    "fine stage": replace(HYBRID, fine=FineConfig()),
    "nearest codes": replace(HYBRID, fine=FineConfig(kind="nearest")),
    "gpt-s": GPT_S,
}

pytestmark = pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")


def step_of(config: ModelConfig, codec: CodecConfig = SMALL_CODEC) -> FrameStep:
    torch.manual_seed(0)
    step = FrameStep(Codec(codec), WhisperGPT(config)).eval().requires_grad_(False)
    for weight in step.model.parameters():
        weight.mul_(3 if weight.dim() > 1 else 1)  # far from uniform, so that states depend on everything
    keep_variance(step.codec)
    spread = step.codec.encoder(torch.from_numpy(audio())[None, None]).std()
    for k, codebook in enumerate(step.codec.quantizer.codebooks):
        codebook.embed.mul_(0.3 * 0.8**k * spread)
    step.pack()
    return step


def audio() -> np.ndarray:
    return speech(1.0)[: FRAMES * HOP]


def through_kernels(
    step: FrameStep, cuts: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[np.ndarray, np.ndarray, State, State]:
    """Codes ``[K, T]``, samples ``[T·320]`` and both states of the prompt, in chunks that end at ``cuts``."""
    encoder, state = step.codec.init_encoder_state(1, CPU), step.init_state(1, CPU, dtype)
    weights = Weights(load_library(), dtype)
    encode = EncodeProgram(step.codec, encoder, FRAMES, weights)
    last = leaf(state, "latent") if "latent" in state else None
    decode = DecodeProgram(step.codec, 8, branch(state, "decoder"), FRAMES, weights, last)
    read = ReadProgram(step, state, FRAMES, weights)
    codes, samples = [], []
    for start, end in pairwise((0, *cuts)):
        count = end - start
        encode.audio[:count] = audio()[start * HOP : end * HOP].reshape(count, HOP)
        encode.run(count)
        decode.codes[:, :count] = encode.codes[:, :count]
        decode.run(count)
        read.codes[:count], read.audio[:count] = encode.codes[0, :count], decode.audio[:count]
        read.run(count)
        codes.append(encode.codes[:, :count].copy())
        samples.append(decode.audio[:count].flatten())
    return np.concatenate(codes, 1), np.concatenate(samples), encoder, state


def leaves(state: State, prefix: str = "") -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


@pytest.mark.parametrize("name", SIZES)
@torch.inference_mode()
def test_a_prompt_gives_what_torch_gives(name: str) -> None:
    step = step_of(SIZES[name])
    encoder, state = step.codec.init_encoder_state(1, CPU), step.init_state(1, CPU)
    wanted = step.codec.encode_step(torch.from_numpy(audio())[None, None], encoder)
    codes, samples, native_encoder, native_state = through_kernels(step, (FRAMES,))
    assert len(np.unique(codes)) > 50
    assert codes.tolist() == wanted[0].tolist()
    heard = prefill(step, wanted, state, 0)
    assert np.abs(samples - heard.numpy()).max() < 1e-4 < np.abs(samples).max()
    expected, found = leaves({"e": encoder, "s": state}), leaves({"e": native_encoder, "s": native_state})
    for key in expected:
        size = float(expected[key].abs().max()) or 1.0
        torch.testing.assert_close(found[key], expected[key], rtol=1e-3, atol=1e-4 * size, msg=key)


@torch.inference_mode()
def test_bfloat16_changes_no_code_of_a_prompt_and_its_sound_little() -> None:
    step = step_of(SIZES["fine stage"])
    exact, rounded = (through_kernels(step, (FRAMES,), dtype) for dtype in (torch.float32, torch.bfloat16))
    assert (exact[0] == rounded[0]).all(), "the encoder multiplies in float32"
    off = np.square(rounded[1] - exact[1]).mean() / np.square(exact[1]).mean()
    assert 1e-8 < off < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_cutting_a_prompt_changes_no_bit(dtype: torch.dtype) -> None:
    step = step_of(SIZES["fine stage"])
    whole = through_kernels(step, (FRAMES,), dtype)
    for cuts in ((1, 2, 3, 7, 39, FRAMES), (32, FRAMES)):
        parts = through_kernels(step, cuts, dtype)
        assert (parts[0] == whole[0]).all() and (parts[1] == whole[1]).all()
        for before, after in zip(whole[2:], parts[2:], strict=True):
            one, other = leaves(before), leaves(after)
            assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
def test_a_prompt_in_pieces_is_the_whole_prompt(pad_mode: str) -> None:
    """With reflection the first frames need those after them: they wait until these have come."""
    step = step_of(GPT_S, replace(SMALL_CODEC, pad_mode=pad_mode))
    path = NativePromptPath(step, Weights(load_library()))

    def encoded(pieces: list[np.ndarray], most: int | None) -> Prompt:
        with torch.inference_mode():
            encoder = PromptEncoder(path, PromptState.fresh(step, CPU))
        for piece in pieces:
            encoder.push(piece)
            for stage in Stage:
                while encoder.can(stage):
                    encoder.work(stage, most)
        return encoder.finish()

    whole, parts = encoded([audio()], None), encoded(np.array_split(audio(), 50), 4)
    assert whole.frames == FRAMES and (whole.codes == parts.codes).all() and (whole.decoded == parts.decoded).all()
    one, other = leaves(whole.state), leaves(parts.state)
    assert all(torch.equal(one[key], other[key]) for key in one)
    if pad_mode == "constant":
        with torch.inference_mode():
            assert (through_kernels(step, (FRAMES,))[0] == whole.codes.numpy()).all(), "in one program and in two"


def test_kernels_are_found_for_a_codec_that_mirrors_its_first_frames() -> None:
    """And speaks up: what whispers agrees with anything."""
    step = step_of(GPT_S, replace(SMALL_CODEC, pad_mode="reflect"))
    found = find_kernels(step, CPU)
    assert found.weights is not None, found.missing_because
