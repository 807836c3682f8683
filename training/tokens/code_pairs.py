"""How two codecs' coarse codes go together: what code one has for the frames to which the other gives a certain one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import CODEBOOK_SIZE, HOP, SAMPLE_RATE
from whispergpt.engine.model.codec import Codec
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.tokens.token_files import TokenFiles
from whispergpt.training.tokens.tokens import MOST_SAMPLES, code_digest, digest_of

SECONDS = 3_600
"""Seconds of recordings that are encoded twice; a code of 1,024 has some 260 frames of that."""

Pairs: TypeAlias = npt.NDArray[np.int64]


def code_pairs(data: AudioSet, new: Codec, old: Codec, cache: Path) -> Pairs:
    """Count the frames of random recordings by their coarse codes, new ones in rows and old ones in columns.

    Returns:
        Counts ``[1024, 1024]``, kept in ``cache``.
    """
    clips = list(_random_clips(data))
    names = [(clip.group, clip.sha256, clip.samples) for clip in clips]
    key = digest_of({}, "pairs", names, code_digest(new), code_digest(old))[:12]
    files = TokenFiles(cache, key, {"pairs": ((CODEBOOK_SIZE, CODEBOOK_SIZE), np.int64)})
    with files.filling() as filling:
        if filling:
            counts = filling.arrays["pairs"]
            counts[:] = 0
            codecs = OfflineCodec(new), OfflineCodec(old)
            for clip in tqdm(clips, desc="pairs of codes", disable=None):
                audio = torch.from_numpy(data.read(clip, 0, min(clip.samples, MOST_SAMPLES) // HOP * HOP))
                ours, theirs = (codec.encode(audio.to(_device(codec)))[0].cpu().numpy() for codec in codecs)
                np.add.at(counts, (ours, theirs), 1)
    return cast(Pairs, np.array(files.read()["pairs"]))


def _random_clips(data: AudioSet) -> Iterator[Clip]:
    """Yield clips until they last ``SECONDS``; the same ones for the same data."""
    left = SECONDS * SAMPLE_RATE
    for number in np.random.default_rng(0).permutation(len(data.clips)):
        if left <= 0:
            return
        clip = data.clips[number]
        left -= min(clip.samples, MOST_SAMPLES)
        yield clip


def _device(codec: OfflineCodec) -> torch.device:
    return codec.codec.quantizer.entries[0].device
