"""The fine stage in the step equals itself teacher-forced, and what is heard is one offline decode of all its codes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.prompts import prefill
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.sampling import draw, gumbel_noise
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.lm.fine_loss import fine_loss
from whispergpt.training.tokens.token_crops import NO_TARGET, Batch

PROMPT_FRAMES = 40
FRAMES = 12


@pytest.fixture(scope="module")
def step() -> FrameStep:
    torch.manual_seed(7)
    made = FrameStep(Codec(SMALL_CODEC), WhisperGPT(replace(HYBRID, fine=FineConfig()))).eval().requires_grad_(False)
    for weight in made.model.parameters():
        weight.mul_(3 if weight.dim() > 1 else 1)
    return made


def latents_of(step: FrameStep, codes: Tensor) -> Tensor:
    """``[B, K, T]`` → ``[B, T, dimension]``."""
    return step.codec.quantizer.decode(codes).transpose(1, 2)


def partly_known() -> tuple[Batch, Tensor]:
    """Crops of nine frames, of which one lacks the last three targets; and the model's states that predict them."""
    codes = torch.randint(1024, (2, 9, 8))
    known = torch.ones(2, 8, dtype=torch.bool)
    known[1, 5:] = False
    targets = torch.where(known, codes[:, 1:, 0], NO_TARGET)
    return Batch(codes, torch.zeros(2, 8, 80), targets), torch.randn(2, 8, HYBRID.stack.width)


def primed(step: FrameStep, prompt: Tensor, temperature: float) -> State:
    state = step.init_state(1, torch.device("cpu"))
    prefill(step, prompt[..., :16], state, 0)
    prefill(step, prompt[..., 16:], state, 16)
    sampler = branch(state, "sampler")
    for name, value in (("seed", 3), ("temperature", temperature), ("top_p", 1.0)):
        leaf(sampler, name).fill_(value)
    return state


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@torch.inference_mode()
def test_in_the_step_as_teacher_forced(step: FrameStep, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = torch.randint(1024, (1, 8, PROMPT_FRAMES))
    state = primed(step, prompt, temperature)
    frames: list[Tensor] = []
    real = DrawnStage.draw

    def seen(self: DrawnStage, *args: Tensor) -> tuple[Tensor, Tensor]:
        codes, latent = real(self, *args)  # type: ignore[arg-type]
        frames.append(codes)
        return codes, latent

    monkeypatch.setattr(DrawnStage, "draw", seen)
    made = torch.cat([step(state, torch.ones(1, dtype=torch.bool))[1][0] for _ in range(FRAMES)]).float() / 32767
    codes = torch.cat([prompt, torch.stack(frames, dim=2)], dim=2)
    audio = step.codec.decode(codes)[:, 0]
    generated = audio[0, PROMPT_FRAMES * 320 :].clamp(-1, 1)
    torch.testing.assert_close(made, generated, atol=2e-5 + 0.51 / 32767, rtol=0)

    hidden = step.model.hidden(codes[:, 0], CausalMel(HYBRID.mel)(audio))
    fine, entries = step.model.fine, step.codec.quantizer.entries
    assert fine is not None
    now, before = slice(PROMPT_FRAMES, None), slice(PROMPT_FRAMES - 1, -1)
    logits = fine(hidden[:, before], latents_of(step, codes[..., before]), codes[..., now].transpose(1, 2), entries)
    for t in range(FRAMES):
        for k in range(1, 8):
            noise = gumbel_noise(torch.tensor([3]), torch.tensor([t]), k, 1024)
            wanted = logits[:, t, k - 1] + (FineConfig().temperature * noise if temperature else 0.0)
            # Near ties may fall either way.
            best, drawn = wanted.max(), wanted[0, codes[0, k, PROMPT_FRAMES + t]]
            assert float(best - drawn) < 1e-3
    assert len({tuple(f[0].tolist()) for f in frames}) == FRAMES


@torch.inference_mode()
def test_the_loss_is_that_of_the_codes_that_come_next(step: FrameStep) -> None:
    batch, hidden = partly_known()
    codes, loss = batch.codes, fine_loss(step.model, step.codec, hidden, batch, 1.0)
    fine, entries = step.model.fine, step.codec.quantizer.entries
    assert fine is not None
    total = []
    for row, t in batch.known.nonzero().tolist():
        previous = latents_of(step, codes[row, t][None, :, None])[0, 0]
        logits = fine(hidden[row, t], previous, codes[row, t + 1], entries)
        total.append(F.cross_entropy(logits, codes[row, t + 1, 1:]))
    torch.testing.assert_close(loss, torch.stack(total).mean(), atol=1e-4, rtol=1e-4)


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    frames = torch.arange(20_000)
    full = torch.full_like
    drawn = draw(logits.expand(20_000, -1), full(frames, 9), frames, torch.full((20_000,), 0.7), 3)
    found, wanted = torch.bincount(drawn, minlength=4) / 20_000, (logits / 0.7).softmax(0)
    assert ((found - wanted).abs() < 4 * (wanted * (1 - wanted) / 20_000).sqrt() + 1e-4).all()
    assert (draw(logits.expand(20, -1), frames[:20], frames[:20], torch.zeros(20), 3) == 0).all()


def test_seven_codes_cost_at_most_five_megaflops() -> None:
    fine = DrawnStage(FineConfig(), HYBRID.stack.width)
    products = sum(m.weight.numel() for m in fine.modules() if isinstance(m, torch.nn.Linear))
    assert 2 * (products + 7 * 1024 * 128) <= 5e6
