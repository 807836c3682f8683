"""Recordings as the model sees them: codes and the mel slices of three versions of the sound, cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
import torch
from tqdm import tqdm

from engine.codec import Codec
from engine.config import HOP, SAMPLE_RATE, MelConfig
from engine.mel import CausalMel
from engine.offline import OfflineCodec
from training.datasets import AudioSet
from training.manifest import Clip

VERSIONS = ("original", "decoded", "coarse")
"""Of which audio the slices are: the recording, all its codes decoded, its coarse codes decoded."""

MOST_SAMPLES = 60 * SAMPLE_RATE
"""A long clip goes through the codec in parts of a minute, each from silence, as a prompt does: memory is bounded."""


@dataclass(frozen=True)
class Tokens:
    """All clips one behind the other, those of a group (a speaker or a work) together.

    ``codes`` uint16 ``[frames, K]``; ``mels`` float16 ``[3, frames, n_mels]``; ``spans``: first frame and frame count
    of each group, which goes on from clip to clip as one long stream.
    """

    codes: npt.NDArray[np.uint16]
    mels: npt.NDArray[np.float16]
    spans: list[tuple[int, int]]


def tokenize(data: AudioSet, codec: Codec, mel: MelConfig, cache: Path, semitones: float = 0.0) -> Tokens:
    """Encode and decode every clip of ``data`` once; later runs map the result from ``cache``.

    Args:
        semitones: how much higher every clip is first made, and faster with it, as a record played at another speed.
    """
    clips = sorted(data.clips, key=lambda c: (c.group, c.path))
    key = _cache_key(clips, codec, mel, semitones)
    codes_file, mels_file = cache / f"{key}.codes.npy", cache / f"{key}.mels.npy"
    if not (codes_file.exists() and mels_file.exists()):
        _fill_cache(data, clips, codec, mel, semitones, codes_file, mels_file)
    spans: list[tuple[int, int]] = []
    position, group = 0, None
    for clip in clips:
        frames = sum(_frames(samples, semitones) for _, samples in _parts(clip))
        if clip.group == group:
            spans[-1] = (spans[-1][0], spans[-1][1] + frames)
        else:
            spans.append((position, frames))
        position, group = position + frames, clip.group
    return Tokens(np.load(codes_file, mmap_mode="r"), np.load(mels_file, mmap_mode="r"), spans)


def _fill_cache(
    data: AudioSet,
    clips: list[Clip],
    codec: Codec,
    config: MelConfig,
    semitones: float,
    codes_file: Path,
    mels_file: Path,
) -> None:
    device = codec.quantizer.entries[0].device
    slices, offline = CausalMel(config).to(device), OfflineCodec(codec)
    frames = sum(_frames(samples, semitones) for clip in clips for _, samples in _parts(clip))
    codes = np.zeros((frames, codec.config.n_codebooks), np.uint16)
    mels = np.zeros((len(VERSIONS), frames, config.n_mels), np.float16)
    position = 0
    for clip in tqdm(clips, desc=f"tokens {semitones:+g}" if semitones else "tokens", disable=None):
        for start, samples in _parts(clip):
            audio = torch.from_numpy(_transposed(data.read(clip, start, samples), semitones)).to(device)
            found = offline.encode(audio)
            heard = (audio, offline.decode(found), offline.decode(found[:1]))
            end = position + found.shape[1]
            codes[position:end] = found.t().cpu().numpy()
            with torch.inference_mode():
                for version, sound in enumerate(heard):
                    mels[version, position:end] = slices(sound[None])[0].cpu().numpy()
            position = end
    codes_file.parent.mkdir(parents=True, exist_ok=True)
    for file, values in ((mels_file, mels), (codes_file, codes)):
        partial = file.with_suffix(".partial.npy")
        np.save(partial, values)
        partial.rename(file)


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
