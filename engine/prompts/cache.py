"""Recently encoded prompts by their content, so that a prompt sent again is ready at once."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from whispergpt.engine.prompts.prompt import Prompt


class PromptKey(NamedTuple):
    """Key of a prompt: its model, its owner and the SHA-256 of its samples. Owners share nothing."""

    model: str
    owner: str
    digest: bytes


class PromptCache:
    """Keeps the prompts used last, in at most ``room`` bytes; 0 keeps none."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[PromptKey, Prompt] = OrderedDict()
        self.bytes = 0

    def find(self, key: PromptKey) -> Prompt | None:
        """Return the prompt, which counts as used now; None if it is not kept."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def add(self, key: PromptKey, prompt: Prompt) -> None:
        """Keep a prompt in place of those unused for longest."""
        if key in self._held or prompt.bytes > self._room:
            return
        self._held[key] = prompt
        self.bytes += prompt.bytes
        while self.bytes > self._room:
            self.bytes -= self._held.popitem(last=False)[1].bytes
