"""Prompts in work at one machine, in the order of the engine's desk: who waits first, the shortest of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whispergpt.engine.prompts.desk import WAITING_FRAMES

_NOTHING = 1e-12


@dataclass(eq=False)
class PromptWork:
    """One prompt: ``frames`` and ``seconds`` of work that are left of it, and ``since`` when somebody waits for it."""

    frames: float = 0.0
    seconds: float = 0.0
    since: float | None = None
    done: Callable[[], None] | None = None

    def after(self) -> tuple[bool, float]:
        """Sorts as ``PromptDesk`` does, at any moment alike: all who wait grow older together."""
        return self.since is None, self.frames + (self.since or 0.0) * WAITING_FRAMES


class Desk:
    """One prompt after the other, at the whole speed that there is for prompts; work is in seconds of a machine that
    does nothing else."""

    def __init__(self) -> None:
        self._prompts: list[PromptWork] = []

    def __len__(self) -> int:
        """Prompts of which something is left to be done."""
        return len(self._prompts)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for one."""
        return any(prompt.since is not None for prompt in self._prompts)

    def append(self, prompt: PromptWork, frames: float, seconds: float) -> None:
        """More of a prompt."""
        prompt.frames, prompt.seconds = prompt.frames + frames, prompt.seconds + seconds
        if prompt not in self._prompts:
            self._prompts.append(prompt)

    def commit(self, prompt: PromptWork, now: float, done: Callable[[], None]) -> None:
        """That was all of it, and somebody waits: ``done`` will be called."""
        prompt.since, prompt.done = now, done
        if prompt not in self._prompts:
            self._prompts.append(prompt)

    def drop(self, prompt: PromptWork) -> None:
        """Nobody wants it any more."""
        if prompt in self._prompts:
            self._prompts.remove(prompt)

    @property
    def due_in(self) -> float:
        """Work until the next one is through."""
        return max(0.0, self._next().seconds)

    def work(self, amount: float) -> list[Callable[[], None]]:
        """Do so much; returns what is to be called for those that are through, first ones first."""
        through = []
        while self._prompts and (prompt := self._next()).seconds <= amount + _NOTHING:
            amount -= prompt.seconds
            prompt.frames = prompt.seconds = 0.0
            self._prompts.remove(prompt)
            if prompt.done is not None:
                through.append(prompt.done)
        if self._prompts and amount > 0:
            prompt = self._next()
            prompt.frames *= 1 - amount / prompt.seconds
            prompt.seconds -= amount
        return through

    def _next(self) -> PromptWork:
        return min(self._prompts, key=PromptWork.after)
