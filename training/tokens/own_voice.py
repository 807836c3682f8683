"""A model's own voice: coarse codes are given, and the model finds the finer ones, as it does in generation."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.backends.step_path import TILE, step_path, whole_tiles
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.frame_step import LOST
from whispergpt.engine.model.streaming import branch, leaf, map_state, rows
from whispergpt.engine.native.check import find_kernels

PROMPT_FRAMES = 75
"""Frames at the start of each stream that are decoded from all the recording's codes, like a prompt."""
SLOTS = 2 * TILE
_SURE = 1e4


@dataclass(frozen=True)
class Spoken:
    """One stream as a voice speaks it: all codes uint16 ``[T, K]``, and sound float32 ``[samples]``."""

    codes: npt.NDArray[np.uint16]
    sound: npt.NDArray[np.float32]


class OwnVoice:
    """A model whose coarse codes are given, and which finds the finer ones.

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
        self._device = device = self._step.codec.quantizer.entries[0].device
        with torch.inference_mode():
            slots = whole_tiles(SLOTS, device)
            self._state = self._step.init_state(slots, device)
            # In float32, so that all processors give the same slices.
            kernels = find_kernels(self._step, device, "float32")
            self._path = step_path(self._step, self._state, slots, device, kernels)

    @torch.inference_mode()
    def slices(self, codes: list[npt.NDArray[np.uint16]]) -> list[Tensor]:
        """Return slices ``[T, n_mels]`` of each stream's own sound, for codes ``[T, K]`` of up to ``SLOTS`` streams."""
        sounds = (torch.from_numpy(spoken.sound)[None].to(self._device) for spoken in self.speak(codes))
        return [self._step.mel(sound)[0].cpu() for sound in sounds]

    @torch.inference_mode()
    def speak(self, codes: list[npt.NDArray[np.uint16]]) -> list[Spoken]:
        """Find the finer codes of up to ``SLOTS`` streams ``[T, K]``, whose coarse ones and first frames are kept.

        Raises:
            ValueError: the model's numbers are not finite.
        """
        map_state(Tensor.zero_, self._state)
        sampler, logits = branch(self._state, "sampler"), leaf(self._state, "logits")
        seeds = leaf(sampler, "seed")
        seeds.copy_(torch.arange(len(seeds)))
        leaf(sampler, "temperature").fill_(1.0)
        leaf(sampler, "top_p").fill_(1.0)
        heard = [[self._prompt(slot, own)] for slot, own in enumerate(codes)]
        drawn = [own.copy() for own in codes]
        for frame in range(PROMPT_FRAMES, max(len(own) for own in codes)):
            playing = [slot for slot, own in enumerate(codes) if frame < len(own)]
            said = torch.tensor([int(codes[slot][frame, 0]) for slot in playing], device=logits.device)
            # Only the recording's code can be drawn now.
            logits[playing] = -_SURE
            logits[playing, said] = _SURE
            found, samples = self._path.step(playing)
            if (found == LOST).any():
                raise ValueError("the model computes numbers that are not finite, so that it draws no codes")
            for slot, chosen, own in zip(playing, found, samples, strict=True):
                drawn[slot][frame] = chosen
                heard[slot].append(own.astype(np.float32) / 32767.0)
        return [Spoken(own, np.concatenate(parts)) for own, parts in zip(drawn, heard, strict=True)]

    def _prompt(self, slot: int, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
        """Give a slot the first frames as its prompt, and return their sound ``[samples]``."""
        state = rows(self._state, slot, slot + 1)
        first = torch.from_numpy(codes[:PROMPT_FRAMES].astype(np.int64).T)[None].to(leaf(state, "logits").device)
        sound = self._step.hear(first, state, 0)
        self._step.read(first[:, 0], sound, state, 0)
        return cast(npt.NDArray[np.float32], sound[0].cpu().numpy())
