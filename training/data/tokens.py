"""Recordings as input of a model: codes and the mel slices of three versions of the sound, cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from tqdm import trange

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import SAMPLE_RATE, MelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.mel import CausalMel
from whispergpt.training.data.alteration import UNALTERED, Alteration
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.data.token_files import TokenFiles

Version = Literal["original", "decoded", "coarse"]
VERSIONS: tuple[str, ...] = get_args(Version)
"""Versions of the sound that have slices: the recording, all its codes decoded, its coarse codes decoded."""

MOST_SAMPLES = 60 * SAMPLE_RATE
"""Most samples that the codec takes at once. Longer clips are split, each part from silence, to bound memory."""


_Codes: TypeAlias = npt.NDArray[np.uint16]
Mels: TypeAlias = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Tokens:
    """Tokens of all clips, one after another, ordered by group (speaker or work).

    ``codes`` uint16 ``[frames, K]``; ``mels`` float16 ``[frames, n_mels]`` by version; ``spans``: first frame and frame
    count of each group, whose clips form one long stream; ``folders``: for each span, the number of the prepared folder
    that the group is from (empty: all are from one).
    """

    codes: _Codes
    mels: dict[str, Mels]
    spans: list[tuple[int, int]]
    folders: list[int] = field(default_factory=list)


def tokenize(data: AudioSet, codec: Codec, mel: MelConfig, cache: Path, alteration: Alteration = UNALTERED) -> Tokens:
    """Encode and decode every clip of ``data`` once; later runs map the result from ``cache``, or go on with it.

    Args:
        alteration: the change made to every clip first; clips that it does not change are left out.

    Raises:
        ValueError: the alteration changes no clip.
    """
    clips = sorted(alteration.concerned(data), key=lambda c: (data.folder_of[c.shard], c.group, c.path))
    if not clips:
        limit = alteration.highest_hz
        why = "there are no recordings" if limit is None else f"no recording reaches above {limit:g} Hz"
        raise ValueError(f"{why}, so there is nothing to encode")
    lengths = [sum(alteration.frames(samples) for _, samples in _parts(clip)) for clip in clips]
    files = TokenFiles(
        cache,
        _cache_key(clips, codec, mel, alteration),
        {
            "codes": ((sum(lengths), codec.config.n_codebooks), np.uint16),
            "mels": ((len(VERSIONS), sum(lengths), mel.n_mels), np.float16),
        },
    )
    if not files.complete:
        _fill(files, data, clips, codec, mel, alteration)
    spans: list[tuple[int, int]] = []
    folders: list[int] = []
    position = 0
    placed = zip(clips, lengths, strict=True)
    for (folder, _), group in groupby(placed, key=lambda one: (data.folder_of[one[0].shard], one[0].group)):
        count = sum(frames for _, frames in group)
        spans.append((position, count))
        folders.append(folder)
        position += count
    arrays = files.read()
    mels = dict(zip(VERSIONS, cast(Mels, arrays["mels"]), strict=True))
    return Tokens(cast(_Codes, arrays["codes"]), mels, spans, folders)


def _fill(
    files: TokenFiles, data: AudioSet, clips: list[Clip], codec: Codec, config: MelConfig, alteration: Alteration
) -> None:
    """Fill the arrays, from where an earlier run stopped."""
    device = codec.quantizer.entries[0].device
    slices, offline = CausalMel(config).to(device), OfflineCodec(codec)
    arrays, done = files.begin()
    position = sum(alteration.frames(samples) for clip in clips[:done] for _, samples in _parts(clip))
    what = f"tokens {alteration}".strip()
    for number in trange(done, len(clips), desc=what, initial=done, total=len(clips), disable=None):
        clip = clips[number]
        for start, samples in _parts(clip):
            audio = torch.from_numpy(alteration.apply(data.read(clip, start, samples))).to(device)
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
    """Return the first sample and the length in samples of each minute of a clip, before its alteration."""
    return [(start, min(MOST_SAMPLES, clip.samples - start)) for start in range(0, clip.samples, MOST_SAMPLES)]


def _cache_key(clips: list[Clip], codec: Codec, mel: MelConfig, alteration: Alteration) -> str:
    how: tuple[object, ...] = (mel, alteration.semitones)
    if alteration.highest_hz is not None:
        how = (*how, alteration.highest_hz)
    return digest_of(codec, [(c.group, c.sha256, c.samples) for c in clips], *how)[:12]


def digest_of(codec: Codec, *others: object) -> str:
    """Return a hexadecimal digest of a codec's weights and of other values, by their ``repr``."""
    digest = hashlib.sha256(repr(others).encode())
    for weight in codec.state_dict().values():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()
