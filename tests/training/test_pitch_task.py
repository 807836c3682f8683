"""The second task of models of music: what it asks for, and that it teaches the model and leaves nothing in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.audio import SAMPLE_RATE, tone
from tests.support.packages import require_package
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model
from whispergpt.engine.config import FRAME_RATE, HOP
from whispergpt.training.data.alteration import UNALTERED, Alteration
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.lm.own_sound import OWN
from whispergpt.training.lm.pitch_task import PitchTask
from whispergpt.training.lm.train_lm import ModelRecipe, train_lm
from whispergpt.training.measures.figures.notes import Notes
from whispergpt.training.tokens.pitch_ahead import FEWEST, pitch_ahead
from whispergpt.training.tokens.token_crops import Batch, TokenCrops
from whispergpt.training.tokens.tokens import Tokens, tokenize

A, D_SHARP = 9, 3
SECONDS = 8


def two_notes() -> np.ndarray:
    """Return four seconds of A4 and four of D#5."""
    return np.concatenate([tone(440.0, SECONDS / 2), tone(622.25, SECONDS / 2)]).astype(np.float32)


def test_what_follows_a_frame_is_foretold() -> None:
    require_package("librosa")
    frames = SECONDS * FRAME_RATE
    sound = two_notes()
    ahead = pitch_ahead(Notes(), [sound], frames).astype(np.float64)
    assert ahead.shape == (frames, 2, 12)
    second, four = ahead[FRAME_RATE].tolist()
    assert second[A] > 0.7 and second[D_SHARP] < 0.05, "the neighbouring classes have the rest"
    assert four[A] / four[D_SHARP] == pytest.approx(3.0, rel=0.1), "three seconds of the one, one of the other"
    assert ahead[4 * FRAME_RATE + 10, 0].argmax() == D_SHARP
    told = ahead.sum(axis=-1)
    assert told[: frames - FEWEST] == pytest.approx(1.0, abs=0.01), "shares"
    assert not told[frames - FEWEST :].any(), "too little follows"
    parts = pitch_ahead(Notes(), np.split(sound, [101 * HOP, 352 * HOP]), frames)
    assert np.abs(parts - ahead).max() < 0.1, "a long recording comes in parts"
    assert not pitch_ahead(Notes(), [np.zeros_like(sound)], frames).any(), "silence has no pitch"
    ended = pitch_ahead(Notes(), [np.where(np.arange(len(sound)) < 4 * SAMPLE_RATE, sound, 0.0)], frames)
    assert ended[: 4 * FRAME_RATE - 2].any(axis=(1, 2)).all()
    assert not ended[4 * FRAME_RATE + FRAME_RATE // 5 :].any(), "nor has the silence behind music"


NOTES = {A: 440.0, D_SHARP: 622.25}


def music() -> AudioSet:
    """Return a recording of each of ``NOTES``, of 3.1 and of 2.3 seconds."""
    samples = [(tone(NOTES[A], 3.1) * 30_000).astype(np.int16), (tone(NOTES[D_SHARP], 2.3) * 30_000).astype(np.int16)]
    clips = [Clip(f"{n}", f"{n}", f"g{n}", "train", n, 0, len(sound)) for n, sound in enumerate(samples)]
    return AudioSet(clips, samples, [0, 0])


@pytest.mark.parametrize(("alteration", "up"), [(UNALTERED, 0), (Alteration(semitones=2), 2)])
def test_tokens_and_crops_carry_it(
    alteration: Alteration, up: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_package("librosa")
    monkeypatch.setattr("whispergpt.training.tokens.tokens.MOST_SAMPLES", SAMPLE_RATE + 7 * HOP)
    model = load_model("piano-gpt-s", torch.device("cpu"))
    codec, mel = model.step.codec, model.step.model.config.mel

    def found(ahead: bool) -> Tokens:
        return tokenize(music(), codec, mel, [tmp_path], alteration, ("original",), ahead)[0]

    tokens = found(True)
    assert tokens.ahead is not None and tokens.ahead.shape == (len(tokens.codes), 2, 12)
    for (first, count), note in zip(tokens.spans, NOTES, strict=True):
        told = tokens.ahead[first : first + count - FEWEST]
        assert (told.argmax(axis=-1) == (note + up) % 12).all() and (told.sum(axis=-1) > 0.99).all()
        assert not tokens.ahead[first + count - FEWEST : first + count].any(), "a clip ends before the next begins"
    again = found(True)
    assert again.ahead is not None and (again.ahead == tokens.ahead).all()
    assert found(False).ahead is None

    def crops(stalls: float) -> Batch:
        odds, join = {"original": 1.0}, ("original", "original")
        return TokenCrops([tokens], 4, 120, 0, odds, join, 0.0, stall_share=stalls).batch(0)

    batch = crops(0.0)
    assert batch.ahead is not None and batch.ahead.shape == (4, 120, 2, 12)
    for codes, ahead in zip(batch.codes.numpy(), batch.ahead.numpy(), strict=True):
        places = [i for i in range(len(tokens.codes) - 120) if (tokens.codes[i : i + 120] == codes[:120]).all()]
        assert any((tokens.ahead[i : i + 120] == ahead).all() for i in places), "the codes say where a crop is from"
    stalled = crops(1.0).ahead
    assert stalled is not None and not stalled.any(), "what follows a stall is no recording's"


def test_the_head_and_the_model_learn() -> None:
    torch.manual_seed(0)
    task = PitchTask(16, torch.device("cpu"))
    hidden = torch.randn(4, 50, 16)
    ahead = torch.softmax(3 * torch.randn(16, 24).T @ hidden.unsqueeze(-1), dim=-2).view(4, 50, 2, 12)
    ahead /= ahead.sum(-1, keepdim=True)
    ahead[0] = 0.0
    losses = []
    for _ in range(400):
        seen = hidden.clone().requires_grad_()
        loss = task.divergence(seen, ahead)
        loss.backward()
        task.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0] and losses[-1] > 0
    assert seen.grad is not None and seen.grad[1:].abs().sum() > 0, "the model is taught"
    assert not seen.grad[0].any(), "nothing is foretold where nothing follows"
    assert float(task.divergence(hidden, torch.zeros_like(ahead)).detach()) == 0


def small(start: LoadedModel) -> Tokens:
    """Return tokens of random codes and slices, whose pitch classes are those of their places."""
    draw, frames = np.random.default_rng(0), 200
    mels = {name: draw.normal(0, 1, (frames, 80)).astype(np.float16) for name in ("original", "decoded", "coarse", OWN)}
    ahead = np.zeros((frames, 2, 12), np.float16)
    ahead[np.arange(frames), :, np.arange(frames) // 20 % 12] = 1
    return Tokens(draw.integers(0, 1024, (frames, 8)).astype(np.uint16), mels, [(0, frames)], ahead=ahead)


def test_a_run_learns_it_goes_on_and_leaves_the_head_out(tmp_path: Path) -> None:
    start = load_model("piano", torch.device("cpu"))
    tokens = small(start)

    def train(steps: int, weight: float, out: str) -> list[dict[str, float]]:
        recipe = ModelRecipe(steps=steps, batch=1, crop_frames=60, warmup=1, pitch_ahead=weight)
        codec, config = start.step.plain_codec, start.step.model.config
        train_lm([tokens], [tokens], codec, config, tmp_path / out, recipe, "MIT", torch.device("cpu"), start=start)
        return [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]

    told = [line["pitch_ahead"] for line in train(50, 1.0, "with") if "pitch_ahead" in line]
    assert len(told) == 2 and told[1] < told[0]
    steps = [line["step"] for line in train(75, 1.0, "with")]
    assert steps[-1] == 75 and steps.count(0) == 1, "the run went on"
    assert not any("pitch_ahead" in line for line in train(25, 0.0, "without"))
    described = json.loads((tmp_path / "without" / "run.json").read_text())
    del described["recipe"]["pitch_ahead"]
    (tmp_path / "without" / "run.json").write_text(json.dumps(described))
    assert train(50, 0.0, "without")[-1]["step"] == 50, "an older run's configuration lacks the weight"
    written = [load_file(tmp_path / out / "model.safetensors").keys() for out in ("with", "without")]
    assert written[0] == written[1]
    state = torch.load(tmp_path / "with" / "last.pt", weights_only=True)
    assert state["pitch_head"]["weight"].abs().sum() > 0 and len(state["pitch_adamw"]["state"]) == 2
