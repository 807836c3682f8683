"""The cached ways through the model equal the full forward pass, also after the rings have wrapped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whispergpt.engine.config import GPT_L, GPT_S, HYBRID, ModelConfig
from whispergpt.engine.model.rotary import PERIOD, Rotary, rotate
from whispergpt.engine.model.streaming import copy_into, leaf, rows
from whispergpt.engine.model.whisper_gpt import WhisperGPT

FRAMES = 75


def small_windows(config: ModelConfig) -> ModelConfig:
    """The same model with windows so short that a test wraps them several times."""
    spectrogram = replace(config.spectrogram, window=7) if config.spectrogram else None
    return replace(config, stack=replace(config.stack, window=20), spectrogram=spectrogram)


@pytest.fixture(params=["hybrid", "gpt-s"])
def model(request: pytest.FixtureRequest) -> WhisperGPT:
    torch.manual_seed(1)
    config = small_windows({"hybrid": HYBRID, "gpt-s": GPT_S}[request.param])
    # Larger weights than at the start of training, so that attention is not uniform and errors show.
    made = WhisperGPT(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() > 1:
                weight.mul_(3)
    return made


@pytest.fixture
def inputs(model: WhisperGPT) -> tuple[torch.Tensor, torch.Tensor | None]:
    draw = torch.Generator().manual_seed(2)
    codes = torch.randint(1024, (3, FRAMES), generator=draw)
    mel = torch.randn(3, FRAMES, model.config.mel.n_mels, generator=draw) if model.hybrid else None
    return codes, mel


def cut(mel: torch.Tensor | None, row: slice, frames: slice) -> torch.Tensor | None:
    return None if mel is None else mel[row, frames]


@torch.inference_mode()
def test_steps_equal_forward(model: WhisperGPT, inputs: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    codes, mel = inputs
    full = model(codes, mel)
    state = model.init_state(3, torch.device("cpu"))
    active = torch.ones(3, dtype=torch.bool)
    for t in range(FRAMES):
        logits = model.step(codes[:, t], None if mel is None else mel[:, t], state, active)
        torch.testing.assert_close(logits, full[:, t], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunks", [(75,), (1, 2, 30, 42), (20, 20, 20, 15), (19, 21, 35), (8,) * 9 + (3,)])
@torch.inference_mode()
def test_chunks_equal_forward(
    model: WhisperGPT, inputs: tuple[torch.Tensor, torch.Tensor | None], chunks: tuple[int, ...]
) -> None:
    codes, mel = inputs
    full = model(codes[:1], cut(mel, slice(1), slice(None)))
    state = model.init_state(1, torch.device("cpu"))
    start = 0
    for count in chunks:
        part = slice(start, start + count)
        logits = model.extend(codes[:1, part], cut(mel, slice(1), part), state, start)
        torch.testing.assert_close(logits, full[:, part], atol=1e-5, rtol=1e-5)
        start += count


@torch.inference_mode()
def test_prefill_then_steps_with_others_joining_and_pausing(
    model: WhisperGPT, inputs: tuple[torch.Tensor, torch.Tensor | None]
) -> None:
    """Each row is prefilled by itself, copied into its slot at another time, and paused at random."""
    codes, mel = inputs
    full = model(codes, mel)
    state = model.init_state(3, torch.device("cpu"))
    prompt_frames = (5, 33, 24)
    at = [-1, -1, -1]
    draw = torch.Generator().manual_seed(3)
    for turn in range(200):
        for row in range(3):
            if at[row] < 0 and turn >= 10 * row:
                single = model.init_state(1, torch.device("cpu"))
                part = slice(prompt_frames[row])
                model.extend(codes[row : row + 1, part], cut(mel, slice(row, row + 1), part), single, 0)
                copy_into(rows(state, row, row + 1), single)
                at[row] = prompt_frames[row]
        active = torch.tensor([0 <= a < FRAMES for a in at]) & (torch.rand(3, generator=draw) < 0.7)
        place = [min(max(a, 0), FRAMES - 1) for a in at]
        now = torch.stack([codes[r, place[r]] for r in range(3)])
        slices = None if mel is None else torch.stack([mel[r, place[r]] for r in range(3)])
        logits = model.step(now, slices, state, active)
        for row in range(3):
            if active[row]:
                torch.testing.assert_close(logits[row], full[row, at[row]], atol=1e-5, rtol=1e-5)
                at[row] += 1
    assert at == [FRAMES] * 3


@torch.inference_mode()
def test_nothing_after_a_frame_changes_its_logits(
    model: WhisperGPT, inputs: tuple[torch.Tensor, torch.Tensor | None]
) -> None:
    codes, mel = inputs
    before = model(codes, mel)
    changed = codes.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 1024
    if mel is not None:
        mel = mel.clone()
        mel[:, 40:] += 1
    after = model(changed, mel)
    torch.testing.assert_close(after[:, :40], before[:, :40], atol=1e-6, rtol=0)
    assert (after[:, 40] - before[:, 40]).abs().max() > 1e-3


def turned(x: torch.Tensor, position: int) -> torch.Tensor:
    return rotate(x, Rotary(64)(torch.tensor([[position]])))


def test_an_hour_in_positions_are_as_exact_as_at_the_start() -> None:
    """Scores depend on the distance alone, however far along (plain float32 angles would be off by 0.02 rad)."""
    draw = torch.Generator().manual_seed(4)
    query, key = torch.randn(2, 1, 1, 1, 64, generator=draw).unbind()
    for distance in (0, 1, 511):
        scores = [
            float((turned(query, p + distance) * turned(key, p)).sum())
            for p in (0, 1, 270_000, 75 * 3600 * 24, PERIOD - 1)
        ]
        assert max(scores) - min(scores) < 1e-5
    far, near = ((turned(query, distance) * turned(key, 0)).sum() for distance in (700, 1))
    assert abs(float(far - near)) > 1e-2


@pytest.mark.parametrize(("config", "millions"), [(GPT_S, 3.7), (GPT_L, 40.0), (HYBRID, 4.0)])
def test_parameter_counts_are_the_papers(config: ModelConfig, millions: float) -> None:
    with torch.device("meta"):
        count = WhisperGPT(config).parameter_count()
    assert abs(count / 1e6 / millions - 1) < 0.05


@torch.inference_mode()
def test_state_does_not_grow(model: WhisperGPT) -> None:
    state = model.init_state(1, torch.device("cpu"))
    mel = torch.zeros(1, model.config.mel.n_mels) if model.hybrid else None
    for _ in range(50):
        model.step(torch.zeros(1, dtype=torch.int64), mel, state, torch.ones(1, dtype=torch.bool))
    assert int(leaf(state, "position")) == 50
    stack = state["stack"]
    assert isinstance(stack, dict)
    ring = stack["0"]
    assert isinstance(ring, dict)
    assert leaf(ring, "keys").shape[2] == 20
