"""Snapshots of every slot's stream: what it can be resumed from, elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import ModelConfig
from whispergpt.engine.messages import FROM_SILENCE, Snapshot
from whispergpt.engine.model.code_history import CodeHistory
from whispergpt.engine.model.streaming import State
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.prompts.resume import (
    DecoderStates,
    frames_in_exact_snapshot,
    frames_in_snapshot,
    frames_of_influence,
    pack_codes,
)


class Snapshots:
    """The last codes of each slot, and where ``exact`` old states of its decoder.

    Args:
        exact: whether a resumed stream is to have every bit of its state.

    Attributes:
        influence: how far back an exact one goes at least; 0 where none is.
    """

    def __init__(self, slots: int, config: ModelConfig, books: int, exact: bool) -> None:
        self.influence = frames_of_influence(config) if exact else 0
        frames = frames_in_exact_snapshot(config) if exact else frames_in_snapshot(config)
        self._codes = CodeHistory(slots, frames, books)
        self._next = np.zeros(slots, np.int64)
        self._decoder_states = [DecoderStates(FROM_SILENCE, 0) for _ in range(slots)]

    def begin(self, slot: int, prompt: Prompt) -> None:
        """A stream starts there, behind a prompt."""
        self._codes.begin(slot, prompt.codes)
        self._next[slot] = prompt.start + prompt.frames
        self._decoder_states[slot] = DecoderStates(prompt.decoder_state, self.influence)

    def append(self, slots: list[int], codes: npt.NDArray[np.int32]) -> None:
        """One frame more of each slot, ``codes`` ``[n, K]``."""
        self._codes.append(slots, codes)
        self._next[slots] += 1

    def take(self, slot: int, decoder: State) -> Snapshot:
        """Return a snapshot of a slot's stream, whose decoder's state is ``decoder``; to be asked for every second."""
        codes = self._codes.last(slot)
        if not self.influence:
            return Snapshot(pack_codes(codes))
        now, states = int(self._next[slot]), self._decoder_states[slot]
        states.note(now, lambda: decoder)
        decoder_state = states.oldest
        assert now - decoder_state.start <= len(codes), "the ring holds less than an exact snapshot needs"
        return Snapshot(pack_codes(codes[len(codes) - (now - decoder_state.start) :]), decoder_state)
