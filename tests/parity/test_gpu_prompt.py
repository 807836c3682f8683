"""The codec over prompts in lanes, in Triton's interpreter: torch's codes, samples and state, in any company."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.parity.test_gpu_codec import CPU, assert_near, codec_of
from tests.support.audio import speech
from tests.support.pretended_gpu import GPU, PretendedGpu
from whispergpt.benchmarks.gpu_check.models import SMALL
from whispergpt.engine.backends.prompt_path import GpuPromptPath, PromptState, TorchPromptPath
from whispergpt.engine.config import ENCODEC_24KHZ, GPT_S, HOP, SMALL_CODEC, FineConfig, ModelConfig
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.prompt_path import LANES, DecodeLanes, EncodeLanes
from whispergpt.engine.gpu.read_lanes import ReadLanes
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf, map_state
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.prompts.prompt import PromptEncoder, Stage

FRAMES = 8
CHUNKS = (8, 1)
NARROW = replace(ENCODEC_24KHZ, n_filters=4)
"""The full-size codec's structure: its first samples are mirrored, and two layers of LSTM."""

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="Triton's interpreter is off or Triton is missing")


def prompts(codec: Codec) -> list[Tensor]:
    """Return three prompts, and spread the codec's entries over their latents."""
    sound = torch.from_numpy(speech(2.0))
    cut = [sound[start * HOP :][: sum(CHUNKS) * HOP] for start in (0, 40, 80)]
    spread = codec.encoder(sound[None, None]).std()
    for k, codebook in enumerate(codec.quantizer.codebooks):
        codebook.embed.mul_(0.3 * 0.8**k * spread)
    return cut


def fresh(codec: Codec, slots: int = 1) -> tuple[State, State]:
    return codec.init_encoder_state(slots, CPU), {
        "decoder": codec.init_decoder_state(slots, CPU),
        "latent": torch.zeros(slots, codec.config.dimension),
    }


@torch.inference_mode()
def test_prompts_equal_torchs_in_any_lane() -> None:
    """Three prompts in chunks, the last one shorter; the third prompt also alone, in the first lane."""
    codec = codec_of(NARROW)
    sounds = prompts(codec)
    for_encoder, for_decoder = fresh(codec, LANES)
    encode = EncodeLanes(codec, for_encoder, CPU, FRAMES)
    decode = DecodeLanes(codec, for_decoder, CPU, torch.float32, FRAMES)
    ours, reference, alone = ([fresh(codec) for _ in sounds] for _ in range(3))
    start = 0
    for count in CHUNKS:
        cold = start == 0
        pieces = [sound[start * HOP :][: count * HOP] for sound in sounds]
        codes = encode.encode([encoder for encoder, _ in ours], pieces, [cold] * 3)
        audio = decode.decode([decoder for _, decoder in ours], codes, [cold] * 3)
        for lane, piece in enumerate(pieces):
            encoder, decoder = reference[lane]
            wanted = codec.encode_step(piece[None, None], encoder, cold=cold)
            assert torch.equal(codes[lane], wanted[0])
            heard = codec.decode_step(wanted, decoder["decoder"], cold=cold)[0, 0]
            assert float((audio[lane] - heard).abs().max()) < 1e-4
            assert_near(ours[lane][0], encoder)
            assert_near({"decoder": ours[lane][1]["decoder"]}, {"decoder": decoder["decoder"]})
            last = codec.quantizer.decode(wanted[:, :, -1:])[:, :, 0]
            assert float((ours[lane][1]["latent"] - last).abs().max()) < 1e-5
        (same_codes,) = encode.encode([alone[2][0]], [pieces[2]], [cold])
        (same_audio,) = decode.decode([alone[2][1]], [codes[2]], [cold])
        assert torch.equal(same_codes, codes[2]) and torch.equal(same_audio, audio[2])
        for one, other in zip(alone[2], ours[2], strict=True):
            map_state(lambda a, b: pytest.fail("states differ") if not torch.equal(a, b) else a, one, other)
        start += count
    assert len(codes[0].unique()) > 4


def test_a_prompt_by_kernels_is_a_prompt_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole prompt on both paths; it and its chunks are shorter than the engine's, for speed."""
    monkeypatch.setattr(TorchPromptPath, "GRID", FRAMES)
    monkeypatch.setattr("whispergpt.engine.prompts.prompt.MIN_PROMPT_SECONDS", 0.1)
    codec = codec_of(replace(SMALL_CODEC, n_filters=4))
    step = FrameStep(codec, WhisperGPT(replace(GPT_S, fine=FineConfig()))).eval().requires_grad_(False)
    (sound,) = prompts(step.codec)[:1]
    found, by_kernels, own = [], GpuPromptPath(step, CPU, torch.float32), PromptState.fresh(step, CPU)
    for part, lanes in ((own.encoder, by_kernels._encode), (own.sounding, by_kernels._decode)):
        # Only tensors of equal strides are copied at once on a GPU.
        map_state(lambda a, b: a if a.stride() == b.stride() else pytest.fail("strides differ"), part, lanes._lanes[0])
    for path in (by_kernels, TorchPromptPath(step, CPU)):
        with torch.inference_mode():
            encoder = PromptEncoder(path, PromptState.fresh(step, CPU))
        encoder.push(sound.numpy())
        for stage in Stage:
            while encoder.can(stage):
                encoder.work(stage)
        found.append(encoder.finish())
    ours, wanted = found
    assert torch.equal(ours.codes, wanted.codes)
    assert int((ours.decoded.int() - wanted.decoded.int()).abs().max()) <= 4
    assert_near(ours.state, wanted.state)


@pytest.mark.parametrize("config", [replace(SMALL, fine=None), replace(SMALL, code_width=64, spectrogram=None)])
@torch.inference_mode()
def test_prompts_are_read_in_any_lane(config: ModelConfig) -> None:
    """Chunks of other lengths, windows that are passed, a lane that held no numbers; in other lanes with equal bits."""
    torch.manual_seed(0)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(config)).eval().requires_grad_(False)
    lanes = ReadLanes(step, PromptState.fresh(step, CPU, slots=LANES).reading, CPU, FRAMES)
    ours, other, wanted = ([PromptState.fresh(step, CPU).reading for _ in range(3)] for _ in range(3))
    start = 0
    for counts in [(8, 8, 8)] * 4 + [(8, 3, 1)]:
        codes = [torch.randint(1024, (count,)) for count in counts]
        audio = [0.1 * torch.randn(count * HOP) for count in counts]
        lanes.read(ours, codes, audio, [start] * 3)
        lanes.read([PromptState.fresh(step, CPU).reading], [codes[0]], [torch.full_like(audio[0], torch.nan)], [0])
        for lane in (2, 0, 1):
            lanes.read([other[lane]], [codes[lane]], [audio[lane]], [start])
            step.read(codes[lane][None], audio[lane][None], wanted[lane], start)
        start += FRAMES
        for found, alone, expected in zip(ours, other, wanted, strict=True):
            map_state(lambda a, b: pytest.fail("states differ") if not torch.equal(a, b) else a, found, alone)
            assert_near(found, expected)


@pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
def test_reading_can_be_captured() -> None:
    """As far as it can be told without a GPU: nothing waits for values or comes from the CPU."""
    with PretendedGpu() as gpu, torch.inference_mode():
        step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(SMALL)).eval().to(GPU)
        state = step.init_state(2, GPU, torch.float32)
        codes, start = (torch.zeros(2, *shape, dtype=torch.int64, device=GPU) for shape in ((FRAMES,), ()))
        audio, count = torch.zeros(2, FRAMES * HOP, device=GPU), torch.full((2,), 3, device=GPU)
        with gpu.capturing():
            step.read_lanes(codes, audio, state, start, count)
        assert leaf(branch(state, "model"), "position").cpu().tolist() == [3, 3]
