"""Snapshots of every slot's stream, from which another server can resume it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import NO_LIMIT, ModelConfig
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
from whispergpt.engine.stream_plan import FROM_SILENCE, Snapshot


class Snapshots:
    """Keeps the last codes of each slot, and where ``exact`` earlier states of its decoder.

    Args:
        exact: whether a resumed stream has its state to the bit.

    Attributes:
        influence: frames that an exact snapshot goes back at least; 0 without exact ones.
    """

    def __init__(self, slots: int, config: ModelConfig, books: int, exact: bool) -> None:
        self.influence = frames_of_influence(config) if exact else 0
        frames = frames_in_exact_snapshot(config) if exact else frames_in_snapshot(config)
        self._codes = CodeHistory(slots, frames, books)
        self._left_out = np.zeros(slots, np.int64)
        """Frames of each slot's stream that its history did not begin with."""
        self._decoder_states = [DecoderStates(FROM_SILENCE, 0) for _ in range(slots)]
        self._limits_hz = [NO_LIMIT] * slots

    def begin(self, slot: int, prompt: Prompt) -> None:
        """Begin a stream in a slot, behind a prompt."""
        self._codes.begin(slot, prompt.codes)
        self._left_out[slot] = prompt.start + prompt.frames - self._codes.count(slot)
        self._decoder_states[slot] = DecoderStates(prompt.decoder_state, self.influence)
        self._limits_hz[slot] = prompt.limit_hz

    def append(self, slots: npt.NDArray[np.int64], codes: npt.NDArray[np.int32]) -> None:
        """Add a frame of each slot, ``codes`` ``[n, K]``."""
        self._codes.append(slots, codes)

    def take(self, slot: int, decoder: Callable[[], State]) -> Snapshot:
        """Return a snapshot of a slot's stream, where ``decoder`` gives its decoder's state; called every second."""
        codes, limit_hz = self._codes.last(slot), self._limits_hz[slot]
        if not self.influence:
            return Snapshot(pack_codes(codes), limit_hz=limit_hz)
        now, states = self._left_out.item(slot) + self._codes.count(slot), self._decoder_states[slot]
        states.note(now, decoder)
        decoder_state = states.oldest
        assert now - decoder_state.start <= len(codes), "the ring holds less than an exact snapshot needs"
        return Snapshot(pack_codes(codes[len(codes) - (now - decoder_state.start) :]), decoder_state, limit_hz)
