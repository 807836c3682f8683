"""Training by preference: examples of the model's own, and a model that makes the better ones likelier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from tests.support.corpus import audio_set
from tests.support.random_model import random_model, saved
from whispergpt.cli.main import main
from whispergpt.engine.audio.audio_file import Samples, read_audio
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.config import FineConfig
from whispergpt.engine.engine import Engine
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.prepare import prepare
from whispergpt.training.preference.draws import DrawRecipe, Examples, draw_examples, true_examples
from whispergpt.training.preference.judges import PianoJudge, SpeechJudge
from whispergpt.training.preference.train_preference import PreferenceRecipe, dealt, train_preference

RECIPE = DrawRecipe(prompts=3, draws=4, pairs=1, prompt_seconds=0.6, seconds=1.2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> AudioSet:
    """Four recordings of two and a half seconds."""
    draw = np.random.default_rng(0)
    return audio_set([draw.normal(0, 2_000 + 500 * i, 60_000).astype(np.int16) for i in range(4)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(random_model(3, FineConfig()), tmp_path_factory.mktemp("model"))


@pytest.fixture
def engine(folder: Path) -> Engine:
    return Engine.load(str(folder), "cpu", 8, dtype="float32")


def loudness(prompt: Samples, rest: Samples, made: Samples) -> float:
    """A judge that anybody can check."""
    return float(np.square(made).mean())


def drawn(data: AudioSet, engine: Engine, cache: Path, recipe: DrawRecipe = RECIPE) -> Examples:
    return draw_examples(data, engine, loudness, "loudness", recipe, cache)


def test_examples_are_the_best_and_the_worst_behind_the_prompt_and_the_recording(
    data: AudioSet, engine: Engine, tmp_path: Path
) -> None:
    examples = drawn(data, engine, tmp_path)
    frames = RECIPE.frames
    assert examples.codes.shape == (3, 3, frames) and examples.mels.shape == (3, 3, frames, 80)
    assert examples.scores.shape == (3, 4) and (np.ptp(examples.scores, axis=1) > 0).all()
    best, worst, recorded = (examples.codes[:, row] for row in range(3))
    border = RECIPE.prompt_frames
    assert (best[:, :border] == worst[:, :border]).all() and (best[:, :border] == recorded[:, :border]).all()
    assert (best[:, border:] != worst[:, border:]).any(1).all() and (best[:, border:] != recorded[:, border:]).any(
        1
    ).all()
    # Slices are of the sound: the louder one's are higher.
    louder = (
        examples.mels[:, 0, border:].astype(np.float32).mean() - examples.mels[:, 1, border:].astype(np.float32).mean()
    )
    assert louder > 0
    ordered = np.sort(examples.scores, axis=1)
    assert examples.gap == pytest.approx(float((ordered[:, -1] - ordered[:, 0]).mean()), rel=1e-3)


def test_what_was_drawn_is_kept_and_drawing_goes_on_where_it_stopped(
    data: AudioSet, engine: Engine, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, draws=8, prompts=4)  # one prompt fills the slots
    whole = drawn(data, engine, tmp_path / "whole", recipe)
    judged = []

    def until_the_third(prompt: Samples, rest: Samples, made: Samples) -> float:
        judged.append(1)
        if len(judged) == 20:
            raise KeyboardInterrupt
        return loudness(prompt, rest, made)

    with pytest.raises(KeyboardInterrupt):
        draw_examples(data, engine, until_the_third, "loudness", recipe, tmp_path / "halves")
    again = drawn(data, engine, tmp_path / "halves", recipe)
    for name in ("codes", "mels", "scores"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    kept = draw_examples(data, engine, lambda *_: pytest.fail("judged again"), "loudness", recipe, tmp_path / "whole")
    assert np.array_equal(kept.codes, whole.codes)


def test_recordings_that_are_too_short_are_told(data: AudioSet, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recording has 10\.6 s"):
        drawn(data, engine, tmp_path, replace(RECIPE, seconds=10.0))


def test_the_better_ones_become_likelier_and_the_rest_of_the_model_stays(
    data: AudioSet, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    examples, heldout = drawn(data, engine, tmp_path), true_examples(data, engine, RECIPE)
    recipe = PreferenceRecipe(steps=12, pairs=2, peak_rate=1e-3, warmup=2, recordings=0.1)

    start = load_model(str(folder), CPU)
    train_preference(examples, heldout, start, RECIPE.prompt_frames, tmp_path / "run", recipe, CPU, torch.float32)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[0]["step"] == 0 and log[-1]["step"] == 12 and log[-1]["right"] > 0.8
    assert log[-1]["better"] > log[-1]["worse"]
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "run"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not [name for name in changed if name.startswith("fine.")]
    assert (tmp_path / "run/codec.safetensors").read_bytes() == (folder / "codec.safetensors").read_bytes()


def test_an_interrupted_run_ends_with_the_same_weights(
    data: AudioSet, engine: Engine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, heldout = drawn(data, engine, tmp_path), true_examples(data, engine, RECIPE)

    def train(out: Path, steps: int) -> None:
        recipe = PreferenceRecipe(steps=steps, pairs=2)
        start = load_model(str(folder), CPU)
        train_preference(examples, heldout, start, RECIPE.prompt_frames, out, recipe, CPU, torch.float32)

    monkeypatch.setattr(f"{train_preference.__module__}.learning_rate", lambda *_: 1e-3)
    train(tmp_path / "whole", 6)
    train(tmp_path / "halves", 3)
    train(tmp_path / "halves", 6)
    whole, halves = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    with pytest.raises(ValueError, match=r"recipe\.pairs was 2 and is now 3"):
        start = load_model(str(folder), CPU)
        recipe = PreferenceRecipe(steps=6, pairs=3)
        train_preference(
            examples, heldout, start, RECIPE.prompt_frames, tmp_path / "halves", recipe, CPU, torch.float32
        )


def test_the_command_draws_judges_and_trains(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("whispergpt.training.data.prepare.LEAST_SECONDS", 16.0)
    draw = np.random.default_rng(0)
    for piece in range(3):
        path = tmp_path / "audio" / f"work{piece}" / "piece.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(path, draw.normal(0, 0.05, 9 * 24_000), 24_000)
    prepare([tmp_path / "audio"], tmp_path / "data", heldout=1)
    command = ["train", "prefer", str(tmp_path / "data"), "--model", str(folder), "--judge", "piano"]
    command += ["--prompts", "2", "--draws", "2", "--seconds", "1", "--steps", "2"]
    threads = torch.get_num_threads()
    assert run_main(*command, "-o", str(tmp_path / "run")) == 0
    assert "more to the better continuations" in capsys.readouterr().err
    assert torch.get_num_threads() == threads
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 2]
    load_model(str(tmp_path / "run"), CPU)
    assert run_main(*command, "--shares", "1", "-o", str(tmp_path / "run")) == 2
    assert "leave out --shares" in capsys.readouterr().err


def run_main(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_all_pairs_are_dealt_before_any_comes_again() -> None:
    places = np.concatenate([dealt(10, 4, step, 7) for step in range(5)])
    assert sorted(places[:10]) == sorted(places[10:]) == list(range(10))
    assert not np.array_equal(places[:10], places[10:])


def test_a_voice_that_goes_on_is_judged_better_than_noise_a_drone_and_silence() -> None:
    voice = read_audio(Path(__file__).parents[2] / "examples/prompt.flac", max_seconds=None)
    prompt, rest = voice[: len(voice) // 2], voice[len(voice) // 2 :]
    draw = np.random.default_rng(0)
    hum = 0.1 * np.sin(2 * np.pi * 150 * np.arange(len(rest)) / 24_000)
    judge = SpeechJudge()
    own, *others = (
        judge(prompt, rest, sound.astype(np.float32))
        for sound in (rest, draw.normal(0, 0.05, len(rest)), hum, np.zeros(len(rest)))
    )
    assert own > max(others) + 0.5


def test_a_piece_in_the_same_key_is_judged_better_than_all_keys_another_key_and_silence() -> None:
    def chords(pitches: list[int]) -> Samples:
        times = np.arange(12_000) / 24_000
        tones = [np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times) * np.exp(-4 * times) for pitch in pitches]
        return np.tile(0.1 * np.sum(tones, axis=0), 6).astype(np.float32)

    tonic, far, every = chords([60, 64, 67]), chords([61, 66, 70]), chords(list(range(60, 72)))
    judge = PianoJudge([tonic, far, chords([62, 65, 69])])
    own = judge(tonic, tonic, tonic)
    assert own > judge(tonic, tonic, every) > judge(tonic, tonic, far)  # all keys at once are no better than they are
    assert own > judge(tonic, tonic, np.zeros_like(far))
