"""What every slot's stream could be made again from, elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import ModelConfig
from whispergpt.engine.messages import FROM_SILENCE, Memory
from whispergpt.engine.model.code_history import CodeHistory
from whispergpt.engine.model.streaming import State
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.prompts.recall import (
    Bases,
    frames_of_influence,
    frames_remembered,
    frames_remembered_exactly,
    pack_codes,
)


class Memories:
    """The last codes of each slot, and where ``exact`` old states of its decoder.

    Args:
        exact: whether a stream made again is to have every bit of its state.

    Attributes:
        influence: how far back an exact one goes at least; 0 where none is.
    """

    def __init__(self, slots: int, config: ModelConfig, books: int, exact: bool) -> None:
        self.influence = frames_of_influence(config) if exact else 0
        frames = frames_remembered_exactly(config) if exact else frames_remembered(config)
        self._codes = CodeHistory(slots, frames, books)
        self._next = np.zeros(slots, np.int64)
        self._bases = [Bases(FROM_SILENCE, 0) for _ in range(slots)]

    def begin(self, slot: int, prompt: Prompt) -> None:
        """A stream starts there, behind a prompt."""
        self._codes.begin(slot, prompt.codes)
        self._next[slot] = prompt.start + prompt.frames
        self._bases[slot] = Bases(prompt.base, self.influence)

    def append(self, slots: list[int], codes: npt.NDArray[np.int32]) -> None:
        """One frame more of each slot, ``codes`` ``[n, K]``."""
        self._codes.append(slots, codes)
        self._next[slots] += 1

    def memory(self, slot: int, sounding: State) -> Memory:
        """That of a slot's stream, whose decoder's state is ``sounding``; to be asked for every second."""
        codes = self._codes.last(slot)
        if not self.influence:
            return Memory(pack_codes(codes))
        now, bases = int(self._next[slot]), self._bases[slot]
        bases.note(now, lambda: sounding)
        base = bases.oldest
        assert now - base.start <= len(codes), "the ring holds less than an exact memory needs"
        return Memory(pack_codes(codes[len(codes) - (now - base.start) :]), base)
