"""Prompts that were encoded lately, by their content: who sends one again waits for nothing."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from whispergpt.engine.prompts.prompt import Prompt


class PromptKey(NamedTuple):
    """``digest``: SHA-256 of the samples; ``owner``: whose they are. Nothing is ever shared between owners."""

    model: str
    owner: str
    digest: bytes


class PromptCache:
    """The prompts used last, in at most ``room`` bytes; 0 keeps none."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[PromptKey, Prompt] = OrderedDict()
        self.bytes = 0

    def find(self, key: PromptKey) -> Prompt | None:
        """The prompt, which counts as used now."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def add(self, key: PromptKey, prompt: Prompt) -> None:
        """Keep a prompt, in the place of those not used for longest."""
        if key in self._held or prompt.bytes > self._room:
            return
        self._held[key] = prompt
        self.bytes += prompt.bytes
        while self.bytes > self._room:
            self.bytes -= self._held.popitem(last=False)[1].bytes
