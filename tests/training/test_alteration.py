"""Altered copies of recordings: their band, which recordings they are made of, and how often they are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.corpus import audio_set
from whispergpt.cli.main import main
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import HYBRID, SMALL_CODEC
from whispergpt.engine.model.codec import Codec
from whispergpt.training.data.alteration import Alteration, limit_band, reaches_above
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.tokens.token_crops import TokenCrops
from whispergpt.training.tokens.tokens import VERSIONS, Tokens, tokenize

LENGTH = 48_000


def _noise(seed: int, samples: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def _level(samples: np.ndarray, low: float, high: float) -> float:
    """Return the level in dB between two frequencies."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / 24_000)
    return float(10 * np.log10(power[(hertz >= low) & (hertz < high)].mean() + 1e-12))


def test_a_limited_band_ends_at_its_limit_and_is_untouched_below() -> None:
    sound = _noise(0)
    limited = limit_band(sound, 8_000)
    assert limited.shape == sound.shape and limited.dtype == np.float32
    assert _level(limited, 8_050, 12_000) < _level(sound, 8_050, 12_000) - 60
    assert _level(limited, 0, 7_600) == pytest.approx(_level(sound, 0, 7_600), abs=0.01)
    assert len(limit_band(sound[:0], 8_000)) == 0


def test_only_recordings_that_reach_above_a_limit_are_copied_below_it(tmp_path: Path) -> None:
    wide, narrow = _noise(1), limit_band(_noise(2), 8_000)
    assert reaches_above(wide, 8_000) and not reaches_above(narrow, 8_000)
    shards = [(sound * 32767).astype(np.int16) for sound in (wide, narrow)]
    data, codec = audio_set(shards, [0, 1]), Codec(SMALL_CODEC).eval()
    caches = [tmp_path / "wide", tmp_path / "narrow"]
    plain = tokenize(data, codec, HYBRID.mel, caches)
    (limited,) = tokenize(data, codec, HYBRID.mel, caches, Alteration(highest_hz=8_000))
    assert [one.folder for one in plain] == [0, 1]
    assert limited.folder == 0, "the narrow one would be the same again"
    assert [len(one.codes) for one in (*plain, limited)] == [150] * 3
    # The highest bins of the mel slices lie above the limit.
    heard, before = (tokens.mels["original"][:, -3:].mean() for tokens in (limited, plain[0]))
    assert heard < before - 2
    with pytest.raises(ValueError, match="no recording reaches above 11900 Hz, so there is nothing to encode"):
        tokenize(audio_set(shards[1:]), codec, HYBRID.mel, caches, Alteration(highest_hz=11_900))


def test_groups_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    shards = [(_noise(seed) * 32767).astype(np.int16) for seed in (3, 4)]
    clips = [Clip(f"{n}.wav", f"{n}", "wav/speaker", "train", n, 0, LENGTH) for n in range(2)]
    caches = [tmp_path / "0", tmp_path / "1"]
    tokens = tokenize(AudioSet(clips, shards, [0, 1]), Codec(SMALL_CODEC).eval(), HYBRID.mel, caches)
    assert [(one.spans, one.folder) for one in tokens] == [([(0, 150)], 0), ([(0, 150)], 1)]


def test_another_folder_costs_nothing_for_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [(_noise(seed) * 32767).astype(np.int16) for seed in (3, 4)]
    clips = [Clip(f"{n}.wav", f"{n}", f"wav/{n}", "train", n, 0, LENGTH) for n in range(2)]
    codec, caches = Codec(SMALL_CODEC).eval(), [tmp_path / "0", tmp_path / "1"]
    (alone,) = tokenize(AudioSet(clips[:1], shards[:1], [0]), codec, HYBRID.mel, caches[:1])
    real, encoded = OfflineCodec.encode, []

    def noted(self: OfflineCodec, audio: torch.Tensor) -> torch.Tensor:
        encoded.append(audio)
        return real(self, audio)

    monkeypatch.setattr(OfflineCodec, "encode", noted)
    first, second = tokenize(AudioSet(clips, shards, [0, 1]), codec, HYBRID.mel, caches)
    heard, those_alone, others = (tokens.mels["original"] for tokens in (first, alone, second))
    assert len(encoded) == 1 and (heard == those_alone).all() and (others != those_alone).any()
    # The other way round too: each has its own number, and nothing is encoded.
    clips = [Clip(f"{n}.wav", f"{n}", f"wav/{n}", "train", 1 - n, 0, LENGTH) for n in (1, 0)]
    again = tokenize(AudioSet(clips, shards[::-1], [0, 1]), codec, HYBRID.mel, caches[::-1])
    assert len(encoded) == 1 and [one.folder for one in again] == [0, 1]
    assert (again[1].mels["original"] == those_alone).all()


def test_shares_decide_how_much_comes_from_each_folder() -> None:
    # Two folders of 400 and 3,600 frames, each in two sources; what a frame hears says which folder it is of.
    def tokens(count: int, folder: int) -> Tokens:
        mels = np.full((count, 4), folder, np.float16)
        return Tokens(np.zeros((count, 8), np.uint16), dict.fromkeys(VERSIONS, mels), [(0, count)], folder)

    sources = [tokens(100, 0), tokens(900, 1), tokens(300, 0), tokens(2_700, 1)]

    for shares, expected in ((None, 0.9), ((1.0, 1.0), 0.5), ((3.0, 1.0), 0.25)):
        crops = TokenCrops(sources, 400, 20, 0, {"original": 1.0}, ("original", "decoded"), 0, shares)
        assert float(crops.batch(0).mels[:, 0, 0].mean()) == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("given", ["0", "12000", "8000,x", "nan", "-8000"])
def test_a_limit_that_is_none_is_refused_in_a_sentence(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "lm", str(tmp_path), "-o", str(tmp_path / "out"), "--codec", "speech", "--limit-band", given])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--limit-band must be Hz from 1000 to below 12000" in said and given in said


@pytest.mark.parametrize("given", ["1", "1,0", "nan,1", "inf,1", "-1,2"])
def test_shares_that_are_none_are_refused_in_a_sentence(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "lm", str(tmp_path), str(tmp_path), "-o", str(tmp_path / "out"), "--codec", "speech"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--shares", given])
    assert ended.value.code == 2
    assert "--shares must be 2 numbers above 0" in capsys.readouterr().err.splitlines()[-1]
