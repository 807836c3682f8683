"""What a run keeps and refuses, and what a step of training is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import torch
from torch import nn

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.mel import mel_filterbank
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.losses import ReconstructionLoss
from whispergpt.training.data.alteration import Alteration
from whispergpt.training.data.augmentation import Augmentation, Augmenter, seed_step
from whispergpt.training.data.crops import Crops
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.lm.fine_loss import fine_loss
from whispergpt.training.lm.train_lm import ModelRecipe, _crops
from whispergpt.training.optimizers import ModelOptimizer
from whispergpt.training.run import Run, learning_rate
from whispergpt.training.tokens.token_crops import TokenCrops
from whispergpt.training.tokens.token_files import LOCK, TokenFiles
from whispergpt.training.tokens.tokens import VERSIONS, Tokens, tokenize

ALWAYS = Augmentation(equalizer_share=1.0, room_share=1.0, noise_share=1.0)


def run_of(folder: Path, steps: int = 10, rate: float = 0.1) -> Run:
    model = nn.Linear(2, 2)
    parts = {"model": model, "optimizer": torch.optim.Adam(model.parameters())}
    return Run(folder, {"recipe": {"steps": steps, "rate": rate}, "model": {"width": 4}}, parts)


def test_a_run_may_have_more_steps_and_no_other_rate(tmp_path: Path) -> None:
    run_of(tmp_path).save(3, force=True)
    assert run_of(tmp_path, steps=20).resume() == 3
    with pytest.raises(ValueError, match=r"recipe\.rate was 0\.1 and is now 0\.2"):
        run_of(tmp_path, rate=0.2)
    assert json.loads((tmp_path / "run.json").read_text())["recipe"]["rate"] == 0.1


def test_a_full_disk_loses_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path)
    run.save(3, force=True)
    real = torch.save

    def full(state: object, path: Path) -> None:
        real(state, path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ValueError, match=r"the last one stands.*No space left"):
        run.save(4, force=True)
    assert run.resume() == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "log.jsonl", "run.json"]


def test_a_held_rate_falls_late() -> None:
    rates = [learning_rate(step, 1000, 1.0, 10, held=0.6) for step in range(1001)]
    assert rates[10:600] == [1.0] * 590
    assert 0.05 <= rates[1000] < 0.06 < rates[800] < 1.0


def test_augmentation_is_repeatable_and_never_clips() -> None:
    sounds = (torch.sin(torch.arange(9_600) / 12) * 0.3).expand(30, -1)
    augment = Augmenter(ALWAYS, 9_600, torch.device("cpu"))
    seed_step(0, 4)
    made = augment(sounds)
    seed_step(0, 4)
    assert (augment(sounds) == made).all() and made.dtype == torch.float32
    assert made.shape == sounds.shape and made.isfinite().all() and float(made.abs().max()) <= 0.99 + 1e-6
    levels = 20 * made.square().mean(1).sqrt().log10()
    assert float(levels.min()) < -26 and float(levels.max()) > -20
    assert float(augment(torch.zeros(2, 9_600)).abs().max()) == 0


def test_shares_are_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder ten times as long is drawn from as often as it is told."""
    sounds = [np.full(24_000 * 100, 5_000, np.int16), np.full(24_000 * 10, -5_000, np.int16)]
    clips = [Clip(f"{i}", "", f"g{i}", "train", i, 0, len(sound)) for i, sound in enumerate(sounds)]
    data = AudioSet(clips, sounds, [0, 1])
    plain = Augmentation(equalizer_share=0.0, room_share=0.0, noise_share=0.0)

    def second(shares: tuple[float, ...] | None) -> float:
        crops = Crops(data, 400, 10, 0, plain, shares)
        return float((crops.batch(0).mean(-1) < 0).float().mean())

    assert second(None) == pytest.approx(1 / 11, abs=0.05)
    assert second((1.0, 3.0)) == pytest.approx(3 / 4, abs=0.08)
    with pytest.raises(ValueError, match="no clip is as long"):
        Crops(data, 1, 75 * 200, 0, plain)


def test_the_loss_is_nothing_for_the_same_and_minds_the_phase() -> None:
    loss_of = ReconstructionLoss()
    torch.manual_seed(0)
    sound = 0.1 * torch.randn(2, 9_600)
    assert float(loss_of(sound, sound)["total"]) < 1e-5
    turned = loss_of(-sound, sound)
    assert max(float(turned[name]) for name in ("mel", "loudness", "magnitude")) < 1e-5
    assert float(turned["phase"]) > 0.5 and float(turned["wave"]) > 1
    louder, half = loss_of(sound * 4, sound * 8), loss_of(sound * 0.25, sound * 0.5)
    for name in ("loudness", "magnitude", "phase"):
        assert float(louder[name]) == pytest.approx(float(half[name]), rel=0.01), "relative to the sound"
    times = torch.arange(9_600) / 24_000
    low, high = (0.1 * torch.sin(2 * torch.pi * hertz * times) for hertz in (200, 5_000))
    both = torch.stack([low, high])
    wrong_low, wrong_high = (
        float(loss_of(x, both)["phase"]) for x in (torch.stack([-low, high]), torch.stack([low, -high]))
    )
    assert wrong_low > 10 * wrong_high > 0
    # A tone of half the height, the loud or the quiet one: the mel term minds the loud one more by as much only as it
    # reaches more bands.
    loud, quiet = low, 0.003 * high
    wanted = (loud + quiet)[None]
    first, second = loss_of((0.5 * loud + quiet)[None], wanted), loss_of((loud + 0.5 * quiet)[None], wanted)
    by_mel, by_loudness = (float(first[name] / second[name]) for name in ("mel", "loudness"))
    assert by_loudness > 3 * by_mel, (by_mel, by_loudness)


def test_a_crop_knows_where_its_group_ends_and_joins_versions() -> None:
    frames = 50
    codes = np.arange(2 * frames * 8, dtype=np.uint16).reshape(2 * frames, 8) % 1024
    mels = {name: np.full((2 * frames, 4), number, np.float16) for number, name in enumerate(VERSIONS)}
    tokens = Tokens(codes, mels, [(0, frames), (frames, frames)])
    crops = TokenCrops([tokens], 16, 64, 0, {"original": 1.0}, ("original", "decoded"), join_share=1.0)
    batch = crops.batch(0)
    assert batch.codes.shape == (16, 65, 8) and batch.known.sum(1).tolist() == [frames - 1] * 16
    assert (batch.targets[:, : frames - 1] == batch.codes[:, 1:frames, 0]).all()
    assert (batch.targets[:, frames:] < 0).all()
    assert torch.equal(crops.batch(0).mels, batch.mels)
    for row in batch.mels[:, :frames, 0]:
        changes = row.diff().nonzero()
        assert len(changes) == 1 and row[0] == 0 and row[-1] == 1
    whole = crops.batch(0, "coarse").mels[:, :frames]
    assert (whole == 2).all()


def test_a_model_that_hears_recordings_alone_is_given_nothing_else() -> None:
    frames = 60
    mels = {name: np.full((frames, 4), number, np.float16) for number, name in enumerate(VERSIONS)}
    tokens = Tokens(np.zeros((frames, 8), np.uint16), mels, [(0, frames)])
    heard = {
        originals: {
            value
            for step in range(8)
            for value in _crops([tokens], HYBRID, ModelRecipe(crop_frames=frames - 1, originals=originals))
            .batch(step)
            .mels.unique()
            .tolist()
        }
        for originals in (False, True)
    }
    assert heard == {False: {0.0, 1.0, 2.0}, True: {0.0}}


def test_one_batch_is_learnt_by_heart_coarse_and_fine() -> None:
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC).eval()
    assert HYBRID.spectrogram is not None
    slices = replace(HYBRID.spectrogram, layers=1, hidden=128)
    stack = replace(HYBRID.stack, layers=2, hidden=256)
    model = WhisperGPT(replace(HYBRID, stack=stack, spectrogram=slices, fine=FineConfig()))
    optimizer = ModelOptimizer(model, 3e-3, 0.0)
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 1024, (40, 8)).astype(np.uint16)
    tokens = Tokens(codes, {"original": draw.normal(0, 1, (40, 80)).astype(np.float16)}, [(0, 40)])
    batch = TokenCrops([tokens], 1, 39, 0, {"original": 1.0}, ("original", "decoded"), 0.0).batch(0)
    for _ in range(40):
        hidden = model.hidden(batch.codes[:, :-1, 0], batch.mels)
        coarse = nn.functional.cross_entropy(model.head(hidden)[0], batch.targets[0])
        fine = fine_loss(model, codec, hidden, batch, 1.0)
        (coarse + fine).backward()
        optimizer.step(3e-3)
    assert float(coarse) < 0.1 and float(fine) < 1.0


def test_tokens_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, draw = Codec(SMALL_CODEC).eval(), np.random.default_rng(0)
    sounds = [draw.normal(0, 2_000, 24_000).astype(np.int16) for _ in range(5)]
    data = AudioSet([Clip(f"{n}", f"{n}", "g", "train", n, 0, 24_000) for n in range(5)], sounds, [0] * 5)
    (whole,) = tokenize(data, codec, HYBRID.mel, [tmp_path / "whole"])
    monkeypatch.setattr("whispergpt.training.tokens.token_files.FLUSH_EVERY", 2)
    real, encoded = OfflineCodec.encode, []

    def until_it_is_killed(self: OfflineCodec, audio: torch.Tensor) -> torch.Tensor:
        encoded.append(len(audio))
        if encoded.count(24_000) == 3 and audio.shape[0] == 24_000:
            raise KeyboardInterrupt
        return real(self, audio)

    monkeypatch.setattr(OfflineCodec, "encode", until_it_is_killed)
    with pytest.raises(KeyboardInterrupt):
        tokenize(data, codec, HYBRID.mel, [tmp_path / "parts"])
    (parts,) = tokenize(data, codec, HYBRID.mel, [tmp_path / "parts"])
    assert encoded.count(24_000) == 3 + 3, "two were noted: the third is done again"
    assert (
        (parts.codes == whole.codes).all()
        and all((parts.mels[version] == whole.mels[version]).all() for version in VERSIONS)
        and parts.spans == whole.spans
    )
    left = [file.name for file in (tmp_path / "parts").iterdir() if file.name != LOCK]
    assert len(left) == 4 and not any("partial" in name for name in left), "codes, and slices of three versions"


def test_two_runs_do_not_fill_the_same_arrays(tmp_path: Path) -> None:
    """The second waits for the first, and finds nothing missing."""
    files = [TokenFiles(tmp_path, "key", {"codes": ((2,), np.uint16)}) for _ in range(2)]
    began, may_end, seen = Event(), Event(), list[object]()

    def first() -> None:
        with files[0].filling() as filling:
            assert filling is not None
            began.set()
            may_end.wait(60)
            filling.arrays["codes"][:] = 7

    def second() -> None:
        with files[1].filling() as filling:
            seen.append(filling)

    runs = Thread(target=first), Thread(target=second)
    runs[0].start()
    assert began.wait(60)
    runs[1].start()
    runs[1].join(0.2)
    assert runs[1].is_alive() and not seen, "it waits"
    may_end.set()
    for run in runs:
        run.join(60)
    assert seen == [None]
    assert files[1].read()["codes"].tolist() == [7, 7]


def test_transposed_recordings_are_higher_and_shorter(tmp_path: Path) -> None:
    codec = Codec(SMALL_CODEC).eval()
    times = np.arange(24_000 * 61) / 24_000
    sound = (8_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    data = AudioSet([Clip("a", "", "g", "train", 0, 0, 24_000 * 61)], [sound], [0])
    plain, higher = (
        tokenize(data, codec, HYBRID.mel, [tmp_path], Alteration(semitones=shift))[0] for shift in (0.0, 12.0)
    )
    assert plain.spans == [(0, 61 * 75)] and higher.spans == [(0, 2287)]
    assert len(higher.codes) == 2287 and all(mels.shape == (2287, 80) for mels in higher.mels.values())
    bands = [int(np.median(tokens.mels["original"][50:-50].argmax(-1))) for tokens in (plain, higher)]
    centres = [
        int(mel_filterbank(1024, 80, 40.0, 12_000.0)[round(hertz / 24_000 * 1024)].argmax()) for hertz in (440, 880)
    ]
    assert bands == pytest.approx(centres, abs=1)
    crops = TokenCrops([plain, higher], 60, 20, 0, {"original": 1.0}, ("original", "decoded"), 0.0).batch(0)
    share = float((crops.mels[:, 10].argmax(-1) == bands[1]).float().mean())
    assert 0.15 < share < 0.55, "by their frames, a third"
