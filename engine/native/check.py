"""Comparison of the kernels with torch on this machine, before they are used: a step of two slots from a random state,
and a short prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whispergpt.engine.config import HOP, Dtype
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, clone, leaf, map_state
from whispergpt.engine.native.builds import NativeError
from whispergpt.engine.native.codec_program import DecodeProgram, EncodeProgram
from whispergpt.engine.native.frame_program import FrameProgram
from whispergpt.engine.native.library import Library, load_library, processor_targets
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.weights import Weights

SLOTS = 2
PROMPT_FRAMES = 8
TOLERANCE = 1e-3
"""Largest error of logits, relative to the largest one; rounding alone makes about 1e-5."""
ROUNDED_TOLERANCE = 0.1
"""Largest error with products in bfloat16, which make about 1e-2, and in int8; for sound, relative to its root mean
square."""


@dataclass(frozen=True)
class Kernels:
    """A model's weights with the library for this machine, or the reason why there are no kernels."""

    weights: Weights | None
    missing_because: str | None = None


def find_kernels(step: FrameStep, device: torch.device, dtype: Dtype = "auto") -> Kernels:
    """Return the fastest kernels that compute here what torch does; no kernels and no reason for other devices."""

    def check(weights: Weights) -> None:
        _check_step(step, weights)
        _check_read(step, _check_codec(step.codec, weights), weights, TOLERANCE)

    found = _first_that_pass(check, device)
    if dtype == "float32" or found.weights is None:
        return found
    library = found.weights.library
    if dtype == "auto" and not library.functions.whispergpt_multiplies_pairs():
        return found
    try:
        faster = Weights(library, torch.int8 if dtype == "int8" else torch.bfloat16)
        _check_read(step, _check_codec(step.codec, faster), faster, ROUNDED_TOLERANCE)
    except NativeError:
        return Kernels(None, "rounding to 8 bits changes this model too much") if dtype == "int8" else found
    return Kernels(faster)


def find_codec_kernels(codec: Codec, device: torch.device) -> Kernels:
    """Return the kernels for a codec by itself, in float32."""

    def check(weights: Weights) -> None:
        _check_codec(codec, weights)

    return _first_that_pass(check, device)


def _first_that_pass(check: Callable[[Weights], None], device: torch.device) -> Kernels:
    if device.type != "cpu":
        return Kernels(None)
    reason = ""
    try:
        for target in processor_targets():
            try:
                weights = Weights(load_library(target))
                check(weights)
            except NativeError as error:
                reason = f"{error}"
                continue
            if reason:
                sys.stderr.write(f"The kernels for {target.name} are used, since faster ones are not: {reason}.\n")
            return Kernels(weights)
    except NativeError as error:
        reason = f"{error}"
    return Kernels(None, reason)


@torch.inference_mode()
def _check_step(step: FrameStep, weights: Weights) -> None:
    """Run one frame both ways.

    Raises:
        NativeError: the kernels are not made for this model, or their results differ from torch's.
    """
    draw = torch.Generator().manual_seed(0)

    def random(held: Tensor) -> Tensor:
        return torch.randn(held.shape, generator=draw) * 0.3 if held.is_floating_point() else held

    state = map_state(random, step.init_state(SLOTS, torch.device("cpu")))
    sampler = branch(state, "sampler")
    for name, values in (("temperature", [1.0, 0.0]), ("top_p", [0.95, 1.0]), ("seed", [1, 2])):
        leaf(sampler, name).copy_(torch.tensor(values))
    native_state = clone(state)
    program = FrameProgram(step, native_state, SLOTS, weights)
    codes, samples = step(state, torch.ones(SLOTS, dtype=torch.bool))
    program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
    off = int(np.abs(program.samples.astype(int) - samples.numpy()).max())
    # Written so that NaN fails too.
    if not (program.codes.tolist() == codes.tolist() and _logits_differ(native_state, state) < TOLERANCE and off <= 2):
        raise _wrong(weights.library)


@torch.inference_mode()
def _check_codec(codec: Codec, weights: Weights) -> DecodeProgram:
    """Encode and decode a few frames of noise both ways, as if earlier frames existed: the kernels never compute the
    mirrored start of a stream. Return the program with codes and sound; raise NativeError as above."""
    device = torch.device("cpu")
    audio = 0.1 * torch.randn(PROMPT_FRAMES, HOP, generator=torch.Generator().manual_seed(0))
    encode = EncodeProgram(codec, codec.init_encoder_state(1, device), PROMPT_FRAMES, weights)
    encode.audio[:] = audio.numpy()
    encode.run(PROMPT_FRAMES)
    codes = codec.encode_step(audio.view(1, 1, -1), codec.init_encoder_state(1, device))
    decode = DecodeProgram(codec, codes.shape[1], codec.init_decoder_state(1, device), PROMPT_FRAMES, weights)
    decode.codes[:] = codes[0].numpy()
    decode.run(PROMPT_FRAMES)
    heard = codec.decode_step(codes, codec.init_decoder_state(1, device))
    same = float((encode.codes == codes[0].numpy()).mean())  # near ties may be decided differently
    wanted = heard.flatten().numpy()
    off = np.abs(decode.audio.flatten() - wanted)
    if weights.dtype == torch.float32:
        alike = float(off.max()) * 32_767 <= 2
    else:
        alike = float(np.square(off).mean()) <= ROUNDED_TOLERANCE**2 * float(np.square(wanted).mean())
    if not (same > 0.75 and alike):
        raise _wrong(weights.library)
    return decode


@torch.inference_mode()
def _check_read(step: FrameStep, heard: DecodeProgram, weights: Weights, tolerance: float) -> None:
    """Have the model read these frames both ways; raise NativeError as above."""
    streams = [step.init_state(1, torch.device("cpu")) for _ in range(2)]
    read = ReadProgram(step, streams[0], PROMPT_FRAMES, weights)
    read.codes[:], read.audio[:] = heard.codes[0], heard.audio
    read.run(PROMPT_FRAMES)
    coarse = torch.from_numpy(heard.codes[:1].astype(np.int64))
    step.read(coarse, torch.from_numpy(heard.audio).view(1, -1), streams[1], 0)
    if not _logits_differ(streams[0], streams[1]) < tolerance:
        raise _wrong(weights.library)


def _logits_differ(found: State, wanted: State) -> float:
    """Return the largest difference of logits, relative to the largest one."""
    a, b = leaf(found, "logits"), leaf(wanted, "logits")
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-3))


def _wrong(library: Library) -> NativeError:
    return NativeError(f"the kernels ({library.name}) do not compute what torch does on this processor")
