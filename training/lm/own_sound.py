"""The model's own sound: a fourth version, with the recording's coarse codes and the finer codes of the model's stage.

The model finds the finer codes frame by frame, given slices of its own sound so far. They sound duller than a
recording's, and a model trained on recordings alone takes that for the end of a phrase. Training on slices of its own
sound prepares the model for generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from tqdm import trange

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.training.tokens.own_voice import PROMPT_FRAMES, SLOTS, OwnVoice
from whispergpt.training.tokens.token_files import Filling, TokenFiles
from whispergpt.training.tokens.tokens import Mels, Tokens

OWN = "own"
"""Name of this version in ``Tokens.mels``."""
STRETCH_FRAMES = 1_024


def with_own_sound(tokens: Tokens, model: LoadedModel, temperature: float, cache: Path) -> Tokens:
    """Return ``tokens`` with slices of ``model``'s own sound at a fine-stage ``temperature``, kept in ``cache``.

    Raises:
        ValueError: the model has no fine stage, so that it draws coarse codes alone.
    """
    frames = len(tokens.codes)
    key = hashlib.sha256(f"{model.digest} {temperature} {tokens.spans}".encode())
    key.update(np.ascontiguousarray(tokens.codes).tobytes())
    shape = (frames, model.step.model.config.mel.n_mels)
    files = TokenFiles(cache, f"{key.hexdigest()[:12]}.{OWN}", {"mels": (shape, np.float16)})
    with files.filling() as filling:
        if filling:
            _fill(filling, OwnVoice(model, temperature), tokens)
    return replace(tokens, mels={**tokens.mels, OWN: cast(Mels, files.read()["mels"])})


def _fill(filling: Filling, voice: OwnVoice, tokens: Tokens) -> None:
    """Compute the slices, from where an earlier run stopped."""
    stretches = list(_stretches(tokens))
    for number in trange(filling.done, -(-len(stretches) // SLOTS), desc="own sound", disable=None):
        some = stretches[number * SLOTS : (number + 1) * SLOTS]
        for (start, end), slices in zip(some, voice.slices([tokens.codes[s:e] for s, e in some]), strict=True):
            filling.arrays["mels"][start:end] = slices.numpy()
        filling.note(number + 1)


def _stretches(tokens: Tokens) -> Iterator[tuple[int, int]]:
    """Yield first frame and end of pieces of groups' streams; a short last piece is joined to the one before."""
    for first, count in tokens.spans:
        starts = range(0, max(1, count - PROMPT_FRAMES), STRETCH_FRAMES)
        for start in starts:
            yield first + start, first + (count if start == starts[-1] else start + STRETCH_FRAMES)
