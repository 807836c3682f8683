"""A stream continues its prompt exactly: prompt and continuation are one decode of one sequence of codes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.prompts import prefill
from whispergpt.engine.config import HYBRID, SMALL_CODEC
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.streaming import branch, leaf
from whispergpt.engine.model.whisper_gpt import WhisperGPT

PROMPT_FRAMES = 40
FRAMES = 30


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@torch.inference_mode()
def test_continuation_equals_one_offline_decode(pad_mode: str) -> None:
    """From the first generated sample on, for both kinds of padding; and the model has heard just that audio."""
    torch.manual_seed(5)
    codec = Codec(replace(SMALL_CODEC, pad_mode=pad_mode)).eval()
    step = FrameStep(codec, WhisperGPT(HYBRID).eval()).eval()
    state = step.init_state(1, torch.device("cpu"))
    prompt = torch.randint(1024, (1, 8, PROMPT_FRAMES))
    heard = [prefill(step, prompt[..., :16], state, 0), prefill(step, prompt[..., 16:], state, 16)]
    sampler = branch(state, "sampler")
    for name, value in (("seed", 3), ("temperature", 1.0), ("top_p", 1.0)):
        leaf(sampler, name).fill_(value)
    codes, made = [], []
    for _ in range(FRAMES):
        code, pcm = step(state, torch.ones(1, dtype=torch.bool))
        codes.append(code[:, 0])
        made.append(pcm[0].float() / 32767)
    latents = torch.cat(
        [codec.quantizer.decode(prompt), codec.quantizer.decode(torch.stack(codes, dim=1)[:, None])], dim=-1
    )
    offline = codec.decoder(latents)[0, 0]
    torch.testing.assert_close(torch.cat(heard), offline[: PROMPT_FRAMES * 320], atol=1e-5, rtol=0)
    # Half a step of 16 bits is the rounding of the output.
    generated = offline[PROMPT_FRAMES * 320 :].clamp(-1, 1)
    torch.testing.assert_close(torch.cat(made), generated, atol=1e-5 + 0.51 / 32767, rtol=0)
    sequence = torch.cat([prompt[:, 0], torch.stack(codes, dim=1)], dim=1)
    logits = step.model(sequence, CausalMel(HYBRID.mel)(offline[None]))
    torch.testing.assert_close(leaf(state, "logits"), logits[:, -1], atol=1e-4, rtol=1e-4)
