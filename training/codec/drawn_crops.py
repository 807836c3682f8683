"""Random crops of recordings with the codes that a model drew, as the decoder gets them in a continuation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.drawn_batch import LEAD_FRAMES, DrawnBatch
from whispergpt.training.codec.drawn_codes import Codes, DrawnCodes, require_same_codes, stretches_of
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.data.crops import audible, clip_odds
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.tokens.own_voice import PROMPT_FRAMES

_SEED = 3_000_000
"""Number added to a step's, so that its crops are not the places of those with the recording's codes."""


class DrawnCrops:
    """Random crops behind the prompts that the model was given; the same step draws the same crops.

    The recordings are not altered, since the codes are those of the recording as it is.

    Args:
        model: it has the encoder and the codebooks of ``start``, the codec that the run starts from.
        cache: folder of the drawn codes.

    Raises:
        ValueError: the model has no fine stage or another codec, or no clip is long enough.
    """

    def __init__(self, data: AudioSet, model: LoadedModel, start: Codec, cache: Path, recipe: CodecRecipe) -> None:
        require_same_codes(start, model.step.codec)
        least = (PROMPT_FRAMES + recipe.crop_frames) * HOP
        self._clips, self._odds = clip_odds(stretches_of(data), least - 1, recipe.shares)
        self._data = AudioSet(self._clips, data.shards, data.folder_of)
        self._codes = DrawnCodes(self._data, model, cache)
        self._count, self._frames, self._seed = recipe.drawn_count, recipe.crop_frames, recipe.seed

    def batch(self, step: int) -> DrawnBatch:
        """Return the crops of one step."""
        draw = np.random.default_rng((self._seed, _SEED + step))
        audio, codes = list[npt.NDArray[np.float32]](), list[Codes]()
        while len(audio) < self._count:
            number = int(draw.choice(len(self._clips), p=self._odds))
            clip, own = self._clips[number], self._codes.of(number)
            start = int(draw.integers(PROMPT_FRAMES, len(own) - self._frames + 1))
            crop = self._data.read(clip, start * HOP, self._frames * HOP)
            if audible(crop, draw):
                audio.append(crop)
                codes.append(own[start - LEAD_FRAMES : start + self._frames])
        stacked = torch.from_numpy(np.stack(codes).astype(np.int64))
        return DrawnBatch(torch.from_numpy(np.stack(audio)), stacked.transpose(1, 2))
