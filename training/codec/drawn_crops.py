"""Crops of recordings with the codes of which a model drew the finer ones, as in its continuations.

Drawn codes hold other details than the recording's, above all other phases. A decoder that has met recordings' codes
alone makes them sound rougher than the coarse codes by themselves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import trange

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.data.crops import audible, clip_odds
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.data.token_files import TokenFiles
from whispergpt.training.lm.own_voice import PROMPT_FRAMES, SLOTS, OwnVoice

STRETCH_FRAMES = 4_096
"""Most frames that the model speaks at once. A longer clip is cut, and each part begins with recorded codes."""
_SEED = 3_000_000
"""Number added to a step's, so that its crops are not the places of those with the recording's codes."""

_Codes: TypeAlias = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class DrawnBatch:
    """Crops ``audio`` float32 ``[B, samples]`` and their codes int64 ``[B, K, T]``, the finer ones drawn."""

    audio: Tensor
    codes: Tensor

    def to(self, device: torch.device) -> DrawnBatch:
        """Return a copy on another device."""
        return DrawnBatch(self.audio.to(device), self.codes.to(device))


class DrawnCrops:
    """Random crops of the recordings that a model has spoken; the same step draws the same crops.

    Args:
        model: its codec has the encoder and the codebooks of the codec that learns.
        cache: folder of the drawn codes.

    Attributes:
        codec: the model's.
        count: crops in a step.

    Raises:
        ValueError: the model has no fine stage, or no clip is long enough.
    """

    def __init__(self, data: AudioSet, model: LoadedModel, cache: Path, recipe: CodecRecipe) -> None:
        self._data, self._recipe, self.count = data, recipe, recipe.drawn_count
        self.codec = model.step.codec
        least = (PROMPT_FRAMES + recipe.crop_frames) * HOP
        self._clips, self._odds = clip_odds(data, least, recipe.shares)
        self._codes = _drawn(data, self._clips, model, cache)
        lengths = [clip.samples // HOP for clip in self._clips]
        self._first = list(accumulate(lengths, initial=0))

    def batch(self, step: int) -> DrawnBatch:
        """Return the crops of one step."""
        draw = np.random.default_rng((self._recipe.seed, _SEED + step))
        frames = self._recipe.crop_frames
        audio, codes = list[npt.NDArray[np.float32]](), list[_Codes]()
        while len(audio) < self.count:
            number = int(draw.choice(len(self._clips), p=self._odds))
            clip = self._clips[number]
            start = int(draw.integers(PROMPT_FRAMES, clip.samples // HOP - frames + 1))
            crop = self._data.read(clip, start * HOP, frames * HOP)
            if not audible(crop, draw):
                continue
            audio.append(crop)
            codes.append(self._codes[self._first[number] + start :][:frames])
        both = torch.from_numpy(np.stack(audio)), torch.from_numpy(np.stack(codes).astype(np.int64))
        return DrawnBatch(both[0], both[1].transpose(1, 2))


def require_same_codes(codec: Codec, other: Codec) -> None:
    """Check that two codecs give the same codes.

    Raises:
        ValueError: their encoders or codebooks differ.
    """
    ours, theirs = codec.encoder.state_dict(), other.encoder.state_dict()
    same = all(torch.equal(ours[name], theirs[name]) for name in ours)
    pairs = zip(codec.quantizer.entries, other.quantizer.entries, strict=True)
    if not same or not all(torch.equal(mine, its) for mine, its in pairs):
        raise ValueError("the codec to start from has other codes than the model that draws the finer ones")


def _drawn(data: AudioSet, clips: list[Clip], model: LoadedModel, cache: Path) -> _Codes:
    """Return the codes ``[frames, K]`` of ``clips``, one after another, the finer ones drawn; kept in ``cache``."""
    fine, codec = model.step.model.fine, model.step.codec
    if fine is None:
        raise ValueError(f"{model.id} has no fine stage, so that it draws no finer codes")
    frames = sum(clip.samples // HOP for clip in clips)
    named = [(clip.sha256, clip.start, clip.samples) for clip in clips]
    key = hashlib.sha256(f"{model.digest} {fine.config.temperature} {named}".encode()).hexdigest()[:12]
    shape = (frames, codec.config.n_codebooks)
    files = TokenFiles(cache, f"{key}.drawn", {"codes": (shape, np.uint16)})
    if not files.complete:
        arrays, done = files.begin()
        voice, offline = OwnVoice(model, fine.config.temperature), OfflineCodec(codec)
        stretches = _stretches(clips)
        for number in trange(done, -(-len(stretches) // SLOTS), desc="drawn codes", initial=done, disable=None):
            some = stretches[number * SLOTS : (number + 1) * SLOTS]
            recorded = [_encoded(data, stretch, offline) for stretch in some]
            for stretch, spoken in zip(some, voice.speak(recorded), strict=True):
                arrays["codes"][stretch.place : stretch.place + stretch.frames] = spoken.codes
            files.note(number + 1)
        files.finish()
    return cast(_Codes, files.read()["codes"])


@dataclass(frozen=True)
class _Stretch:
    """Part of a clip from a frame on, and the place of its codes among those of all clips."""

    clip: Clip
    start: int
    frames: int
    place: int


def _stretches(clips: list[Clip]) -> list[_Stretch]:
    """Return the stretches of all clips, the longest first, so that those spoken together are of about one length."""
    found: list[_Stretch] = []
    place = 0
    for clip in clips:
        frames = clip.samples // HOP
        for start in range(0, frames, STRETCH_FRAMES):
            found.append(_Stretch(clip, start, min(STRETCH_FRAMES, frames - start), place + start))
        place += frames
    return sorted(found, key=lambda stretch: -stretch.frames)


def _encoded(data: AudioSet, stretch: _Stretch, codec: OfflineCodec) -> _Codes:
    """Return the recording's codes ``[T, K]``."""
    audio = torch.from_numpy(data.read(stretch.clip, stretch.start * HOP, stretch.frames * HOP))
    with torch.inference_mode():
        codes = codec.encode(audio.to(codec.codec.quantizer.entries[0].device))
    return codes.t().cpu().numpy().astype(np.uint16)
