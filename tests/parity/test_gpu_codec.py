"""The codec and the mel slice by Triton kernels, in Triton's interpreter: torch's samples and state.

`make gpu-check` compares batches.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from whispergpt.engine.config import (
    CODEBOOK_SIZE,
    ENCODEC_24KHZ,
    HOP,
    LIMITS_HZ,
    NO_LIMIT,
    SMALL_CODEC,
    CodecConfig,
    MelConfig,
)
from whispergpt.engine.gpu.block_sizes import IN_THE_INTERPRETER
from whispergpt.engine.gpu.codec_layers import CodecLayers
from whispergpt.engine.gpu.codec_program import decode_frame, mel_slices
from whispergpt.engine.gpu.emitter import UNUSED, Emitter
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import whole_blocks
from whispergpt.engine.low_pass import HISTORY, LowPass
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import to_int16
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.streaming import State, branch, clone, map_state
from whispergpt.training.codec.start import keep_variance

CPU = torch.device("cpu")
CODECS = {
    "embedded codecs": replace(SMALL_CODEC, n_filters=4, n_codebooks=3),
    "full-size codec": replace(ENCODEC_24KHZ, n_filters=4, n_codebooks=3),
}
"""Codecs of all structures, narrow: the interpreter takes twenty seconds for a frame of the full-size one."""
SLOTS = 70

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="Triton's interpreter is off or Triton is missing")


class Decoder(Emitter):
    """Codes to samples and slices, one frame of each row."""

    def __init__(self, codec: Codec, mel: CausalMel, state: State, rows: int) -> None:
        super().__init__(rows, CPU, torch.float32)
        self.codes = torch.zeros(self.rows, codec.config.n_codebooks, dtype=torch.int32)
        self.samples = torch.zeros(self.rows, HOP, dtype=torch.int16)
        self.finite = torch.zeros(self.rows, dtype=torch.uint8)
        self.stage("codec")
        latent = CodecLayers(self).entries(self.codes, codec.quantizer.entries)
        held, self.low_pass = branch(state, "decoder"), LowPass(SLOTS)
        self.audio = decode_frame(self, codec.decoder, latent, held, self.samples, self.finite, self.low_pass)
        self.stage("mel")
        self.bands = mel_slices(self, mel, self.audio, branch(state, "mel"))

    def frame(self, slots: list[int], codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples and slices of these slots, with codes ``[slots, K]``."""
        self.slots.fill_(UNUSED)
        self.slots[: len(slots)] = torch.tensor(slots, dtype=torch.int32)
        self.codes[: len(slots)] = codes[slots].int()
        self.run(whole_blocks(len(slots)))
        return self.audio.memory[: len(slots)].clone(), self.bands.memory[: len(slots)].clone()


def codec_of(config: CodecConfig) -> Codec:
    torch.manual_seed(0)
    codec = Codec(config).eval().requires_grad_(False)
    keep_variance(codec)
    return codec


def busy_state(codec: Codec, mel: CausalMel) -> State:
    state: State = {"decoder": codec.init_decoder_state(SLOTS, CPU), "mel": mel.init_state(SLOTS, CPU)}
    return map_state(lambda t: torch.randn_like(t) * 0.3, state)


def assert_near(found: State, expected: State, path: str = "") -> None:
    for name, value in expected.items():
        other = found[name]
        if isinstance(value, dict):
            assert isinstance(other, dict)
            assert_near(other, value, f"{path}/{name}")
        else:
            assert isinstance(other, Tensor)
            assert float((other - value).abs().max()) < 1e-4, f"{path}/{name}"


@pytest.mark.parametrize(
    ("name", "slices"),
    [*((name, MelConfig()) for name in CODECS), ("embedded codecs", MelConfig(192, 4096, high_hz=6_000.0))],
)
@torch.inference_mode()
def test_frames_equal_torchs(name: str, slices: MelConfig) -> None:
    """Two frames of some slots, in any order; the other slots stay as they are."""
    codec, mel = codec_of(CODECS[name]), CausalMel(slices)
    state = busy_state(codec, mel)
    before, expected = clone(state), clone(state)
    slots = torch.randperm(SLOTS)[:20].tolist()
    active = torch.zeros(SLOTS, dtype=torch.bool)
    active[slots] = True
    program = Decoder(codec, mel, state, 64)
    for _ in range(2):
        codes = torch.randint(CODEBOOK_SIZE, (SLOTS, codec.config.n_codebooks))
        samples = codec.decode_step(codes[:, :, None], branch(expected, "decoder"), active)[:, 0]
        slices = mel.step(samples, branch(expected, "mel"), active)[:, 0]
        ours, bands = program.frame(slots, codes)
        assert float(samples.abs().max()) > 0.1
        assert float((ours - samples[slots]).abs().max()) < 1e-4
        assert int((program.samples[:20].int() - to_int16(samples[slots]).int()).abs().max()) <= 4
        assert program.finite[:20].all()
        assert float((bands - slices[slots]).abs().max()) < 1e-4
        assert_near(state, expected)
    others = ~active
    map_state(
        lambda now, was: pytest.fail("changed") if not torch.equal(now[others], was[others]) else now, state, before
    )


@torch.inference_mode()
def test_the_layout_for_float32_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU float32 has its stages in two kernels each, and hidden vectors in memory: no register spills so."""
    apart = replace(IN_THE_INTERPRETER, joined=False, in_parts=True, inputs=16, outputs=64)
    codec, mel = codec_of(CODECS["embedded codecs"]), CausalMel(MelConfig())
    together = busy_state(codec, mel)
    state = clone(together)
    slots, codes = [5, 3, 60], torch.randint(CODEBOOK_SIZE, (SLOTS, codec.config.n_codebooks))
    joined = Decoder(codec, mel, together, 64)
    wanted = joined.frame(slots, codes)
    monkeypatch.setattr("whispergpt.engine.gpu.context_layers.IN_THE_INTERPRETER", apart)
    program = Decoder(codec, mel, state, 64)
    assert len(program.launches) == len(joined.launches) + 3
    for one, other in zip(program.frame(slots, codes), wanted, strict=True):
        assert float((one - other).abs().max()) < 1e-5
    assert_near(state, together)


@torch.inference_mode()
def test_samples_of_limited_streams_are_those_of_the_host() -> None:
    """Frames beyond full scale, of two streams with limits and one without, at rows that change between frames."""
    emitter, draw = Emitter(64, CPU, torch.float32), np.random.default_rng(0)
    audio, samples = emitter.buffer(HOP, 1), torch.zeros(64, HOP, dtype=torch.int16)
    ours, host = LowPass(SLOTS), LowPass(SLOTS)
    CodecLayers(emitter).to_16_bits(audio, samples, torch.zeros(64, dtype=torch.uint8), ours)
    slots, limits = [69, 40, 3], [LIMITS_HZ[0], NO_LIMIT, LIMITS_HZ[-1]]
    histories = list(draw.integers(-32768, 32767, (3, HISTORY), np.int16))
    for low_pass in (ours, host):
        low_pass.begin(slots, limits, histories)
    for here in (slots, [3, 40]):
        emitter.slots.fill_(UNUSED)
        emitter.slots[: len(here)] = torch.tensor(here, dtype=torch.int32)
        audio.memory[: len(here)].normal_(0, 0.5)
        unlimited = to_int16(audio.memory[: len(here)]).numpy()
        wanted = unlimited.copy()
        host.apply(here, wanted)
        emitter.run(64)
        assert np.array_equal(samples[: len(here)].numpy(), wanted)
        assert [np.array_equal(*each) for each in zip(wanted, unlimited, strict=True)] == [slot == 40 for slot in here]
        assert torch.equal(ours.history[[69, 3]], host.history[[69, 3]])
