"""The model's own sound: a fourth version, with the recording's coarse codes and finer codes that the model draws.

The model draws the finer codes frame by frame, given slices of its own sound so far. Drawn codes sound duller than a
recording's, and a model trained on recordings alone takes that for the end of a phrase. Training on slices of its own
sound prepares the model for generation.
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
"""Name of this version in ``Tokens.mels``."""
STRETCH_FRAMES = 1_024
PROMPT_FRAMES = 75
"""Frames at the start of each stretch that are decoded from all the recording's codes, like a prompt."""
SLOTS = 2 * TILE
_SURE = 1e4


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
    """A model whose coarse codes are given, and which draws the finer ones.

    Raises:
        ValueError: the model has no fine stage.
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
            # In float32, so that all processors give the same slices.
            kernels = find_kernels(self._step, device, "float32")
            self._path = step_path(self._step, self._state, slots, device, kernels)

    @torch.inference_mode()
    def slices(self, codes: list[npt.NDArray[np.uint16]]) -> list[Tensor]:
        """Return slices ``[T, n_mels]`` of each stream's own sound, for codes ``[T, K]`` of up to ``SLOTS`` streams."""
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
            # Only the recording's code can be drawn now.
            logits[playing] = -_SURE
            logits[playing, said] = _SURE
            _, samples = self._path.step(playing)
            for slot, own in zip(playing, samples, strict=True):
                heard[slot].append(own.astype(np.float32) / 32767.0)
        sounds = (torch.from_numpy(np.concatenate(parts)) for parts in heard)
        return [self._step.mel(sound[None].to(logits.device))[0].cpu() for sound in sounds]

    def _prompt(self, slot: int, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
        """Give a slot the first frames as its prompt, and return their sound ``[samples]``."""
        state = rows(self._state, slot, slot + 1)
        first = torch.from_numpy(codes[:PROMPT_FRAMES].astype(np.int64).T)[None].to(leaf(state, "logits").device)
        sound = self._step.hear(first, state, 0)
        self._step.read(first[:, 0], sound, state, 0)
        return cast(npt.NDArray[np.float32], sound[0].cpu().numpy())


def _stretches(tokens: Tokens) -> Iterator[tuple[int, int]]:
    """Yield first frame and end of pieces of groups' streams; a short last piece is joined to the one before."""
    for first, count in tokens.spans:
        starts = range(0, max(1, count - PROMPT_FRAMES), STRETCH_FRAMES)
        for start in starts:
            yield first + start, first + (count if start == starts[-1] else start + STRETCH_FRAMES)
