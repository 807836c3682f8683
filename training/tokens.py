"""Recordings as the model sees them: codes and the mel slices of three versions of the sound, cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import soxr
import torch
from tqdm import trange

from engine.codec import Codec
from engine.config import HOP, SAMPLE_RATE, MelConfig
from engine.mel import CausalMel
from engine.offline import OfflineCodec
from training.datasets import AudioSet
from training.manifest import Clip
from training.token_files import TokenFiles

VERSIONS = ("original", "decoded", "coarse")
"""Of which audio the slices are: the recording, all its codes decoded, its coarse codes decoded."""

MOST_SAMPLES = 60 * SAMPLE_RATE
"""A long clip goes through the codec in parts of a minute, each from silence, as a prompt does: memory is bounded."""


_Codes: TypeAlias = npt.NDArray[np.uint16]
Mels: TypeAlias = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Tokens:
    """All clips one behind the other, those of a group (a speaker or a work) together.

    ``codes`` uint16 ``[frames, K]``; ``mels`` float16 ``[frames, n_mels]`` by version; ``spans``: first frame and frame
    count of each group, which goes on from clip to clip as one long stream.
    """

    codes: _Codes
    mels: dict[str, Mels]
    spans: list[tuple[int, int]]


def tokenize(data: AudioSet, codec: Codec, mel: MelConfig, cache: Path, semitones: float = 0.0) -> Tokens:
    """Encode and decode every clip of ``data`` once; later runs map the result from ``cache``, or go on with it.

    Args:
        semitones: how much higher every clip is first made, and faster with it, as a record played at another speed.
    """
    clips = sorted(data.clips, key=lambda c: (c.group, c.path))
    frames = sum(_frames(samples, semitones) for clip in clips for _, samples in _parts(clip))
    files = TokenFiles(
        cache,
        _cache_key(clips, codec, mel, semitones),
        {
            "codes": ((frames, codec.config.n_codebooks), np.uint16),
            "mels": ((len(VERSIONS), frames, mel.n_mels), np.float16),
        },
    )
    if not files.complete:
        _fill(files, data, clips, codec, mel, semitones)
    spans: list[tuple[int, int]] = []
    position, group = 0, None
    for clip in clips:
        frames = sum(_frames(samples, semitones) for _, samples in _parts(clip))
        if clip.group == group:
            spans[-1] = (spans[-1][0], spans[-1][1] + frames)
        else:
            spans.append((position, frames))
        position, group = position + frames, clip.group
    arrays = files.read()
    mels = dict(zip(VERSIONS, cast(Mels, arrays["mels"]), strict=True))
    return Tokens(cast(_Codes, arrays["codes"]), mels, spans)


def _fill(
    files: TokenFiles, data: AudioSet, clips: list[Clip], codec: Codec, config: MelConfig, semitones: float
) -> None:
    """Go on where an earlier run stopped."""
    device = codec.quantizer.entries[0].device
    slices, offline = CausalMel(config).to(device), OfflineCodec(codec)
    arrays, done = files.begin()
    position = sum(_frames(samples, semitones) for clip in clips[:done] for _, samples in _parts(clip))
    what = f"tokens {semitones:+g}" if semitones else "tokens"
    for number in trange(done, len(clips), desc=what, initial=done, total=len(clips), disable=None):
        clip = clips[number]
        for start, samples in _parts(clip):
            audio = torch.from_numpy(_transposed(data.read(clip, start, samples), semitones)).to(device)
            found = offline.encode(audio)
            heard = (audio, offline.decode(found), offline.decode(found[:1]))
            end = position + found.shape[1]
            arrays["codes"][position:end] = found.t().cpu().numpy()
            with torch.inference_mode():
                for version, sound in enumerate(heard):
                    arrays["mels"][version, position:end] = slices(sound[None])[0].cpu().numpy()
            position = end
        files.note(number + 1)
    files.finish()


def _parts(clip: Clip) -> list[tuple[int, int]]:
    """First sample and samples of each minute of a clip, before it is transposed."""
    return [(start, min(MOST_SAMPLES, clip.samples - start)) for start in range(0, clip.samples, MOST_SAMPLES)]


def _frames(samples: int, semitones: float) -> int:
    """Whole frames of so many samples, once they are transposed."""
    return int(samples / 2 ** (semitones / 12)) // HOP


def _transposed(samples: npt.NDArray[np.float32], semitones: float) -> npt.NDArray[np.float32]:
    """``[n]`` played faster or slower, whole frames of it."""
    frames = _frames(len(samples), semitones)
    if semitones:
        samples = soxr.resample(samples, SAMPLE_RATE * 2 ** (semitones / 12), SAMPLE_RATE)
        samples = np.pad(samples, (0, max(0, frames * HOP - len(samples))))  # soxr may round a sample off
    return samples[: frames * HOP]


def _cache_key(clips: list[Clip], codec: Codec, mel: MelConfig, semitones: float) -> str:
    digest = hashlib.sha256(repr(([(c.group, c.sha256, c.samples) for c in clips], mel, semitones)).encode())
    for weight in codec.state_dict().values():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
