"""The fine stage that does not draw: in the step as by its definition, and what is heard is one offline decode."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.parity.test_fine_stage import FRAMES, PROMPT_FRAMES, partly_known, primed
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.nearest_stage import NearestStage
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.quantizer import ResidualVectorQuantizer
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.lm.fine_loss import fine_loss


@pytest.fixture(scope="module")
def step() -> FrameStep:
    torch.manual_seed(7)
    model = WhisperGPT(replace(HYBRID, fine=FineConfig(64, kind="nearest")))
    made = FrameStep(Codec(SMALL_CODEC), model).eval().requires_grad_(False)
    for weight in made.model.parameters():
        weight.mul_(3 if weight.dim() > 1 else 1)
    return made


def stage_of(step: FrameStep) -> NearestStage:
    assert isinstance(step.model.fine, NearestStage)
    return step.model.fine


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@torch.inference_mode()
def test_each_code_is_the_nearest_to_what_those_before_it_left(
    step: FrameStep, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any temperature, which is the coarse code's alone."""
    prompt = torch.randint(1024, (1, 8, PROMPT_FRAMES))
    state = primed(step, prompt, temperature)
    assert "latent" not in state
    frames: list[Tensor] = []
    real = NearestStage.find

    def seen(self: NearestStage, hidden: Tensor, coarse: Tensor, quantizer: ResidualVectorQuantizer) -> Tensor:
        frames.append(real(self, hidden, coarse, quantizer))
        return frames[-1]

    monkeypatch.setattr(NearestStage, "find", seen)
    made = torch.cat([step(state, torch.ones(1, dtype=torch.bool))[1][0] for _ in range(FRAMES)]).float() / 32767
    codes = torch.cat([prompt, torch.stack(frames, dim=2)], dim=2)
    audio = step.codec.decode(codes)[:, 0]
    generated = audio[0, PROMPT_FRAMES * 320 :].clamp(-1, 1)
    torch.testing.assert_close(made, generated, atol=2e-5 + 0.51 / 32767, rtol=0)

    hidden = step.model.hidden(codes[:, 0], CausalMel(HYBRID.mel)(audio))[0, PROMPT_FRAMES - 1 : -1]
    entries = step.codec.quantizer.entries
    drawn = codes[0, :, PROMPT_FRAMES:]
    rest = stage_of(step)(hidden, entries[0][drawn[0]])
    for book in range(1, 8):
        distances = torch.cdist(rest, entries[book])
        chosen = distances.gather(1, drawn[book][:, None])[:, 0]
        # Near ties may fall either way.
        assert float((chosen - distances.amin(1)).max()) < 1e-3
        rest = rest - entries[book][drawn[book]]
    assert len({tuple(frame[0].tolist()) for frame in frames}) > 1


@torch.inference_mode()
def test_the_loss_is_the_share_that_the_estimate_leaves(step: FrameStep) -> None:
    batch, hidden = partly_known()
    codes, loss = batch.codes, fine_loss(step.model, step.codec, hidden, batch, 1.0)
    entries, left, power = step.codec.quantizer.entries, 0.0, 0.0
    for row, t in batch.known.nonzero().tolist():
        now = codes[row, t + 1]
        rest = sum((entries[k][now[k]] for k in range(1, 8)), torch.zeros(128))
        left += float((rest - stage_of(step)(hidden[row, t], entries[0][now[0]])).square().sum())
        power += float(rest.square().sum())
    assert float(loss) == pytest.approx(left / power, rel=1e-4)


def test_it_costs_less_than_drawing() -> None:
    drawn, nearest = (
        WhisperGPT(replace(HYBRID, fine=fine)).fine for fine in (FineConfig(), FineConfig(512, kind="nearest"))
    )
    assert drawn is not None and nearest is not None
    one, other = (sum(w.numel() for w in stage.parameters() if w.dim() == 2) for stage in (drawn, nearest))
    assert other < one / 1.5
