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

from tests.support.corpus import audio_set, run_main
from tests.support.packages import require_package
from tests.support.random_model import random_model, saved
from whispergpt.engine.audio.audio_file import Samples, read_audio
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.config import FineConfig
from whispergpt.engine.engine import Engine
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.prepare import prepare
from whispergpt.training.preference.draws import DrawRecipe, Examples, draw_examples, true_examples
from whispergpt.training.preference.judges import PianoJudge, Sounds, SpeechJudge
from whispergpt.training.preference.train_preference import Learner, PreferenceRecipe, dealt, train_preference

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


class Loudness:
    """Judge that prefers louder continuations, and is stopped after ``most``."""

    def __init__(self, most: int = 1_000, key: str = "loudness") -> None:
        self.key, self.most, self.judged = key, most, 0

    def __call__(self, sounds: Sounds) -> float:
        if self.judged == self.most:
            raise KeyboardInterrupt
        self.judged += 1
        return float(np.square(sounds.made).mean())


def drawn(data: AudioSet, engine: Engine, cache: Path, recipe: DrawRecipe = RECIPE) -> Examples:
    return draw_examples(data, engine, Loudness(), recipe, cache)


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
    data: AudioSet, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whispergpt.training.tokens.token_files.FLUSH_EVERY", 1)
    recipe = replace(RECIPE, draws=8, prompts=4)  # one prompt fills the slots
    whole = drawn(data, engine, tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        draw_examples(data, engine, Loudness(20), recipe, tmp_path / "halves")
    rest = Loudness()
    again = draw_examples(data, engine, rest, recipe, tmp_path / "halves")
    assert rest.judged == 16, "the first two prompts are not drawn again"
    for name in ("codes", "mels", "scores"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    kept = draw_examples(data, engine, Loudness(0), recipe, tmp_path / "whole")
    assert np.array_equal(kept.codes, whole.codes) and kept.key == whole.key
    other = Loudness(key="by another rule")
    draw_examples(data, engine, other, recipe, tmp_path / "whole")
    assert other.judged == 32, "what another judge said is not taken"


def test_continuations_are_heard_as_the_model_heard_them(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """The log-likelihoods before the first step are those by which the engine drew."""
    draw = np.random.default_rng(5)
    data = audio_set([draw.normal(0, 3_000, 60_000).astype(np.int16)])
    recipe = replace(RECIPE, prompts=1)
    examples = drawn(data, engine, tmp_path, recipe)
    model = load_model(str(folder), CPU).step.model
    learner = Learner(model, examples, recipe.prompt_frames, PreferenceRecipe(), torch.float32)
    codes = torch.from_numpy(examples.codes[0].astype(np.int64))
    with torch.no_grad():
        hidden = model.hidden(codes[:, :-1], torch.from_numpy(examples.mels[0].astype(np.float32))[:, :-1])
        chances = model.head(hidden).log_softmax(-1)
    for row in range(2):
        by_hand = sum(
            float(chances[row, frame - 1, codes[row, frame]]) for frame in range(recipe.prompt_frames, recipe.frames)
        )
        assert float(learner.before[0, row]) == pytest.approx(by_hand, rel=1e-4)


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
    before, threads = torch.get_num_threads(), 2
    torch.set_num_threads(threads)
    assert run_main(*command, "-o", str(tmp_path / "run")) == 0
    assert "more to the better continuations" in capsys.readouterr().err
    assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 2]
    load_model(str(tmp_path / "run"), CPU)
    assert run_main(*command, "--shares", "1", "-o", str(tmp_path / "run")) == 2
    assert "leave out --shares" in capsys.readouterr().err
    assert run_main(*command, "--sharpness", "inf", "-o", str(tmp_path / "run")) == 2
    assert "--sharpness must be a finite number" in capsys.readouterr().err


def test_all_pairs_are_dealt_before_any_comes_again() -> None:
    places = np.concatenate([dealt(10, 4, step, 7) for step in range(5)])
    assert sorted(places[:10]) == sorted(places[10:]) == list(range(10))
    assert not np.array_equal(places[:10], places[10:])


def test_a_voice_that_goes_on_is_judged_better_than_noise_a_drone_and_silence() -> None:
    for package in ("speechmos", "resemblyzer"):
        require_package(package)
    voice = read_audio(Path(__file__).parents[2] / "examples/prompt.flac", max_seconds=None)
    prompt, rest = voice[: len(voice) // 2], voice[len(voice) // 2 :]
    draw = np.random.default_rng(0)
    hum = 0.1 * np.sin(2 * np.pi * 150 * np.arange(len(rest)) / 24_000)
    judge = SpeechJudge()
    own, *others = (
        judge(Sounds("voice", prompt, rest, sound.astype(np.float32)))
        for sound in (rest, draw.normal(0, 0.05, len(rest)), hum, np.zeros(len(rest)))
    )
    assert own > max(others) + 0.5


def test_a_piece_in_the_same_key_is_judged_better_than_all_keys_another_key_and_silence() -> None:
    def chords(pitches: list[int]) -> Samples:
        times = np.arange(12_000) / 24_000
        tones = [np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times) * np.exp(-4 * times) for pitch in pitches]
        return np.tile(0.1 * np.sum(tones, axis=0), 6).astype(np.float32)

    tonic, far, every = chords([60, 64, 67]), chords([61, 66, 70]), chords(list(range(60, 72)))
    judge = PianoJudge([("one", tonic), ("two", far), ("three", chords([62, 65, 69]))])
    own, all_keys, other, silent = (
        judge(Sounds("one", tonic, tonic, sound)) for sound in (tonic, every, far, np.zeros_like(far))
    )
    assert own > all_keys > other and own > silent
    with pytest.raises(ValueError, match="all pieces are of one work, one"):
        PianoJudge([("one", far)])(Sounds("one", tonic, tonic, tonic))
