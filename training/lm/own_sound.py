"""A fourth version of the sound: that of the model's own continuations, as far as a recording can have it.

The coarse codes are the recording's; the finer ones the model draws, frame by frame, behind slices of what it drew
before. A model that has learnt from slices of this knows what it will hear once it generates: drawn codes sound duller
than a recording's own, and a model that has met only these takes that for the end of a phrase.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import trange

from whispergpt.engine.backends.step_path import TILE, step_path, whole_tiles
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.streaming import branch, leaf, map_state, rows
from whispergpt.engine.native.check import find_kernels
from whispergpt.training.data.token_files import TokenFiles
from whispergpt.training.data.tokens import Mels, Tokens

OWN = "own"
"""This version's name among those of ``Tokens.mels``."""
STRETCH_FRAMES = 1_024
PROMPT_FRAMES = 75
"""Of each stretch, heard as a prompt is: with all the recording's codes."""
SLOTS = 2 * TILE
_SURE = 1e4


def with_own_sound(tokens: Tokens, model: LoadedModel, temperature: float, cache: Path) -> Tokens:
    """``tokens`` and their slices as ``model`` makes them sound at its fine stage's ``temperature``, kept in ``cache``.

    Raises:
        ValueError: the model has no fine stage, so that coarse codes are all it draws.
    """
    frames = len(tokens.codes)
    key = hashlib.sha256(f"{model.digest} {temperature} {tokens.spans}".encode())
    key.update(np.ascontiguousarray(tokens.codes).tobytes())
    shape = (frames, model.step.model.config.mel.n_mels)
    files = TokenFiles(cache, f"{key.hexdigest()[:12]}.{OWN}", {"mels": (shape, np.float16)})
    if not files.complete:
        arrays, done = files.begin()
        voice, stretches = OwnVoice(model, temperature), list(_stretches(tokens))
        for number in trange(done, -(-len(stretches) // SLOTS), desc="own sound", disable=None):
            some = stretches[number * SLOTS : (number + 1) * SLOTS]
            for (start, end), slices in zip(some, voice.slices([tokens.codes[s:e] for s, e in some]), strict=True):
                arrays["mels"][start:end] = slices.numpy()
            files.note(number + 1)
        files.finish()
    return replace(tokens, mels={**tokens.mels, OWN: cast(Mels, files.read()["mels"])})


class OwnVoice:
    """A model made to say given coarse codes.

    Raises:
        ValueError: it has no fine stage.
    """

    def __init__(self, model: LoadedModel, temperature: float) -> None:
        self._step = copy.deepcopy(model.step)
        fine = self._step.model.fine
        if fine is None:
            raise ValueError(f"{model.id} has no fine stage: what it sounds like is what `train lm` has it learn from")
        fine.config = replace(fine.config, temperature=temperature)
        self._step.pack()
        device = self._step.codec.quantizer.entries[0].device
        with torch.inference_mode():
            slots = whole_tiles(SLOTS, device)
            self._state = self._step.init_state(slots, device)
            # In float32, so that the same is learnt from whatever the processor.
            kernels = find_kernels(self._step, device, "float32")
            self._path = step_path(self._step, self._state, slots, device, kernels)

    @torch.inference_mode()
    def slices(self, codes: list[npt.NDArray[np.uint16]]) -> list[Tensor]:
        """Of each stream's codes ``[T, K]``, at most ``SLOTS`` streams, the slices ``[T, n_mels]`` as it sounds."""
        map_state(Tensor.zero_, self._state)
        sampler, logits = branch(self._state, "sampler"), leaf(self._state, "logits")
        seeds = leaf(sampler, "seed")
        seeds.copy_(torch.arange(len(seeds)))
        leaf(sampler, "temperature").fill_(1.0)
        leaf(sampler, "top_p").fill_(1.0)
        heard = [[self._prompt(slot, own)] for slot, own in enumerate(codes)]
        for frame in range(PROMPT_FRAMES, max(len(own) for own in codes)):
            playing = [slot for slot, own in enumerate(codes) if frame < len(own)]
            said = torch.tensor([int(codes[slot][frame, 0]) for slot in playing], device=logits.device)
            # No code but the recording's can be drawn now.
            logits[playing] = -_SURE
            logits[playing, said] = _SURE
            _, samples = self._path.step(playing)
            for slot, own in zip(playing, samples, strict=True):
                heard[slot].append(own.astype(np.float32) / 32767.0)
        sounds = (torch.from_numpy(np.concatenate(parts)) for parts in heard)
        return [self._step.mel(sound[None].to(logits.device))[0].cpu() for sound in sounds]

    def _prompt(self, slot: int, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
        """Let a slot hear the first frames; what they sound like, ``[samples]``."""
        state = rows(self._state, slot, slot + 1)
        first = torch.from_numpy(codes[:PROMPT_FRAMES].astype(np.int64).T)[None].to(leaf(state, "logits").device)
        sound = self._step.hear(first, state, 0)
        self._step.read(first[:, 0], sound, state, 0)
        return cast(npt.NDArray[np.float32], sound[0].cpu().numpy())


def _stretches(tokens: Tokens) -> Iterator[tuple[int, int]]:
    """First frame and the one behind the last of pieces of groups' streams; none is too short to be a prompt."""
    for first, count in tokens.spans:
        starts = range(0, max(1, count - PROMPT_FRAMES), STRETCH_FRAMES)
        for start in starts:
            yield first + start, first + (count if start == starts[-1] else start + STRETCH_FRAMES)
