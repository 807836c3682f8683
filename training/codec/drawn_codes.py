"""Recordings' codes of which a model drew the finer ones, kept on disk.

*Drawn* is here what a model's fine stage gives, a stage of nearest codes too. Drawn codes hold other details than
the recording's, above all other phases. A decoder that has met recordings' codes alone makes them sound no better
than the coarse codes by themselves.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from tqdm import trange

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.tokens.own_voice import PROMPT_FRAMES, SLOTS, OwnVoice
from whispergpt.training.tokens.token_files import Filling, TokenFiles
from whispergpt.training.tokens.tokens import digest_of

STRETCH_FRAMES = 2_048
"""Most frames that the model speaks at once. A longer clip is cut, and each part begins with recorded codes."""

Codes: TypeAlias = npt.NDArray[np.uint16]


def stretches_of(data: AudioSet) -> AudioSet:
    """Return the clips in parts of up to ``STRETCH_FRAMES``, the longest first: such as are spoken together have about
    one length."""
    most = STRETCH_FRAMES * HOP
    parts = [
        msgspec.structs.replace(clip, start=clip.start + start, samples=min(most, clip.samples - start))
        for clip in data.clips
        for start in range(0, clip.samples, most)
    ]
    return AudioSet(sorted(parts, key=lambda part: -part.samples), data.shards, data.folder_of)


class DrawnCodes:
    """Codes of each stretch, of which a model drew the finer ones behind the first ``PROMPT_FRAMES``.

    Args:
        cache: folder of the codes; a part that is there already is not drawn again.

    Raises:
        ValueError: the model has no fine stage, or draws what is no code.
    """

    def __init__(self, data: AudioSet, model: LoadedModel, cache: Path) -> None:
        fine = model.step.model.fine
        if fine is None:
            raise ValueError(f"{model.id} has no fine stage, so that it draws no finer codes")
        self._data, self._codec = data, OfflineCodec(model.step.codec)
        lengths = [clip.samples // HOP for clip in data.clips]
        self._first = list(accumulate(lengths, initial=0))
        shape = (sum(lengths), model.step.codec.config.n_codebooks)
        how = (model.digest, fine.config.temperature, PROMPT_FRAMES, SLOTS)
        key = digest_of(model.step.codec, how, [(c.sha256, c.start, c.samples) for c in data.clips])[:12]
        files = TokenFiles(cache, f"{key}.drawn", {"codes": (shape, np.uint16)})
        with files.filling() as filling:
            if filling:
                self._fill(filling, OwnVoice(model, fine.config.temperature))
        self._codes = cast(Codes, files.read()["codes"])

    def of(self, number: int) -> Codes:
        """Return the codes ``[T, K]`` of a stretch."""
        return self._codes[self._first[number] : self._first[number + 1]]

    def _fill(self, filling: Filling, voice: OwnVoice) -> None:
        """Draw the codes, from where an earlier run stopped."""
        count, done = len(self._data.clips), filling.done
        for number in trange(done, -(-count // SLOTS), desc="drawn codes", initial=done, disable=None):
            begin, end = number * SLOTS, min(count, (number + 1) * SLOTS)
            recorded = [self._recorded(self._data.clips[index]) for index in range(begin, end)]
            spoken = [one.codes for one in voice.speak(recorded)]
            filling.arrays["codes"][self._first[begin] : self._first[end]] = np.concatenate(spoken)
            filling.note(number + 1)

    def _recorded(self, clip: Clip) -> Codes:
        """Return the recording's codes ``[T, K]``."""
        audio = torch.from_numpy(self._data.samples(clip))
        codes = self._codec.encode(audio.to(self._codec.codec.quantizer.entries[0].device))
        return codes.t().cpu().numpy().astype(np.uint16)


def require_same_codes(codec: Codec, other: Codec) -> None:
    """Check that a codec gives the same codes as a model's.

    Raises:
        ValueError: their encoders or codebooks differ.
    """
    if not have_same_codes(codec, other):
        raise ValueError("the codec and the model have not the same codes")


def have_same_codes(codec: Codec, other: Codec) -> bool:
    """Return whether encoders and codebooks of two codecs are the same; their decoders may differ."""
    if codec.config != other.config:
        return False
    ours, theirs = codec.encoder.state_dict(), other.encoder.state_dict()
    pairs = zip(codec.quantizer.entries, other.quantizer.entries, strict=True)
    return all(torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours) and all(
        torch.equal(mine.cpu(), its.cpu()) for mine, its in pairs
    )
